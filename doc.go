// Package pond provides realtime channels for net/http servers, with presence and
// private per-user state. Clients connect over WebSocket or Server-Sent Events to one
// http.Handler. The package implements PondSocket: the official clients work with it.
//
//	Pond            holds endpoints; an http.Handler
//	  Endpoint      one URL path; decides who may connect
//	    Lobby       one pattern of channel names, and its handlers
//	      Channel   one live channel: its members and their presence
//	        User    one member: a connection seen from inside a channel
//
// A chat server decides who may connect and who may join, and handles one event:
//
//	p := pond.New()
//	endpoint := p.Endpoint("/socket", func(ctx *pond.ConnectionContext) error { return ctx.Accept() })
//	lobby := endpoint.Lobby("/chat/:room", func(ctx *pond.JoinContext) error { return ctx.Accept() })
//	lobby.OnMessage("message", func(ctx *pond.EventContext) error {
//		return ctx.Broadcast(ctx.Event(), ctx.Payload())
//	})
//	log.Fatal(http.ListenAndServe("127.0.0.1:8000", p))
//
// There are five types of handlers, each with its own context. They run when a client
// connects ([ConnectionContext]), joins a channel ([JoinContext]), sends an event
// ([EventContext]), is about to receive an event ([OutgoingContext]), and leaves
// ([LeaveContext]). Each context is a [context.Context]. A client is rejected unless a
// handler accepts it. To decline, or to answer with an error, a handler returns an
// [*Error].
//
// # Order and concurrency
//
// Handlers of one client run one at a time, in the order in which its messages
// arrive. Over a WebSocket, this is the order in which they were sent. A client of an
// event stream sends HTTP requests. If it sends a request before the server responded
// to an earlier one, as the official client does, they can arrive in any order.
// OnOutgoing handlers run on the goroutine that writes to the client, also one at a
// time. Handlers of different clients run concurrently.
//
// All members of a channel receive its events in the same order. Each client receives
// its messages in the order in which they were queued: the acknowledgement of a join
// comes first, and a reply never overtakes an earlier broadcast.
//
// Methods that send only queue the message. They never block, so they take no context.
// The queue of each client is limited, and a client that does not keep up is
// disconnected. No lock is held while a handler runs, so a handler may call anything in
// this package.
//
// # Payloads
//
// Payloads and presence are JSON objects: structs, maps, [encoding/json.RawMessage],
// or nil for the empty object. They are encoded before the call that sends them
// returns. The payloads of clients stay encoded until a handler decodes them with Bind.
//
// # History
//
// By default, a message is sent to the members of a channel and not kept. The channels
// of a lobby with [WithHistory] keep their latest messages, and a client that reconnects
// receives the messages that it missed.
//
// # Assigns and presence
//
// Assigns are private to the server: handlers store values with Assign and read them
// with Get, and clients never see them. Presence is public: all tracked members of a
// channel receive the presence of each tracked member. Assigns and presence belong to one
// member. For the state of a whole room, see [Channel.SetState] and [Lobby.OnFirstJoin].
//
// # Errors
//
// If a handler returns an [*Error], the client receives its code, message and details.
// For any other error, or a panic, the client receives only "internal error", and the
// error is logged. Only that event is affected. [ErrClosed] and the other errors of
// this package that have a status may be returned from a handler unchanged.
//
// # Limits
//
// Everything that a client controls is limited. See [EndpointOption] for the limits,
// which have defaults, and [Observer] to count the clients that reach them. Only the
// message rate is unlimited by default; set it with [WithRateLimit].
//
// # Testing
//
// Package [github.com/pondsocket/pond/pondtest] connects clients to handlers in
// memory and in virtual time.
//
// Guides, a catalogue of errors, and the protocol for authors of clients are in
// the folder docs of the repository.
package pond
