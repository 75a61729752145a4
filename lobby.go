package pond

import (
	"sync/atomic"

	"github.com/pondsocket/pond/internal/pattern"
)

// A Lobby is a pattern of channel names and the handlers of those channels.
// Register handlers before the endpoint serves; its methods are safe for
// concurrent use all the same.
type Lobby struct {
	endpoint *Endpoint
	pattern  *pattern.Pattern
	join     registered[*JoinContext]
	cfg      lobbyConfig

	messages routes[*EventContext]
	outgoing routes[*OutgoingContext]
	leave    atomic.Pointer[registered[*LeaveContext]]
}

// Pattern returns the pattern that the lobby was added with.
func (l *Lobby) Pattern() string { return l.pattern.String() }

// OnMessage registers h for an event that members send, or for a pattern of
// events such as "move/:piece". The first match wins. An event that no handler
// matches is answered with an error. See [On] for typed payloads. OnMessage
// panics if the pattern is malformed or taken.
func (l *Lobby) OnMessage(event string, h Handler[*EventContext]) {
	l.messages.add("message", event, h)
}

// OnOutgoing registers h for an event, or a pattern of events, on its way to
// members: broadcasts and replies. It runs once for each recipient, and may
// change or block the event for that recipient. It runs where the recipient is
// written to, so its time is at the expense of that recipient alone, and events
// keep their order. The first match wins; if it returns an error or panics, that
// recipient does not get the event. OnOutgoing panics if the pattern is
// malformed or taken.
func (l *Lobby) OnOutgoing(event string, h Handler[*OutgoingContext]) {
	l.outgoing.add("outgoing", event, h)
}

// OnLeave sets the handler that runs once for each membership that ended, whatever
// ended it: a request of the client, [Channel.Evict], [Channel.Close], the end of the
// connection or a shutdown. It runs among the other handlers of the client: after the
// handler that runs when the membership ends, and before the client's next message is
// handled. So a client that joins the channel again leaves it before, also from the
// point of view of handlers. OnLeave panics if there is a handler already.
func (l *Lobby) OnLeave(h Handler[*LeaveContext]) {
	if !l.leave.CompareAndSwap(nil, &registered[*LeaveContext]{handler: h}) {
		panic("pond: lobby " + l.Pattern() + " has a leave handler already") //nolint:forbidigo // misuse at registration
	}
}

// Literal returns a pattern that matches name and nothing else, whatever it is
// made of: in a pattern, ':' and '*' have a meaning. Names with a '?' cannot be
// matched, because a query begins there.
func Literal(name string) string { return pattern.Escape(name) }

// routes is a list of handlers, of which the first that matches an event is its.
// It may be read while a handler is added.
type routes[C any] struct {
	list atomic.Pointer[[]route[C]]
}

type route[C any] struct {
	event   *pattern.Pattern
	handler *registered[C]
}

func (r *routes[C]) add(kind, event string, h Handler[C]) {
	compiled := mustCompile(event)
	if h == nil {
		panic("pond: " + kind + " " + event + " has no handler") //nolint:forbidigo // misuse at registration
	}
	for {
		old := r.list.Load()
		var list []route[C]
		if old != nil {
			list = append(list, *old...)
		}
		for _, other := range list {
			if other.event.String() == event {
				panic("pond: " + kind + " " + event + " has a handler already") //nolint:forbidigo // misuse at registration
			}
		}
		list = append(list, route[C]{compiled, &registered[C]{handler: h}})
		if r.list.CompareAndSwap(old, &list) {
			return
		}
	}
}

// match returns the handler of an event, or nil.
func (r *routes[C]) match(event string) (*registered[C], pattern.Params) {
	list := r.list.Load()
	if list == nil {
		return nil, nil
	}
	path, _ := pattern.SplitAddress(event)
	for _, route := range *list {
		if params, ok := route.event.Match(path); ok {
			return route.handler, params
		}
	}
	return nil, nil
}
