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

import (
	"context"
	"errors"
	"iter"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/pondsocket/pond/internal/pattern"
)

// A Pond holds endpoints and serves their clients. It is an [http.Handler] for
// any net/http server, and its methods are safe for concurrent use:
//
//	mux.Handle("/ws/", http.StripPrefix("/ws", p))
type Pond struct {
	cfg   config
	conns *connCount
	node  *node // nil without a broker

	observerPanics sync.Map // of *panicLog, by function

	mu        sync.RWMutex // guards the following fields
	endpoints []*Endpoint
	closing   bool
}

// New returns a Pond without endpoints. It starts no goroutines, so a Pond that is no
// longer used needs no Shutdown.
func New(opts ...Option) *Pond {
	p := &Pond{conns: newConnCount()}
	for _, opt := range opts {
		opt(&p.cfg)
	}
	if p.cfg.observer == nil {
		p.cfg.observer = &Observer{}
	}
	if p.cfg.broker != nil {
		p.node = newNode(p)
	}
	return p
}

// Endpoint adds an endpoint for the request paths that match path, such as
// "/socket" or "/:tenant/socket". auth decides whether a client may connect. If a path
// matches several endpoints, the first that was added serves it. Endpoint panics if
// path is malformed or taken, or after [Pond.Shutdown].
//
// Paths that are equivalent according to RFC 3986 section 6.2.2 match in the same way:
// "/größe" matches "/gr%C3%B6%C3%9Fe", and "/socket" matches "/s%6Fcket". However,
// "%2F" is not a slash, and dot segments are not removed. Names of channels and events
// are compared exactly.
func (p *Pond) Endpoint(path string, auth Handler[*ConnectionContext], opts ...EndpointOption) *Endpoint {
	compiled, err := pattern.CompilePath(path)
	if err != nil {
		panic("pond: " + err.Error()) //nolint:forbidigo // misuse at registration
	}
	if auth == nil {
		panic("pond: endpoint " + path + " has no handler") //nolint:forbidigo // misuse at registration
	}
	cfg := defaultEndpointConfig()
	for _, opt := range p.cfg.endpoint {
		opt(&cfg)
	}
	for _, opt := range opts {
		opt(&cfg)
	}
	e := newEndpoint(p, compiled, auth, cfg)
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, other := range p.endpoints {
		if other.path.Equal(compiled) {
			panic("pond: endpoint " + path + " exists already") //nolint:forbidigo // misuse at registration
		}
	}
	if p.closing {
		panic("pond: endpoint " + path + " added after Shutdown") //nolint:forbidigo // misuse at registration
	}
	p.endpoints = append(p.endpoints, e)
	return e
}

func mustCompile(path string) *pattern.Pattern {
	compiled, err := pattern.Compile(path)
	if err != nil {
		panic("pond: " + err.Error()) //nolint:forbidigo // misuse at registration
	}
	return compiled
}

// Endpoints returns the endpoints in the order in which they were added. It is
// a snapshot.
func (p *Pond) Endpoints() iter.Seq[*Endpoint] {
	p.mu.RLock()
	endpoints := slices.Clip(p.endpoints)
	p.mu.RUnlock()
	return func(yield func(*Endpoint) bool) {
		for _, e := range endpoints {
			if !yield(e) {
				return
			}
		}
	}
}

// ServeHTTP serves the first endpoint whose path matches the path of the request. It
// responds with [http.StatusNotFound] if there is none.
func (p *Pond) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if p.node != nil {
		p.node.start()
	}
	path := pattern.RequestPath(r.URL)
	for e := range p.Endpoints() {
		if params, ok := e.path.Match(path); ok {
			e.serve(w, r, params)
			return
		}
	}
	defer abandonBody(w, r)()
	respond(w, http.StatusNotFound, "no endpoint at this path")
}

// headerTimeout is the time for the headers of a request, unless the server sets one.
const headerTimeout = 10 * time.Second

// idleTimeout is the time for which a connection without requests stays open, unless
// the server sets one. It is longer than the time for which common proxies keep idle
// connections (Caddy: two minutes). Otherwise a proxy could send a request on a connection
// that the server closes at the same moment.
const idleTimeout = 3 * time.Minute

// shutdownTimeout is the time that [Pond.Serve] gives clients and handlers to finish.
const shutdownTimeout = 10 * time.Second

// ListenAndServe listens on srv.Addr and calls [Pond.Serve].
func (p *Pond) ListenAndServe(ctx context.Context, srv *http.Server) error {
	addr := srv.Addr
	if addr == "" {
		addr = ":http"
	}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	return p.Serve(ctx, srv, l)
}

// Serve runs srv on l until ctx is done. Then it shuts down the server and p in the
// right order, within ten seconds, and returns nil if everything ended in that time. If
// srv does not set them, the handler is p, ReadHeaderTimeout is ten seconds, and
// IdleTimeout is three minutes. Serve closes l.
func (p *Pond) Serve(ctx context.Context, srv *http.Server, l net.Listener) error {
	if srv.Handler == nil {
		srv.Handler = p
	}
	if srv.ReadHeaderTimeout == 0 {
		srv.ReadHeaderTimeout = headerTimeout
	}
	if srv.IdleTimeout == 0 {
		srv.IdleTimeout = idleTimeout
	}
	for e := range p.Endpoints() {
		e.announce()
	}
	if p.node != nil {
		p.node.start() // so that the first client finds a connected node
	}
	failed := make(chan error, 1)
	go func() { failed <- srv.Serve(l) }()
	select {
	case err := <-failed:
		return errors.Join(err, p.stop(ctx, srv))
	case <-ctx.Done():
		err := p.stop(ctx, srv)
		if served := <-failed; !errors.Is(served, http.ErrServerClosed) {
			err = errors.Join(err, served)
		}
		return err
	}
}

// stop shuts down the server and p. The server stops listening first, so that no new
// client connects; its Shutdown returns after p ended the event streams that are HTTP
// requests.
func (p *Pond) stop(ctx context.Context, srv *http.Server) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
	defer cancel()
	server := make(chan error, 1)
	go func() { server <- srv.Shutdown(ctx) }()
	err := p.Shutdown(ctx)
	return errors.Join(err, <-server)
}

// Shutdown shuts the Pond down gracefully. It rejects new clients with
// [http.StatusServiceUnavailable], runs leave handlers with [LeaveShutdown], sends the
// queued messages, closes WebSockets with code 1001, and ends event streams. Shutdown
// returns when all connections are closed and all handlers have returned. If ctx is done
// first, Shutdown closes the remaining connections immediately and returns ctx's error.
// A second call waits in the same way.
//
// If your own code shuts down the server in which p is mounted, that server must stop
// listening first: see [Pond.Serve].
func (p *Pond) Shutdown(ctx context.Context) error {
	p.mu.Lock()
	p.closing = true
	endpoints := p.endpoints
	p.mu.Unlock()
	if p.node != nil {
		p.node.refuseJoins()
	}
	for _, e := range endpoints {
		e.shutdown()
	}
	var err error
	for _, e := range endpoints {
		err = errors.Join(err, e.drain(ctx))
	}
	if p.node != nil {
		err = errors.Join(err, p.node.stop(ctx))
	}
	return err
}

func (p *Pond) logger() *slog.Logger {
	if p.cfg.logger != nil {
		return p.cfg.logger
	}
	return slog.Default()
}
