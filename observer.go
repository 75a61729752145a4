package pond

import (
	"time"

	"github.com/pondsocket/pond/internal/wire"
)

// An Observer receives notifications for metrics and traces. Nil functions are skipped,
// as in [net/http/httptrace.ClientTrace]. The functions may be called concurrently.
// Unlike handlers, they are part of the server: they must not block, and must not call
// methods of the objects that they observe. If a function panics, this is logged and
// has no other effect. Clients choose the names of events and channels, so do not use
// them as labels of metrics without a limit.
//
// Events of one client are reported in the order in which they happened: Connected,
// then Joined and Left for each membership, then Disconnected. Dropped may come later.
type Observer struct {
	// Connected reports a new connection, and Disconnected its end. The cause is
	// [ErrClosed], [ErrSlowClient], or an error of the connection.
	Connected    func(e *Endpoint, userID string, t Transport)
	Disconnected func(e *Endpoint, userID string, t Transport, cause error)

	// Rejected reports a request that did not become a connection, with the status of the
	// response.
	Rejected func(e *Endpoint, status int)

	// Joined and Left report the start and the end of a membership.
	Joined func(ch *Channel, u User)
	Left   func(ch *Channel, u User, reason LeaveReason)

	// Recovered reports that a client asked for missed messages when it joined, or, as a
	// newcomer, for the latest ones. The reason is empty if it receives them. Otherwise, the
	// client must load its state again.
	Recovered func(ch *Channel, u User, reason GapReason)

	// Handled reports that the handler of a client's message returned, with its duration
	// and error. For a request to join, the event is empty, and the channel may have no
	// members.
	Handled func(ch *Channel, event string, d time.Duration, err error)

	// Sent reports a broadcast or a reply, and its number of recipients, on this node if
	// there are several.
	Sent func(ch *Channel, event string, recipients int)

	// Forwarded reports a POST or DELETE of a client whose event stream is on another node of
	// the cluster: the status of the response, and the time that this node waited for the
	// other one. It is not called for requests that were not sent to the other node.
	Forwarded func(e *Endpoint, status int, d time.Duration)

	// Degraded reports that the connection to the cluster was lost, with the reason, or
	// that it was established or restored, with nil; see [Pond.Degraded].
	Degraded func(p *Pond, reason error)

	// Lost reports how many messages of this node did not reach other nodes: those that were
	// given up, because they could not be sent to the broker, and those that another node
	// did not receive, because a connection was interrupted. The other node reports the
	// latter when it is connected again, so a node that crashed causes no report. A message
	// that several nodes did not receive counts once. Requests to other nodes also count: to
	// evict or disconnect clients and to close a channel, which are repeated when the
	// connection is restored, and to change the assigns or presence of a member there, which
	// are not. What this node announces about its own members does not count: other nodes
	// receive it when the connection is restored.
	//
	// Members on this node received the messages that count, except those of lobbies whose
	// history the broker keeps. These count only if they were given up, and then nobody
	// received them, unless only the confirmation was lost.
	Lost func(p *Pond, messages int, reason error)

	// Missed reports how many messages of other nodes did not reach this node, because its
	// connection to the broker, or that of the other node, was interrupted. Requests to
	// evict members, to close a channel and to change members count, too, even if they are
	// repeated later, and so do those to disconnect clients, if an earlier request of the
	// other node arrived. So do messages to named users, even if none of these users is on
	// this node. The other node reports the same messages as Lost. Broadcasts of lobbies
	// whose history the broker keeps do not count: the node reads them from the history. The
	// node detects the loss when it receives the next message about the channel, which it
	// requests after an interruption, or the next request to disconnect clients.
	Missed func(p *Pond, messages int)

	// Dropped reports that n messages of a lobby with [KeepLatest] were not sent to a
	// member that lags, because newer ones replaced them. One call may stand for many
	// messages. It may follow Left and Disconnected.
	Dropped func(ch *Channel, u User, n int)

	// Limited reports that a client reached a limit.
	Limited func(e *Endpoint, l Limit)
}

// and returns an Observer that notifies o and then next. If one function fails, the
// other one is still called.
func (o *Observer) and(next *Observer) *Observer {
	switch {
	case o == nil:
		return next
	case next == nil:
		return o
	}
	return &Observer{
		Connected:    both3(o.Connected, next.Connected),
		Disconnected: both4(o.Disconnected, next.Disconnected),
		Rejected:     both2(o.Rejected, next.Rejected),
		Joined:       both2(o.Joined, next.Joined),
		Left:         both3(o.Left, next.Left),
		Recovered:    both3(o.Recovered, next.Recovered),
		Handled:      both4(o.Handled, next.Handled),
		Sent:         both3(o.Sent, next.Sent),
		Forwarded:    both3(o.Forwarded, next.Forwarded),
		Degraded:     both2(o.Degraded, next.Degraded),
		Lost:         both3(o.Lost, next.Lost),
		Missed:       both2(o.Missed, next.Missed),
		Dropped:      both3(o.Dropped, next.Dropped),
		Limited:      both2(o.Limited, next.Limited),
	}
}

func both2[A, B any](f, g func(A, B)) func(A, B) {
	if f == nil {
		return g
	}
	if g == nil {
		return f
	}
	return func(a A, b B) { defer g(a, b); f(a, b) }
}

func both3[A, B, C any](f, g func(A, B, C)) func(A, B, C) {
	if f == nil {
		return g
	}
	if g == nil {
		return f
	}
	return func(a A, b B, c C) { defer g(a, b, c); f(a, b, c) }
}

func both4[A, B, C, D any](f, g func(A, B, C, D)) func(A, B, C, D) {
	if f == nil {
		return g
	}
	if g == nil {
		return f
	}
	return func(a A, b B, c C, d D) { defer g(a, b, c, d); f(a, b, c, d) }
}

// A Limit names one of the limits of an endpoint.
type Limit string

// The limits, and the options that set them.
const (
	LimitConns       Limit = "connections"  // WithMaxConns
	LimitAddress     Limit = "address"      // WithMaxConnsPerAddress
	LimitIdentity    Limit = "identity"     // WithMaxConnsPerIdentity
	LimitMessage     Limit = "message_size" // WithMaxMessageSize
	LimitFragments   Limit = "fragments"    // WithMaxFragments
	LimitDepth       Limit = "depth"        // WithMaxDepth
	LimitEventName   Limit = "event_name"   // WithMaxEventName
	LimitRequestID   Limit = "request_id"   // WithMaxRequestID
	LimitChannels    Limit = "channels"     // WithMaxChannels
	LimitChannelName Limit = "channel_name" // WithMaxChannelName
	LimitPresence    Limit = "presence"     // WithMaxPresence
	LimitHistory     Limit = "history"      // WithHistoryLimit
	LimitLeaveGrace  Limit = "leave_grace"  // WithLeaveGrace
	LimitOutbox      Limit = "outbox"       // WithOutboxSize, WithWriteTimeout and SlowClientPolicy.WithTimeout
	LimitPosts       Limit = "posts"        // WithPostQueue
	LimitForward     Limit = "forward"      // WithForwardQueue
	LimitRate        Limit = "rate"         // WithRateLimit
	LimitControlRate Limit = "control_rate" // WithControlRateLimit
	LimitAttaching   Limit = "attaching"    // 1,000 channels that a node of a cluster subscribes to at the same time
	LimitSilence     Limit = "silence"      // WithPingInterval and SlowClientPolicy.WithTimeout
)

// messageLimits maps the limits that decoding checks.
var messageLimits = map[wire.Limit]Limit{
	wire.DepthLimit:     LimitDepth,
	wire.EventLimit:     LimitEventName,
	wire.RequestIDLimit: LimitRequestID,
}
