package transport

import (
	"bufio"
	"context"
	"errors"
	"net"
	"net/http"
	"time"

	"github.com/pondsocket/pond/internal/ws"
)

// AcceptWebSocket takes over the connection of a request from net/http and queues
// the response to its handshake, including the headers in w.Header(). The connection
// outlives the HTTP handler. Nothing is read or written before [Conn.Start].
func (h *Hub) AcceptWebSocket(w http.ResponseWriter, hs ws.Handshake, recv Receiver) (*Conn, error) {
	conn, buffered, err := hijack(w)
	if err != nil {
		return nil, err
	}
	c := h.newConn(conn, wsText, recv)
	if hs.Deflate {
		c.enc = wsDeflate
	}
	c.dec.Init(&h.frames, ws.Server, hs.Deflate)
	c.buffered = buffered
	c.appendLocked(item{frame: rawFrame(ws.AppendSwitchingProtocols(nil, hs, w.Header()))})
	return c, nil
}

// StreamOptions are the options of an event stream.
type StreamOptions struct {
	Named bool // events have their name in the event field
	IDs   bool // numbered frames have their position in the id field
}

// AcceptStream is [Hub.NewStream] and [Conn.Open] in one.
func (h *Hub) AcceptStream(w http.ResponseWriter, r *http.Request, opts StreamOptions, recv Receiver) (c *Conn, taken bool, err error) {
	c = h.NewStream(opts, recv)
	taken, err = c.Open(w, r, nil)
	return c, taken, err
}

// NewStream returns an event stream without a network connection. Frames for it are
// queued. The caller must call [Conn.Open] and [Conn.Start], or [Conn.Discard].
func (h *Hub) NewStream(opts StreamOptions, recv Receiver) *Conn {
	enc := sseUnnamed
	if opts.Named {
		enc = sseNamed
	}
	if opts.IDs {
		enc += sseNamedID - sseNamed
	}
	return h.newConn(nil, enc, recv)
}

// Open responds to a request with the event stream, whose headers are in w.Header()
// and whose body begins with preface. Over HTTP/1 it takes over the connection from
// net/http. If that is not possible, as over HTTP/2, taken is false, and the HTTP
// handler must call [Conn.SendHeader] before [Conn.Start], and [Conn.Serve] after it.
// Open returns [ErrClosed] if the stream was aborted before: unless taken is set, the
// request can still get another response.
func (c *Conn) Open(w http.ResponseWriter, r *http.Request, preface []byte) (taken bool, err error) {
	if c.is(closed) {
		return false, ErrClosed
	}
	missing := "http.Flusher"
	if r.ProtoMajor == 1 {
		header := w.Header().Clone()
		conn, buffered, err := hijack(w)
		if err == nil {
			return true, c.attach(conn, buffered, r, header, preface)
		}
		if !errors.Is(err, http.ErrNotSupported) {
			return false, err
		}
		missing = "http.Hijacker and http.Flusher"
	}
	body, err := newBodyStream(w, missing)
	if err != nil {
		return false, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.state == closed {
		return false, ErrClosed // Abort did not see the body
	}
	c.body = body
	if len(preface) > 0 {
		c.prependLocked(item{frame: rawFrame(preface)})
	}
	return false, nil
}

// attach gives the stream its network connection, or closes the connection if the
// stream was aborted.
func (c *Conn) attach(conn net.Conn, buffered []byte, r *http.Request, header http.Header, preface []byte) error {
	head := appendStreamHeader(r, header)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.state == closed {
		conn.Close()
		return ErrClosed
	}
	c.net, c.raw, c.buffered = conn, rawConn(conn), buffered
	if c.keep != nil {
		limitUnsent(conn, maxUnsent)
	}
	switch {
	case !r.ProtoAtLeast(1, 1):
		head = append(head, preface...)
	case len(preface) > 0:
		head = appendChunk(head, preface)
	}
	if r.ProtoAtLeast(1, 1) {
		c.enc += sseNamedChunked - sseNamed
	}
	c.prependLocked(item{frame: rawFrame(head)})
	return nil
}

// Discard ends a stream that was not opened.
func (c *Conn) Discard(cause error) { c.Abort(cause) }

func (h *Hub) newConn(conn net.Conn, enc encoding, recv Receiver) *Conn {
	c := &Conn{hub: h, shard: h.nextShard(), recv: recv, net: conn, enc: enc, stream: enc > wsDeflate, writing: true}
	c.discarding.Store(!c.WebSocket())
	if conn != nil {
		c.raw = rawConn(conn)
	}
	return c
}

// hijack takes over a connection from net/http, with the bytes that net/http already
// read. It looks through the wrappers of middlewares. The error is an
// [http.ErrNotSupported] if the request can still get a response.
func hijack(w http.ResponseWriter) (conn net.Conn, buffered []byte, err error) {
	if _, ok := innermost(w).(http.Hijacker); !ok {
		return nil, nil, &hiddenError{w, "http.Hijacker", http.ErrNotSupported} // do not try: gin's would panic
	}
	var rw *bufio.ReadWriter
	err = guard(func() (err error) {
		conn, rw, err = http.NewResponseController(w).Hijack()
		return err
	})
	switch {
	case errors.Is(err, http.ErrHijacked):
		return nil, nil, err
	case err != nil:
		return nil, nil, &hiddenError{w, "http.Hijacker", err}
	}
	if n := rw.Reader.Buffered(); n > 0 {
		buffered = make([]byte, n)
		_, _ = rw.Read(buffered)
	}
	// The host server's deadlines are for requests.
	if err := conn.SetDeadline(time.Time{}); err != nil {
		conn.Close()
		return nil, nil, err
	}
	return conn, buffered, nil
}

// appendStreamHeader returns the head of an event stream's response. For HTTP/1.1
// the body is chunked, which every proxy supports, and which distinguishes the end of
// the stream from an aborted connection. For HTTP/1.0 it ends with the connection.
// The connection always ends with the stream. Without "Connection: close", a proxy could
// send another request on it at that moment, which would be lost.
func appendStreamHeader(r *http.Request, header http.Header) []byte {
	b := []byte("HTTP/1.0 200 OK\r\n")
	header.Set("Connection", "close")
	header.Del("Content-Encoding") // set by a middleware that compresses
	if r.ProtoAtLeast(1, 1) {
		b = []byte("HTTP/1.1 200 OK\r\n")
		header.Set("Transfer-Encoding", "chunked")
	}
	header.Set("Date", time.Now().UTC().Format(http.TimeFormat))
	w := headerWriter{b}
	_ = header.Write(&w)
	return append(w.b, "\r\n"...)
}

type headerWriter struct{ b []byte }

func (w *headerWriter) Write(p []byte) (int, error) {
	w.b = append(w.b, p...)
	return len(p), nil
}

// SendHeader sends the headers of a stream that could not be taken over. The client
// may send messages as soon as it has them. After an error the connection is aborted;
// it must be started nevertheless.
func (c *Conn) SendHeader() error {
	err := c.body.sendHeader()
	if err != nil {
		c.Abort(err)
	}
	return err
}

// Serve keeps the HTTP handler of a stream that could not be taken over, until ctx
// is done because the client disconnected, or until the connection ended.
func (c *Conn) Serve(ctx context.Context) {
	defer c.hub.tasks.Done()
	select {
	case <-ctx.Done():
		c.disconnected(ctx.Err())
	case <-c.body.done:
	}
	c.body.finish()
	c.recv.Released(c)
}
