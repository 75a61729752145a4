package pond

import (
	"time"

	"github.com/pondsocket/pond/internal/wire"
)

// An Observer is notified of events, for metrics and traces. Fields that are nil are
// skipped, as in [net/http/httptrace.ClientTrace]. Its functions may be called
// concurrently, must not block, and must not call back into what they observe: unlike
// handlers, they are a part of the server. A function that panics is logged and has no
// other effect. Names of events and channels are chosen by clients: do not make them
// labels of a metric without a limit.
//
// Events of one client are reported in the order in which they happened: Connected,
// then Joined and Left for each membership, then Disconnected.
type Observer struct {
	// Connected reports a new connection, and Disconnected its end. The cause is
	// [ErrClosed], [ErrSlowClient], or what went wrong with the connection.
	Connected    func(e *Endpoint, userID string, t Transport)
	Disconnected func(e *Endpoint, userID string, t Transport, cause error)

	// Refused reports a request that did not become a connection, with the status
	// that it was answered with.
	Refused func(e *Endpoint, status int)

	// Joined and Left report the beginning and the end of a membership.
	Joined func(ch *Channel, u User)
	Left   func(ch *Channel, u User, reason LeaveReason)

	// Recovered reports that a client asked for messages to be sent again when it
	// joined. The reason is empty if it gets them, and otherwise one of "epoch",
	// "expired", "limit" and "unavailable": the client has to load its state anew.
	Recovered func(ch *Channel, u User, reason string)

	// Handled reports that the handler of a client's message has returned, how
	// long it took, and the error that it returned. The event is empty, and the
	// channel may have no member, when the message asked to join.
	Handled func(ch *Channel, event string, d time.Duration, err error)

	// Sent reports a broadcast or a reply, and how many members it was for.
	Sent func(ch *Channel, event string, recipients int)

	// Limited reports that a client met a limit.
	Limited func(e *Endpoint, l Limit)
}

// A Limit names one of the limits of an endpoint.
type Limit string

// The limits, and the options that set them.
const (
	LimitConns       Limit = "connections"  // WithMaxConns
	LimitAddress     Limit = "address"      // WithMaxConnsPerAddress
	LimitMessage     Limit = "message_size" // WithMaxMessageSize
	LimitFragments   Limit = "fragments"    // WithMaxFragments
	LimitDepth       Limit = "depth"        // WithMaxDepth
	LimitEventName   Limit = "event_name"   // WithMaxEventName
	LimitRequestID   Limit = "request_id"   // WithMaxRequestID
	LimitChannels    Limit = "channels"     // WithMaxChannels
	LimitChannelName Limit = "channel_name" // WithMaxChannelName
	LimitPresence    Limit = "presence"     // WithMaxPresence
	LimitHistory     Limit = "history"      // WithHistoryLimit
	LimitOutbox      Limit = "outbox"       // WithOutboxSize and WithWriteTimeout
	LimitPosts       Limit = "posts"        // WithPostQueue
	LimitRate        Limit = "rate"         // WithRateLimit
	LimitControlRate Limit = "control_rate" // WithControlRateLimit
	LimitSilence     Limit = "silence"      // WithPingInterval
)

// messageLimits are the limits that decoding checks.
var messageLimits = map[wire.Limit]Limit{
	wire.DepthLimit:     LimitDepth,
	wire.EventLimit:     LimitEventName,
	wire.RequestIDLimit: LimitRequestID,
}
