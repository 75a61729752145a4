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

// AcceptStream responds to a request with an event stream, whose headers are in
// w.Header(). Over HTTP/1 it takes over the connection from net/http. If that is not
// possible, as over HTTP/2, taken is false, and the HTTP handler must call
// [Conn.Serve] after [Conn.Start].
func (h *Hub) AcceptStream(w http.ResponseWriter, r *http.Request, named bool, recv Receiver) (c *Conn, taken bool, err error) {
	enc := sseUnnamed
	if named {
		enc = sseNamed
	}
	missing := "http.Flusher"
	if r.ProtoMajor == 1 {
		header := w.Header().Clone()
		conn, buffered, err := hijack(w)
		if err == nil {
			if r.ProtoAtLeast(1, 1) {
				enc += sseNamedChunked - sseNamed
			}
			c := h.newConn(conn, enc, recv)
			c.buffered = buffered
			c.appendLocked(item{frame: rawFrame(appendStreamHeader(r, header))})
			return c, true, nil
		}
		if !errors.Is(err, http.ErrNotSupported) {
			return nil, false, err
		}
		missing = "http.Hijacker and http.Flusher"
	}
	body, err := newBodyStream(w, missing)
	if err != nil {
		return nil, false, err
	}
	c = h.newConn(nil, enc, recv)
	c.body = body
	return c, false, nil
}

func (h *Hub) newConn(conn net.Conn, enc encoding, recv Receiver) *Conn {
	c := &Conn{hub: h, shard: h.nextShard(), recv: recv, net: conn, enc: enc, writing: true}
	c.discarding.Store(!c.WebSocket())
	if conn != nil {
		c.raw = rawConn(conn)
	}
	return c
}

// hijack takes over a connection from net/http, with the bytes that net/http has
// read already. It looks through the wrappers of middlewares. The error is an
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
func appendStreamHeader(r *http.Request, header http.Header) []byte {
	b := []byte("HTTP/1.0 200 OK\r\n")
	header.Set("Connection", "close")
	header.Del("Content-Encoding") // of a middleware that would have compressed
	if r.ProtoAtLeast(1, 1) {
		b = []byte("HTTP/1.1 200 OK\r\n")
		header.Set("Connection", "keep-alive")
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

// Serve keeps the HTTP handler of a stream that could not be taken over, until ctx
// is done because the client disconnected, or until the connection has ended.
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
