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

// AcceptWebSocket takes the connection of a request over from net/http and
// answers its handshake, together with what w.Header() holds. The connection
// lives on when the HTTP handler returns; nothing is read before [Conn.Start].
func (h *Hub) AcceptWebSocket(w http.ResponseWriter, hs ws.Handshake, recv Receiver) (*Conn, error) {
	conn, early, err := hijack(w)
	if err != nil {
		return nil, err
	}
	c := h.newConn(conn, wsText, recv)
	if hs.Deflate {
		c.enc = wsDeflate
	}
	c.dec.Init(&h.frames, ws.Server, hs.Deflate)
	c.early = early
	c.pushLocked(item{frame: rawFrame(ws.AppendSwitchingProtocols(nil, hs, w.Header()))})
	return c, nil
}

// AcceptStream answers a request with an event stream, whose headers are in
// w.Header(). Over HTTP/1 the connection is taken over from net/http. If that
// cannot be done, as over HTTP/2, handled is false, and the HTTP handler has to
// stay in [Conn.Serve] after [Conn.Start].
func (h *Hub) AcceptStream(w http.ResponseWriter, r *http.Request, named bool, recv Receiver) (c *Conn, handled bool, err error) {
	enc := sseUnnamed
	if named {
		enc = sseNamed
	}
	missing := "http.Flusher"
	if r.ProtoMajor == 1 {
		header := w.Header().Clone()
		conn, early, err := hijack(w)
		if err == nil {
			if r.ProtoAtLeast(1, 1) {
				enc += sseNamedChunked - sseNamed
			}
			c := h.newConn(conn, enc, recv)
			c.early = early
			c.pushLocked(item{frame: rawFrame(appendStreamHeader(r, header))})
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
	c := &Conn{hub: h, shard: h.nextShard(), recv: recv, net: conn, enc: enc}
	if conn != nil {
		c.raw = rawConn(conn)
	}
	return c
}

// hijack takes a connection over from net/http, with the bytes that it had read
// already. It finds its way through the wrappers of middlewares. The error is an
// [http.ErrNotSupported] if the request can still be answered.
func hijack(w http.ResponseWriter) (conn net.Conn, early []byte, err error) {
	if _, ok := innermost(w).(http.Hijacker); !ok {
		return nil, nil, &hiddenError{w, "http.Hijacker", http.ErrNotSupported} // untried: gin's would panic
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
		early = make([]byte, n)
		_, _ = rw.Read(early)
	}
	// The host server's deadlines are for requests.
	if err := conn.SetDeadline(time.Time{}); err != nil {
		conn.Close()
		return nil, nil, err
	}
	return conn, early, nil
}

// appendStreamHeader returns the head of a response that lasts. It is chunked
// for HTTP/1.1, which every proxy can follow and which tells a clean end from a
// cut, and ends with the connection for HTTP/1.0.
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

// Serve stays in the HTTP handler of a stream that could not be taken over,
// until the client is gone, which ctx tells, or the connection has ended.
func (c *Conn) Serve(ctx context.Context) {
	defer c.hub.tasks.Done()
	select {
	case <-ctx.Done():
		c.Cut(ctx.Err())
	case <-c.body.done:
	}
	c.body.finish()
}
