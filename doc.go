// Package pond is a realtime framework: channels with presence and private state
// for any net/http server, over WebSocket and Server-Sent Events. It speaks the
// protocol of the official PondSocket clients.
//
//	Pond            holds endpoints; an http.Handler
//	  Endpoint      one URL path; decides who may connect
//	    Lobby       one pattern of channel names, and its handlers
//	      Channel   one live channel: its members and their presence
//	        User    one member: a connection seen from inside a channel
//
// A chat server is two decisions and one event:
//
//	p := pond.New()
//	endpoint := p.Endpoint("/socket", func(ctx *pond.ConnectionContext) error { return ctx.Accept() })
//	lobby := endpoint.Lobby("/chat/:room", func(ctx *pond.JoinContext) error { return ctx.Accept() })
//	lobby.OnMessage("message", func(ctx *pond.EventContext) error {
//		return ctx.Broadcast(ctx.Event(), ctx.Payload())
//	})
//	log.Fatal(http.ListenAndServe("127.0.0.1:8000", p))
//
// Handlers run at five moments of a client's life, each with a context of its
// own: it connects ([ConnectionContext]), joins a channel ([JoinContext]), sends
// an event ([EventContext]), is about to receive one ([OutgoingContext]), and
// leaves ([LeaveContext]). Each of them is a [context.Context]. A client is
// declined unless a handler accepts it; to decline, or to answer with an error,
// a handler returns an [*Error].
//
// # Order and concurrency
//
// Handlers of one client run one at a time, in the order in which its messages
// arrive. Over a WebSocket, that is the order in which they were sent. A client of an
// event stream sends requests, and can send one before the server has answered another,
// as the official client does: these can arrive in any order. OnOutgoing handlers run
// where the client is written to, one at a time as well. Handlers of different clients run concurrently. All members of a channel see
// its events in one order, and a client sees everything that concerns it in the
// order in which it was committed: an acknowledgement first, a reply never before
// a broadcast that preceded it.
//
// Sending queues and never waits, so it takes no context. What waits for a client
// is bounded, and a client that does not keep up is disconnected: nobody waits
// for it. No lock is held while a handler runs, so a handler may call anything in
// this package.
//
// # Payloads
//
// Payloads and presence are JSON objects: structs, maps, [encoding/json.RawMessage],
// or nil for the empty object. They are encoded before the call that sends them
// returns. What clients send stays encoded until a handler asks for it with Bind.
//
// # Assigns and presence
//
// Assigns are private to the server: what a handler stores with Assign, others
// find with Get, and no client ever sees. Presence is public: a member that is
// tracked is known, with what it was tracked with, to all tracked members of its
// channel.
//
// # Errors
//
// A client sees the code, the message and the details of an [*Error], and of any
// other error, or of a panic, only that there was one; the rest is logged. Either
// harms that one event. [ErrClosed] and the other errors of this package that have
// a status are fit to be returned from a handler as they are.
//
// # Limits
//
// Everything that a client decides is bounded, with a default for each limit; see
// [EndpointOption] for all of them, and [Observer] for who meets them. Only a rate
// limit has to be chosen: [WithRateLimit].
//
// # Testing
//
// Package [github.com/pondsocket/pond/pondtest] connects clients to handlers in
// memory and in virtual time.
//
// Guides, a catalogue of errors, and the protocol for authors of clients are in
// the folder docs of the repository.
package pond
