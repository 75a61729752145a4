package pond

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync/atomic"

	"github.com/pondsocket/pond/internal/pattern"
	"github.com/pondsocket/pond/internal/strictjson"
)

// A Lobby is a pattern of channel names, with the handlers for these channels. Register
// handlers before the endpoint serves clients. The methods are safe for concurrent use.
type Lobby struct {
	endpoint *Endpoint
	pattern  *pattern.Pattern
	join     registered[*JoinContext]
	cfg      lobbyConfig

	messages routes[*EventContext]
	outgoing routes[*OutgoingContext]
	leave    atomic.Pointer[registered[*LeaveContext]]

	firstJoin atomic.Pointer[registered[*JoinContext]]
	lastLeave atomic.Pointer[registered[*LeaveContext]]
	keyPanics panicLog // of the key function of KeepLatest

	identityJoin  atomic.Pointer[registered[*JoinContext]]
	identityLeave atomic.Pointer[registered[*LeaveContext]]
}

// Endpoint returns the endpoint of the lobby.
func (l *Lobby) Endpoint() *Endpoint { return l.endpoint }

// Pattern returns the pattern that the lobby was added with.
func (l *Lobby) Pattern() string { return l.pattern.String() }

// OnMessage registers h for an event that members send, or for a pattern of
// events such as "move/:piece". The first matching handler runs. If no handler matches,
// the client receives an error. See [On] for typed payloads. OnMessage panics if the
// pattern is malformed or taken.
func (l *Lobby) OnMessage(event string, h Handler[*EventContext]) {
	l.messages.add("message", event, h)
}

// OnOutgoing registers h for events that are sent to members, by name or pattern:
// broadcasts and replies. It runs once per recipient, and may change or block the event
// for that recipient. It runs on the goroutine that writes to the recipient, so a slow
// handler delays only that recipient, and events stay in order. The first matching
// handler runs. If it returns an error or panics, that recipient does not get the
// event. It can run after the recipient left the channel. OnOutgoing panics if the pattern
// is malformed or taken.
func (l *Lobby) OnOutgoing(event string, h Handler[*OutgoingContext]) {
	l.outgoing.add("outgoing", event, h)
}

// OnLeave sets the handler that runs once per membership when it ends for any reason: a
// request of the client, [Channel.Evict], [Channel.Close], the end of the connection or
// a shutdown. Like all handlers of a client, it does not run concurrently with others:
// if the membership ends while a handler runs, the leave handler runs after it, and
// before the client's next message is handled. So when a client leaves a channel and
// joins it again, the leave handler returns before the join handler runs. OnLeave
// panics if there is a handler already.
func (l *Lobby) OnLeave(h Handler[*LeaveContext]) { register(l, &l.leave, "OnLeave", h) }

// OnFirstJoin sets the handler that runs when a channel gets its first member, for
// example to create the state of the room; see [Channel.SetState]. It runs inside
// [JoinContext.Accept], before the client becomes a member, so a declined client never
// causes it to run. It can use Assign, for example to give the first member a role.
// Reply, Broadcast and Track return [ErrNotAccepted], and Accept returns [ErrDecided].
//
// If the handler returns an error, Accept returns it and the client does not become a
// member. A panic in it is a panic in the join handler. In both cases OnLastLeave does not
// run, and OnFirstJoin runs again for the next client that is accepted.
//
// For the channels of one name, OnFirstJoin and [Lobby.OnLastLeave] run in turns and never
// at the same time. A client counts from Accept until its leave handler has returned. A
// client that is accepted while another client's leave handler runs therefore does not
// cause OnFirstJoin to run, and finds the state as it is. Accept waits while one of the two
// handlers runs for another client, so they should return soon; it does not wait longer
// than the connection lasts. After [Channel.Close], joins of the new channel with the same
// name wait until OnLastLeave of the closed one returned.
//
// A channel with history can outlive its members. OnFirstJoin runs again when a client
// joins a channel that has none.
//
// In a cluster, OnFirstJoin and OnLastLeave run on each node that has members of the
// channel, for these members, because the state of the room is in the memory of a node. In
// both, [Channel.Len] is the number of members on other nodes, as far as they are known: 0
// means that the client is the first or the last one in the cluster. Clients that join, or
// leave, on two nodes at the same moment do not see the change of the other one. The first
// join on a node waits 100 ms for the members on other nodes.
//
// OnFirstJoin panics if there is a handler already.
func (l *Lobby) OnFirstJoin(h Handler[*JoinContext]) { register(l, &l.firstJoin, "OnFirstJoin", h) }

// OnLastLeave sets the handler that runs after the last member left a channel, and
// after the leave handler of that member. Like all handlers of a client, it does not
// run concurrently with others; see [Lobby.OnFirstJoin]. It runs once per successful
// OnFirstJoin, even if the first client does not become a member because its connection
// or the channel ends. Its context is that of the last client. Afterwards,
// [Channel.State] is nil. If a node of a cluster crashes, OnLastLeave does not run for its
// members. OnLastLeave panics if there is a handler already.
func (l *Lobby) OnLastLeave(h Handler[*LeaveContext]) { register(l, &l.lastLeave, "OnLastLeave", h) }

// OnIdentityJoin sets the handler that runs when an identity gets its first member in a
// channel, such as a person who opens the first of several tabs; see
// [ConnectionContext.Identify]. It runs inside [JoinContext.Accept], after OnFirstJoin and
// before the client becomes a member, under the same conditions as OnFirstJoin. Members
// without an identity are not counted.
//
// For one identity in the channels of one name on one node, OnIdentityJoin and
// [Lobby.OnIdentityLeave] run in turns and never at the same time. A client counts from
// Accept until its leave handler returned, and longer with [WithLeaveGrace]. Accept waits
// while one of the two handlers runs for another client with the same identity. Different
// identities do not wait for each other.
//
// In a cluster, the members on all nodes count, as far as the node of the client knows
// them. So OnIdentityJoin runs on two nodes if clients with the identity join on both at
// the same moment. If the last client with the identity is just leaving another node,
// Accept waits for the handlers there, at most 2 s.
//
// OnIdentityJoin panics if there is a handler already.
func (l *Lobby) OnIdentityJoin(h Handler[*JoinContext]) {
	register(l, &l.identityJoin, "OnIdentityJoin", h)
}

// OnIdentityLeave sets the handler that runs when the last member with an identity left a
// channel, after its leave handler and before OnLastLeave; see [Lobby.OnIdentityJoin].
// Without a cluster, it runs once for each OnIdentityJoin that succeeded. Its context is
// that of the last client. With [WithLeaveGrace], it runs when the grace is over, and only
// if no client with the identity joined the channel in the meantime.
//
// In a cluster, it runs on the node that the last client left. If clients with the identity
// leave several nodes at the same moment, it runs on one of them. If the node of the last
// client crashes, it runs on another node that has members of the channel, after
// [WithNodeTimeout]; then [LeaveContext.User] returns what this node knew of the client. If
// no other node has members, it does not run. It may run again, or not at all, if nodes
// lose their connections or shut down at the same moment, or if the person returns when
// the grace ends: see docs/people.md.
//
// OnIdentityLeave panics if there is a handler already.
func (l *Lobby) OnIdentityLeave(h Handler[*LeaveContext]) {
	register(l, &l.identityLeave, "OnIdentityLeave", h)
}

// hasEdges reports whether the lobby has handlers that run in turns for each name of a
// channel.
func (l *Lobby) hasEdges() bool {
	return l.firstJoin.Load() != nil || l.lastLeave.Load() != nil || l.countsIdentities()
}

// register sets the only handler of a kind.
func register[C any](l *Lobby, p *atomic.Pointer[registered[C]], method string, h Handler[C]) {
	if h == nil {
		panic("pond: lobby " + l.Pattern() + ": " + method + " without a handler") //nolint:forbidigo // misuse at registration
	}
	if !p.CompareAndSwap(nil, &registered[C]{handler: h}) {
		panic("pond: lobby " + l.Pattern() + ": a second call of " + method) //nolint:forbidigo // misuse at registration
	}
}

// ChannelName returns the name of a channel of this lobby: the lobby's pattern with
// values instead of its parameters. The arguments are alternating names and values:
//
//	name, err := lobby.ChannelName("room", "ann@x.com") // "/chat/ann%40x.com"
//
// Names of channels are compared exactly: "/chat/ann@x.com" is another channel,
// although [Channel.Param] returns "ann@x.com" for both. ChannelName encodes values as
// encodeURIComponent does in JavaScript, so that servers and clients get the same name.
// The value of "*" is not encoded.
//
// ChannelName returns an error if a value is missing, empty or not valid UTF-8, if the
// pattern does not have one of the parameters, if the value of "*" does not fit, if the
// name is longer than [WithMaxChannelName] allows, or if the name belongs to another
// lobby, which was added earlier.
func (l *Lobby) ChannelName(params ...string) (string, error) {
	name, err := l.channelName(params)
	if err != nil {
		return "", fmt.Errorf("pond: channel name for lobby %s: %w", l.Pattern(), err)
	}
	return name, nil
}

func (l *Lobby) channelName(params []string) (string, error) {
	if len(params)%2 != 0 {
		return "", errors.New("a parameter has no value")
	}
	values := make(map[string]string, len(params)/2)
	for pair := range slices.Chunk(params, 2) {
		values[pair[0]] = pair[1]
	}
	name, err := l.pattern.Build(values)
	if err != nil {
		return "", err
	}
	path, _ := pattern.SplitAddress(name)
	found, _ := l.pattern.Match(path)
	for param, want := range values {
		got, ok := found.Lookup(param)
		if !ok {
			return "", fmt.Errorf("no parameter %q", param)
		}
		if got != want && got != "/"+want { // a "*" that is a whole segment begins with a slash
			return "", fmt.Errorf("invalid value %q of %q", want, param)
		}
	}
	if !l.endpoint.validName(name) {
		return "", fmt.Errorf("invalid channel name %q", name)
	}
	if other, _ := l.endpoint.lobby(name); other != l {
		return "", fmt.Errorf("%q belongs to lobby %s", name, other.Pattern())
	}
	return name, nil
}

// Literal returns a pattern that matches exactly name: it escapes characters that have
// a meaning in patterns, such as ':' and '*'. A name with a '?' cannot be matched,
// because '?' starts a query.
func Literal(name string) string { return pattern.Escape(name) }

// routes is a list of handlers. The first handler that matches an event handles it. The
// list may be read while a handler is added.
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

// A Handler handles one event in the life of a client: C is one of
// [*ConnectionContext], [*JoinContext], [*EventContext], [*OutgoingContext] and
// [*LeaveContext]. If it returns an error, the request of the client fails, and the
// client receives the error if it is an [*Error]. A nil *Error is no error. A panic,
// or a call of [runtime.Goexit], counts as an error that is not an *Error; only that
// event is affected.
type Handler[C any] func(ctx C) error

// A Middleware wraps a Handler, as middlewares for net/http do. One generic function
// can serve all five types of handlers:
//
//	func logged[C context.Context](next pond.Handler[C]) pond.Handler[C]
type Middleware[C any] func(next Handler[C]) Handler[C]

// Chain wraps h in middlewares. The first middleware is the outermost and runs first. A
// middleware sees nil if the next handler returned a nil [*Error].
func Chain[C any](h Handler[C], middlewares ...Middleware[C]) Handler[C] {
	for _, m := range slices.Backward(middlewares) {
		next := h
		h = m(func(ctx C) error {
			if err := next(ctx); !succeeded(err) {
				return err
			}
			return nil
		})
	}
	return h
}

// An Event is the name of an event whose payload is a T. Declare one for each
// event, in a package that server and Go clients share:
//
//	const Said pond.Event[Message] = "message"
type Event[T any] string

// With returns the arguments of Broadcast and Reply, checked by the compiler:
//
//	ctx.Broadcast(Said.With(m))
func (e Event[T]) With(payload T) (name string, _ any) { return string(e), payload }

// On is like [Lobby.OnMessage], but decodes the payload into a T for h. If the payload
// does not decode into a T or is ambiguous, h is not called, and the client receives an
// error with [http.StatusBadRequest]. See [EventContext.Bind].
func On[T any](l *Lobby, event Event[T], h func(ctx *EventContext, payload T) error) {
	if h == nil {
		l.OnMessage(string(event), nil) // panics
	}
	l.OnMessage(string(event), func(ctx *EventContext) error {
		var payload T
		if err := ctx.Bind(&payload); err != nil {
			return err
		}
		return h(ctx, payload)
	})
}

// bind decodes a payload for a handler. Members of the channel may receive the same
// payload, so they must decode it to the same values.
func bind(payload []byte, v any) error {
	err := strictjson.Unmarshal(payload, v)
	if err == nil {
		return nil
	}
	if ambiguous, ok := errors.AsType[*strictjson.AmbiguousError](err); ok {
		return &Error{Code: http.StatusBadRequest, Message: "the payload is ambiguous: " + ambiguous.Problem, Err: err}
	}
	if _, ok := errors.AsType[*json.InvalidUnmarshalError](err); ok {
		return fmt.Errorf("pond: cannot bind the payload: %w", err) // the handler's mistake, not the client's
	}
	return badPayload(err)
}
