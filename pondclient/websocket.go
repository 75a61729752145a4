package pondclient

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"sync"
	"time"

	"github.com/pondsocket/pond/internal/ws"
)

const (
	// compressFrom is the size of the smallest message that is compressed.
	compressFrom = 1024

	// writeTimeout limits the time for one write.
	writeTimeout = 30 * time.Second
)

var errWriteTimeout = errors.New("a write to the network did not finish in time")

// A webSocket is a link over a WebSocket.
type webSocket struct {
	conn    *connection
	body    io.ReadWriteCloser
	raw     net.Conn // the network connection below body and TLS; nil if unknown
	config  ws.Config
	decoder ws.Decoder // owned by read
	deflate bool
	closed  sync.Once

	buf []byte // owned by the writer

	mu      sync.Mutex // guards the following fields
	control []byte     // frames that must be sent next
	closing bool       // a close frame is in control, or was sent
}

// dialWebSocket opens a WebSocket with an HTTP request, so that proxies, cookies and
// redirects work as for other requests.
func (n *connection) dialWebSocket(ctx context.Context, token string) (*webSocket, error) {
	c := n.client
	w := &webSocket{conn: n, config: ws.Config{MaxMessage: c.cfg.maxMessage}}
	var reached bool
	trace := &httptrace.ClientTrace{GotConn: func(info httptrace.GotConnInfo) {
		reached = true
		w.raw = info.Conn
		if t, ok := info.Conn.(interface{ NetConn() net.Conn }); ok {
			w.raw = t.NetConn() // closing TLS may wait for the peer
		}
	}}
	req := c.request(httptrace.WithClientTrace(ctx, trace), http.MethodGet, token, nil)
	key := ws.NewKey()
	ws.SetHandshake(req.Header, key, c.cfg.deflate)
	resp, err := c.http.Do(req) //nolint:bodyclose // refusal closes it, or the link does
	if err != nil {
		return nil, &ConnectionError{Transport: WebSocket, Err: withoutURL(err), reached: reached}
	}
	if resp.StatusCode != http.StatusSwitchingProtocols {
		return nil, refusal(WebSocket, resp)
	}
	body, ok := resp.Body.(io.ReadWriteCloser)
	if !ok {
		resp.Body.Close()
		return nil, &ConnectionError{Transport: WebSocket, Err: errors.New("the HTTP client does not support WebSockets"), reached: true}
	}
	deflate, err := ws.CheckHandshake(resp, key, c.cfg.deflate)
	if err != nil {
		_ = body.Close() // it was not a WebSocket
		return nil, &ConnectionError{Transport: WebSocket, Err: err, reached: true}
	}
	w.body, w.deflate = body, deflate
	w.decoder.Init(&w.config, ws.Client, deflate)
	return w, nil
}

func (w *webSocket) read() error {
	buf := make([]byte, 8<<10)
	for {
		size, err := w.body.Read(buf)
		if size > 0 {
			w.conn.alive()
			if broken := w.decoder.Feed(buf[:size], w); broken != nil {
				return w.broken(broken)
			}
		}
		if err != nil {
			return &ConnectionError{Transport: WebSocket, Err: err}
		}
	}
}

// broken ends a connection after a close frame or a protocol error.
func (w *webSocket) broken(err error) error {
	if e, ok := errors.AsType[*ConnectionError](err); ok {
		w.sendClose(e.Code, "")
		return e
	}
	if e, ok := errors.AsType[*ws.CloseError](err); ok {
		w.sendClose(e.Code, e.Reason)
	}
	return &ConnectionError{Transport: WebSocket, Err: err}
}

// Message implements [ws.Sink].
func (w *webSocket) Message(_ ws.Opcode, data []byte) error {
	w.conn.message(data)
	return nil
}

// Control implements [ws.Sink].
func (w *webSocket) Control(op ws.Opcode, data []byte) error {
	if op == ws.Ping {
		w.send(ws.Pong, data)
		w.conn.writeSoon()
	}
	return nil
}

// PeerClosed implements [ws.Sink].
func (w *webSocket) PeerClosed(code int, reason string) error {
	return &ConnectionError{Transport: WebSocket, Code: code, Reason: reason}
}

// maxControl limits the bytes of control frames that wait for the writer. If a server
// sends pings faster than the network accepts the answers, further pings are not
// answered.
const maxControl = 4 << 10

// send queues a control frame, which is sent next.
func (w *webSocket) send(op ws.Opcode, payload []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.closing && len(w.control) < maxControl {
		w.control = ws.AppendMasked(w.control, op, true, false, ws.NewMask(), payload)
	}
}

func (w *webSocket) sendClose(code int, reason string) {
	var body [128]byte
	w.send(ws.Close, ws.AppendCloseBody(body[:0], code, reason))
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closing = true
}

func (w *webSocket) write(batch []*outgoing) ([]verdict, error) {
	w.mu.Lock()
	w.buf = append(w.buf[:0], w.control...)
	w.control = nil
	w.mu.Unlock()
	for _, o := range batch {
		if w.deflate && len(o.data) >= compressFrom {
			w.buf = ws.AppendMasked(w.buf, ws.Text, true, true, ws.NewMask(), ws.AppendDeflate(nil, o.data))
			continue
		}
		w.buf = ws.AppendMasked(w.buf, ws.Text, true, false, ws.NewMask(), o.data)
	}
	err := w.flush(writeTimeout)
	if cap(w.buf) > 64<<10 {
		w.buf = nil
	}
	verdicts := make([]verdict, len(batch))
	for i := range verdicts {
		verdicts[i].result = sent
		if err != nil {
			verdicts[i].result = unknown
		}
	}
	return verdicts, err
}

// flush writes buf.
func (w *webSocket) flush(timeout time.Duration) error {
	if len(w.buf) == 0 {
		return nil
	}
	timer := time.AfterFunc(timeout, func() {
		w.conn.cancel(&ConnectionError{Transport: WebSocket, Err: errWriteTimeout})
		w.abort()
	})
	defer timer.Stop()
	_, err := w.body.Write(w.buf)
	return err
}

func (w *webSocket) ping() { w.send(ws.Ping, nil) }

func (w *webSocket) heartbeat() (time.Duration, bool) { return 0, true }

// finish sends the queued close frame, if there is one.
func (w *webSocket) finish() {
	w.mu.Lock()
	w.buf, w.control = w.control, nil
	w.mu.Unlock()
	_ = w.flush(closeWait) // the connection ended in any case
	w.abort()
}

// shutdown closes the WebSocket, and waits until the server closes it as well.
func (w *webSocket) shutdown() {
	w.sendClose(ws.CloseNormal, "")
	w.mu.Lock()
	w.buf, w.control = w.control, nil
	w.mu.Unlock()
	if w.flush(closeWait) != nil {
		return
	}
	timer := time.NewTimer(closeWait)
	defer timer.Stop()
	select {
	case <-w.conn.ctx.Done():
	case <-timer.C:
	}
}

func (w *webSocket) abort() {
	w.closed.Do(func() {
		if w.raw != nil {
			w.raw.Close()
			return
		}
		_ = w.body.Close() // the result is not needed any more
	})
}
