package pond

import (
	"context"
	"crypto/sha256"
	"errors"
	"iter"
	"net/netip"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/pondsocket/pond/internal/clusterwire"
	"github.com/pondsocket/pond/internal/pattern"
	"github.com/pondsocket/pond/internal/transport"
	"github.com/pondsocket/pond/internal/wire"
	"github.com/pondsocket/pond/internal/ws"
)

// An Endpoint is one path where clients connect, and the channels of these clients. It
// is also an [http.Handler], for routers that match paths themselves. Its methods are
// safe for concurrent use.
type Endpoint struct {
	// Static after construction.
	pond *Pond
	path *pattern.Pattern
	auth registered[*ConnectionContext]
	cfg  endpointConfig
	hub  *transport.Hub

	tasks    transport.Tasks // requests, connections and inboxes
	registry registry
	history  historyBudget
	forwards forwardBudget
	graces   graces
	control  *control // nil without a broker

	mu      sync.Mutex // guards the following fields
	lobbies []*Lobby
	conns   map[string]*conn    // by user ID
	streams map[streamKey]*conn // event streams
	people  identityIndex[*conn]
	slots   int // connections, and requests that may become one
	closing bool
	leaving int // number of connections when closing was set

	perAddress  map[netip.Addr]int // of the slots; only with WithMaxConnsPerAddress
	perIdentity map[string]int     // of the slots; only with WithMaxConnsPerIdentity
}

func newEndpoint(p *Pond, path *pattern.Pattern, auth Handler[*ConnectionContext], cfg endpointConfig) *Endpoint {
	e := &Endpoint{
		pond: p, path: path, auth: registered[*ConnectionContext]{handler: auth}, cfg: cfg,
		hub: transport.NewHub(transport.Config{
			MaxMessage:   cfg.maxMessage,
			MaxFragments: cfg.maxFragments,
			OutboxBytes:  cfg.outbox,
			Backlog:      4 << 20,
			WriteTimeout: cfg.writeTimeout,
			CloseTimeout: cfg.closeTimeout,
			PingInterval: cfg.ping,
			ControlRate:  cfg.controlRate,
			ControlBurst: cfg.controlBurst,
			Compress:     cfg.compressFrom > 0,
			CompressFrom: cfg.compressFrom,
		}),
		forwards: forwardBudget{maxBytes: cfg.forwardBytes},
		conns:    map[string]*conn{},
		streams:  map[streamKey]*conn{},
	}
	e.history.limit = cfg.historyBytes
	e.registry.budget = &e.history
	e.graces.tasks = &e.tasks
	if p.node != nil {
		e.control = newControl(e)
	}
	return e
}

// Path returns the pattern that the endpoint was added with.
func (e *Endpoint) Path() string { return e.path.String() }

// Lobby adds a pattern of channel names, such as "/chat/:room_id" or "/files/*".
// A channel is created when its first member joins and removed when its last member
// leaves, or later if the lobby has a history. join decides who becomes a member. If a
// name matches several lobbies, it belongs to the first that was added. Lobby panics if
// the pattern is malformed or taken, or if options exclude each other.
func (e *Endpoint) Lobby(pattern string, join Handler[*JoinContext], opts ...LobbyOption) *Lobby {
	l := &Lobby{endpoint: e, pattern: mustCompile(pattern), join: registered[*JoinContext]{handler: join}}
	for _, opt := range opts {
		opt(&l.cfg)
	}
	l.cfg.init(l)
	if join == nil {
		panic("pond: lobby " + pattern + " has no handler") //nolint:forbidigo // misuse at registration
	}
	if l.cfg.identities && !l.cfg.diffs {
		panic("pond: lobby " + pattern + ": WithPresenceIdentities needs WithPresenceDiffs") //nolint:forbidigo // misuse at registration
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, other := range e.lobbies {
		if other.pattern.String() == pattern {
			panic("pond: lobby " + pattern + " exists already") //nolint:forbidigo // misuse at registration
		}
	}
	e.lobbies = append(e.lobbies, l)
	return l
}

// Channel returns a live channel: one that has members, on this node if there are several.
// It never creates one.
func (e *Endpoint) Channel(name string) (*Channel, bool) {
	ch := e.registry.find(name)
	if ch == nil || ch.lenHere() == 0 {
		return nil, false
	}
	return ch, true
}

// Channels returns the channels that are live on this node, in no particular order. It is a snapshot.
func (e *Endpoint) Channels() iter.Seq[*Channel] {
	channels := e.registry.all()
	return func(yield func(*Channel) bool) {
		for _, ch := range channels {
			if ch.lenHere() > 0 && !yield(ch) {
				return
			}
		}
	}
}

// Len returns the number of clients that are connected.
func (e *Endpoint) Len() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.conns)
}

// Disconnect closes the connection of a client. A WebSocket is closed with code and
// reason; the reason is truncated to 123 bytes. code is a close code (RFC 6455 section
// 7.4), or an HTTP status such as [http.StatusForbidden], which becomes 4000 plus the
// status; zero stands for 1000, a normal end. Disconnect returns [ErrClosed] if no such
// client is connected.
//
// In a cluster, the client may be connected to another node. If it is not connected to this
// one, the other nodes are asked to disconnect it, and the error says whether that was
// possible. A node that has no connection to the broker receives the request when the
// connection is restored.
func (e *Endpoint) Disconnect(userID string, code int, reason string) error {
	err := e.disconnect(userID, code, reason)
	if n := e.pond.node; n != nil && err != nil {
		return n.disconnect(e, userID, "", code, reason)
	}
	return err
}

// disconnect disconnects a client of this node.
func (e *Endpoint) disconnect(userID string, code int, reason string) error {
	e.mu.Lock()
	c := e.conns[userID]
	e.mu.Unlock()
	if c == nil {
		return ErrClosed
	}
	if code == 0 {
		code = ws.CloseNormal
	}
	c.expel(code, reason)
	return nil
}

// expel closes the connection for the application. A client whose leave handlers still
// run because its connection was lost is not expected to return any more.
func (c *conn) expel(code int, reason string) {
	c.mu.Lock()
	c.expelled = true
	c.mu.Unlock()
	c.tr.Close(ws.CloseCode(code), reason, ErrClosed)
}

// admit registers c. It returns a reason to disconnect c immediately if the endpoint is
// shutting down, or if [Endpoint.DisconnectIdentity] was called in the meantime. One
// lock covers both checks, so that no client is missed.
func (e *Endpoint) admit(c *conn) *closeReason {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closing {
		return &closeReason{ws.CloseGoingAway, "server shutting down"}
	}
	if e.pond.node != nil {
		e.pond.node.start()
	}
	e.conns[c.id] = c
	if c.secret != "" {
		e.streams[keyOf(c.secret)] = c
	}
	return c.unwanted
}

// abandon discards a connection that is not started.
func (e *Endpoint) abandon(c *conn) {
	e.mu.Lock()
	e.people.remove(c)
	e.mu.Unlock()
	e.release(c)
}

// dismiss removes c from the endpoint. Its slot is released when its network connection
// is also closed.
func (e *Endpoint) dismiss(c *conn) {
	e.mu.Lock()
	delete(e.conns, c.id)
	e.people.remove(c)
	if c.secret != "" {
		delete(e.streams, keyOf(c.secret))
	}
	e.mu.Unlock()
	c.releaseSlot()
}

// A streamKey is the SHA-256 of a connection ID. Streams are found by it, so that the time
// of the search reveals nothing about the IDs, and other nodes name a stream by it, so
// that no ID reaches the broker.
type streamKey [sha256.Size]byte

func keyOf(id string) streamKey { return sha256.Sum256([]byte(id)) }

// maxStreamID is more than the length of any connection ID.
const maxStreamID = 128

// stream returns the event stream that has this connection ID.
func (e *Endpoint) stream(id string) *conn {
	if id == "" || len(id) > maxStreamID {
		return nil
	}
	return e.streamOf(keyOf(id))
}

func (e *Endpoint) streamOf(key streamKey) *conn {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.streams[key]
}

// lobby returns the first lobby whose pattern matches the name.
func (e *Endpoint) lobby(name string) (*Lobby, pattern.Params) {
	e.mu.Lock()
	lobbies := e.lobbies
	e.mu.Unlock()
	path, _ := pattern.SplitAddress(name)
	for _, l := range lobbies {
		if params, ok := l.pattern.Match(path); ok {
			return l, params
		}
	}
	return nil, nil
}

// features returns the member of the first message that lists the protocol extensions
// of the endpoint, or "".
func (e *Endpoint) features() string {
	var diffs, histories bool
	e.mu.Lock()
	for _, l := range e.lobbies {
		diffs = diffs || l.cfg.diffs
		histories = histories || l.cfg.history != nil
	}
	e.mu.Unlock()
	var list []string // sorted
	if diffs {
		list = append(list, `"diff"`)
	}
	if histories {
		list = append(list, `"recover"`)
	}
	if e.cfg.joinByURL {
		list = append(list, `"url"`)
	}
	if list == nil {
		return ""
	}
	return `,"features":[` + strings.Join(list, ",") + `]`
}

// validName reports whether a channel may have this name. It must be valid UTF-8:
// otherwise, clients would receive another name. A URL can contain other bytes.
func (e *Endpoint) validName(name string) bool {
	if len(name) > e.cfg.maxName || !utf8.ValidString(name) {
		return false
	}
	if e.control != nil && (name == controlChannel || len(clusterwire.Topic(e.control.name, name)) > clusterwire.MaxTopic) {
		return false
	}
	for _, r := range name {
		if r < 0x20 || r >= 0x7f && r < 0xa0 {
			return false
		}
	}
	return true
}

// shutdown starts to close all connections.
func (e *Endpoint) shutdown() {
	for _, c := range e.close() {
		c.inbox.push(&task{kind: taskShutdown})
	}
	e.graces.endAll()
	e.registry.close()
}

// close makes the endpoint reject new clients, and returns the connected ones.
func (e *Endpoint) close() []*conn {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.closing {
		e.closing, e.leaving = true, len(e.conns)
	}
	conns := make([]*conn, 0, len(e.conns))
	for _, c := range e.conns {
		conns = append(conns, c)
	}
	return conns
}

// makeHistoryRoom makes room for a message in the histories of all channels.
func (e *Endpoint) makeHistoryRoom(size int) {
	if e.registry.makeRoom(size) {
		e.limited(LimitHistory)
	}
}

func (e *Endpoint) isClosing() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.closing
}

// drain waits until all connections and handlers ended. When ctx is done, it aborts the
// remaining connections.
func (e *Endpoint) drain(ctx context.Context) error {
	err := e.tasks.Wait(ctx)
	if err == nil {
		err = e.hub.Wait(ctx)
	}
	if err != nil {
		for _, c := range e.close() {
			c.tr.Abort(ErrClosed)
			c.cancel()
		}
		e.hub.AbortAll(ErrClosed) // includes connections that are not in conns any more
	}
	return err
}

func (e *Endpoint) limited(l Limit) {
	if f := e.pond.cfg.observer.Limited; f != nil {
		e.pond.observe("Limited", func() { f(e, l) })
	}
}

// publish is [Endpoint.Publish] in a cluster.
func (e *Endpoint) publish(ctx context.Context, l *Lobby, name string, params pattern.Params, event string, payload any) error {
	stored := make(chan error, 1)
	to := Audience{except: true, stored: func(err error) { stored <- err }}
	err := ErrClosed
	for errors.Is(err, ErrClosed) && !e.isClosing() {
		err = e.publishOnce(ctx, l, name, params, event, payload, to)
	}
	if err != nil {
		return err
	}
	select {
	case err := <-stored:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// publishOnce returns [ErrClosed] if the channel has just ended.
func (e *Endpoint) publishOnce(
	ctx context.Context, l *Lobby, name string, params pattern.Params, event string, payload any, to Audience,
) error {
	n := e.pond.node
	ch := e.registry.find(name)
	if l.cfg.history != nil && n.log == nil { // which this node also keeps
		ch = e.registry.acquire(l, name, params)
		defer e.registry.release(ch)
		if err := ch.link.attach(ctx); err != nil {
			return unavailableError(err)
		}
	}
	if ch != nil {
		return ch.send(event, newRequestID(), payload, to)
	}
	body, err := wire.View(payload)
	if err != nil {
		return err
	}
	n.start()
	endpoint := clusterwire.EndpointName(e.Path())
	bare := &link{node: n, endpoint: endpoint, channel: name, name: clusterwire.Topic(endpoint, name)}
	if l.cfg.history != nil {
		bare.log = &remoteLog{keep: l.cfg.history.retention()}
	}
	it, err := bare.outgoing(event, newRequestID(), body, to)
	if err != nil {
		return err
	}
	return n.push(bare.name, *it)
}
