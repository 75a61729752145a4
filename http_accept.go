package pond

import (
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/pondsocket/pond/internal/pattern"
	"github.com/pondsocket/pond/internal/transport"
	"github.com/pondsocket/pond/internal/wire"
	"github.com/pondsocket/pond/internal/ws"
)

// Transport is the transport of a connection.
type Transport string

// The transports.
const (
	WebSocket Transport = "websocket"
	SSE       Transport = "sse"
)

// ServeHTTP serves one request of a client: to open a WebSocket or an event stream, to
// send a message for an event stream, or to end an event stream.
//
// The caller, such as a router, has already matched the path, so an endpoint whose path
// has no parameters serves every request. An endpoint with parameters responds with
// [http.StatusNotFound] if the path does not match, so that handlers never get empty
// parameters because the paths of router and endpoint differ. [Pond.ServeHTTP] selects
// the endpoint by path.
func (e *Endpoint) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var params pattern.Params
	if e.path.HasParams() {
		var ok bool
		if params, ok = e.path.Match(pattern.RequestPath(r.URL)); !ok {
			e.reject(w, r, refuse(http.StatusNotFound, "no endpoint at this path"))
			return
		}
	}
	e.serve(w, r, params)
}

func (e *Endpoint) serve(w http.ResponseWriter, r *http.Request, params pattern.Params) {
	// Do this first: until then, later requests of the client can overtake this one.
	s := e.takeTurn(r)
	defer s.end() // or earlier: not after the rest of a body that is rejected
	if !e.cfg.serves(r) {
		s.end()
		e.reject(w, r, refuse(http.StatusMisdirectedRequest, "this host is not served here"))
		return
	}
	if !e.cfg.allows(r) {
		s.end()
		e.reject(w, r, refuse(http.StatusForbidden, "this origin is not allowed"))
		return
	}
	e.cfg.allow(w.Header(), r)
	if err := checkSize(r); err != nil {
		s.end()
		e.reject(w, r, err)
		return
	}
	switch {
	case r.Method == http.MethodGet && ws.IsUpgrade(r):
		e.acceptWebSocket(w, r, params)
	case r.Method == http.MethodGet && wantsEvents(r):
		e.acceptStream(w, r, params)
	case r.Method == http.MethodGet && r.Header.Get("Sec-WebSocket-Key") != "":
		e.acceptWebSocket(w, r, params) // whose text names the header that a proxy dropped
	case r.Method == http.MethodGet:
		e.reject(w, r, refuse(http.StatusNotFound, "connect with a WebSocket, or ask for text/event-stream"))
	case r.Method == http.MethodPost, r.Method == http.MethodDelete:
		e.serveStream(w, r, &s)
	case r.Method == http.MethodOptions && e.cfg.crossOrigin():
		e.preflight(w, r)
	default:
		w.Header().Set("Allow", "GET, POST, DELETE")
		e.reject(w, r, refuse(http.StatusMethodNotAllowed, "this method is not allowed"))
	}
}

// Limits of a request to connect. A parsed query parameter or cookie needs many times
// the memory of its bytes in the request.
const (
	maxQueryParams = 1000
	maxCookies     = 1000
)

// checkSize rejects a request whose query or cookies would need much more memory than
// they have bytes. It counts separators and does not parse.
func checkSize(r *http.Request) error {
	if strings.Count(r.URL.RawQuery, "&") >= maxQueryParams {
		return refuse(http.StatusBadRequest, "too many query parameters")
	}
	cookies := 0
	for _, line := range r.Header["Cookie"] {
		cookies += 1 + strings.Count(line, ";")
	}
	if cookies > maxCookies {
		return refuse(http.StatusBadRequest, "too many cookies")
	}
	return nil
}

// wantsNamed reports whether the events of a stream are named.
func (c *endpointConfig) wantsNamed(r *http.Request) bool {
	framing := c.framing
	if asked := SSEFraming(r.URL.Query().Get("sse")); asked == SSENamed || asked == SSEUnnamed {
		framing = asked
	}
	if framing != SSEAuto {
		return framing == SSENamed
	}
	browser := r.Header.Get("Sec-Fetch-Mode") != "" || strings.Contains(r.Header.Get("Cache-Control"), "no-cache")
	return !browser
}

// wantsEvents reports whether the request accepts an event stream.
func wantsEvents(r *http.Request) bool {
	for _, line := range r.Header.Values("Accept") {
		for part := range strings.SplitSeq(line, ",") {
			mediaType, _, _ := strings.Cut(part, ";")
			if strings.EqualFold(strings.TrimSpace(mediaType), "text/event-stream") {
				return true
			}
		}
	}
	return false
}

// reject rejects a request that would become a connection.
func (e *Endpoint) reject(w http.ResponseWriter, r *http.Request, err error) {
	refusal := public(err)
	status := refusal.status()
	if c := refusal.Code; c >= 200 && c <= 599 {
		status = c // 204 stops the retries of an EventSource, and redirects are allowed
	}
	e.refused(status)
	defer abandonBody(w, r)()
	h := w.Header()
	if r.ProtoMajor == 1 { // over HTTP/2 this would end the client's other requests
		h.Set("Connection", "close")
		if status == http.StatusUpgradeRequired { // the status requires this header
			h.Add("Connection", "Upgrade")
			h.Set("Upgrade", "websocket")
			h.Set("Sec-WebSocket-Version", "13")
		}
	}
	respond(w, status, refusal.Message)
}

func (e *Endpoint) refused(status int) {
	if f := e.pond.cfg.observer.Rejected; f != nil {
		e.pond.observe("Rejected", func() { f(e, status) })
	}
}

func (e *Endpoint) acceptWebSocket(w http.ResponseWriter, r *http.Request, params pattern.Params) {
	handshake, broken := ws.ParseHandshake(r, e.cfg.compressFrom > 0)
	if broken != nil {
		e.reject(w, r, refuse(broken.Status, broken.Message))
		return
	}
	join, err := e.urlJoin(r)
	if err != nil {
		e.reject(w, r, err)
		return
	}
	c, ctx, err := e.authorize(w, r, params, WebSocket)
	if err != nil {
		e.reject(w, r, err)
		return
	}
	defer c.abandonUnlessGreeted()
	tr, err := e.hub.AcceptWebSocket(w, handshake, c)
	if err != nil {
		e.hijackFailed(w, r, err)
		return
	}
	c.greet(tr, ctx, newSecret())
	if join != nil {
		c.inbox.push(&task{kind: taskJoin, msg: *join})
	}
	tr.Start()
}

func (e *Endpoint) acceptStream(w http.ResponseWriter, r *http.Request, params pattern.Params) {
	join, err := e.urlJoin(r)
	if err != nil {
		e.reject(w, r, err)
		return
	}
	c, ctx, err := e.authorize(w, r, params, SSE)
	switch {
	case err != nil && join != nil:
		e.rejectURL(w, r, err)
		return
	case err != nil:
		e.reject(w, r, err)
		return
	}
	defer c.abandonUnlessGreeted()
	abandonBody(w, r) // a stream that cannot be hijacked would not start before its body arrived
	c.secret = e.newStreamID()
	h := w.Header()
	h.Set("Content-Type", "text/event-stream; charset=utf-8")
	h.Set("Cache-Control", "no-cache, no-transform, no-store") // not even the headers, because one is a secret
	h.Set("X-Accel-Buffering", "no")                           // nginx: do not wait for more
	h.Set("X-Connection-ID", c.secret)
	if join != nil {
		e.acceptURLStream(w, r, c, ctx, join)
		return
	}
	tr, taken, err := e.hub.AcceptStream(w, r, transport.StreamOptions{Named: e.cfg.wantsNamed(r)}, c)
	if err != nil {
		e.hijackFailed(w, r, err)
		return
	}
	c.greet(tr, ctx, c.secret)
	c.serveStream(r, taken)
}

// serveStream starts the event stream, and serves it if it was not taken over from
// net/http.
func (c *conn) serveStream(r *http.Request, taken bool) {
	if taken {
		c.tr.Start()
		return
	}
	if err := c.tr.SendHeader(); err != nil {
		c.endpoint.logHijackFailed(r, err)
	}
	c.tr.Start()
	c.tr.Serve(r.Context())
}

// hijackFailed responds to a request whose connection was accepted but cannot be taken
// over, because a wrapper of the ResponseWriter hides it. The error names the wrapper.
func (e *Endpoint) hijackFailed(w http.ResponseWriter, r *http.Request, err error) {
	e.logHijackFailed(r, err)
	if errors.Is(err, http.ErrNotSupported) {
		w.Header().Del("X-Connection-ID")
		e.reject(w, r, refuse(http.StatusInternalServerError, "internal error"))
	}
}

func (e *Endpoint) logHijackFailed(r *http.Request, err error) {
	e.pond.log(r.Context(), slog.LevelError, "pond: cannot take over the connection", slog.Any("error", err))
}

// authorize runs the connection handler. If the client is accepted, it has a slot;
// otherwise the caller must reject the request with the error.
func (e *Endpoint) authorize(w http.ResponseWriter, r *http.Request, params pattern.Params, t Transport) (accepted *conn, ctx *ConnectionContext, err error) {
	var addr netip.Addr
	if e.cfg.maxPerAddress > 0 {
		addr = e.cfg.clientAddress(r)
	}
	if err := e.reserve(addr); err != nil {
		w.Header().Set("Retry-After", e.retryAfter())
		return nil, nil, err
	}
	c := &conn{endpoint: e, id: newUserID(), addr: addr, bucket: newBucket(e.cfg.rate, e.cfg.burst), began: e.pond.node.clock()}
	defer func() {
		if accepted == nil {
			e.abandon(c)
		}
	}()
	c.inbox.conn = c
	ctx = &ConnectionContext{stdContext: r.Context(), request: r, conn: c, params: params, transport: t}
	err = e.decide(ctx)
	e.settle(c)
	if err != nil {
		if ctx.refusal != nil && public(err).Code == http.StatusTooManyRequests {
			w.Header().Set("Retry-After", e.retryAfter())
		}
		return nil, nil, err
	}
	return c, ctx, nil
}

// decide runs the connection handler and returns why the client is rejected, or nil.
// The goroutine of the request must respond, so the handler gets its own goroutine.
func (e *Endpoint) decide(ctx *ConnectionContext) error {
	var f *failure
	_ = isolate(func() { e.auth.call(ctx, func(failed *failure) { f = failed }) }) // f reports it
	if f.hidden() {
		f.log(ctx, e.pond, "pond: connection handler failed", slog.String("endpoint", e.Path()))
	}
	switch {
	case f != nil:
		return f.public
	case ctx.refusal != nil:
		return ctx.refusal
	case !ctx.accepted:
		return refuse(http.StatusUnauthorized, "the connection was not accepted")
	}
	return nil
}

// abandonUnlessGreeted is deferred, because a wrapper of the ResponseWriter can panic
// or end the goroutine.
func (c *conn) abandonUnlessGreeted() {
	if c.tr == nil {
		c.endpoint.abandon(c)
	}
}

// greet queues the first messages of a connection, which contain the client's ID and
// the replies of the connection handler, and registers the connection. The caller must
// start it.
func (c *conn) greet(tr *transport.Conn, ctx *ConnectionContext, secret string) {
	c.tr = tr
	c.slotUsers.Store(2)
	hello := wire.AppendString([]byte(`{"id":"`+c.id+`","connectionId":`), secret)
	hello = append(append(hello, c.endpoint.features()...), '}')
	var w transport.Work
	tr.Queue(&w, newFrame(wire.Connect, wire.Connection, wire.Endpoint, newRequestID(), hello), nil)
	for _, reply := range ctx.replies {
		tr.Queue(&w, newFrame(wire.System, reply.event, wire.Endpoint, newRequestID(), reply.body), nil)
	}
	if f := c.endpoint.pond.cfg.observer.Connected; f != nil { // before other events of the client can be reported
		c.endpoint.pond.observe("Connected", func() { f(c.endpoint, c.id, c.transport()) })
	}
	unwanted := c.endpoint.admit(c)
	w.Do()
	if unwanted != nil {
		tr.Close(unwanted.code, unwanted.reason, ErrClosed)
	}
}

// unreadTimeout limits the time to send the rest of a request that was responded to
// before its body was read.
const unreadTimeout = 5 * time.Second

// respond responds to a request that does not become a connection. Such a response
// depends on the time or on the client, so it must not be cached.
func respond(w http.ResponseWriter, status int, text string) {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	if status == http.StatusNoContent {
		w.WriteHeader(status)
		return
	}
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Length", strconv.Itoa(len(text)))
	w.WriteHeader(status)
	_, _ = w.Write([]byte(text))
}

// unreadSize limits how much of such a rest is read, in bytes.
const unreadSize = 64 << 10

// abandonBody is called before the response to a request whose body, if there is
// one, is not read. To use the connection again, net/http waits for the rest of a body
// without a limit. So abandonBody sets a deadline. It also makes net/http close the
// connection: otherwise, the response would wait for the body as well. Over HTTP/2,
// only the stream of the request ends.
//
// The function that it returns is called after the response. It sends the response and
// discards the rest of a small body. If the request has "Connection: close", as those of
// some proxies, net/http does not do that: the client could lose the response while it
// still sends, and a proxy would respond with 502 instead.
func abandonBody(w http.ResponseWriter, r *http.Request) (discard func()) {
	if r.ContentLength == 0 {
		return func() {}
	}
	ctl := http.NewResponseController(w)
	err := ctl.SetReadDeadline(time.Now().Add(unreadTimeout))
	if r.ProtoMajor != 1 {
		return func() {}
	}
	w.Header().Set("Connection", "close")
	if err != nil || r.ContentLength > unreadSize || r.Header.Get("Expect") != "" {
		return func() {}
	}
	return func() {
		if ctl.Flush() == nil {
			_, _ = io.CopyN(io.Discard, r.Body, unreadSize)
		}
	}
}

// isToken reports whether s can be the name of a header (RFC 9110 section 5.6.2).
func isToken(s string) bool {
	for i := range len(s) {
		c := s[i]
		if ('0' > c || c > '9') && ('a' > c|0x20 || c|0x20 > 'z') && strings.IndexByte("!#$%&'*+-.^_`|~", c) < 0 {
			return false
		}
	}
	return s != ""
}

// parseCookies parses Cookie headers as the official servers do: names without a value
// are skipped, quotes are part of the value, and of equal names, the last one counts.
func parseCookies(headers []string) map[string]string {
	cookies := map[string]string{}
	for _, header := range headers {
		for pair := range strings.SplitSeq(header, ";") {
			name, value, ok := strings.Cut(pair, "=")
			if !ok {
				continue
			}
			if decoded, err := url.PathUnescape(strings.TrimSpace(value)); err == nil {
				cookies[strings.TrimSpace(name)] = decoded
			} else {
				cookies[strings.TrimSpace(name)] = strings.TrimSpace(value)
			}
		}
	}
	return cookies
}
