package doctor

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/pondsocket/pond/internal/ws"
)

// A webSocket is the client's side of RFC 6455.
type webSocket struct {
	*conn
	answer answer // to the handshake

	wire    io.ReadWriteCloser
	decoder ws.Decoder
	emit    func(event) bool
}

// A handshakeFlaw is the error of a response with status 101 that is invalid.
type handshakeFlaw struct{ text, header string }

func (f *handshakeFlaw) Error() string { return f.text }

// upgrade opens a WebSocket. The pairs are headers, as in [checker.request].
func (x *checker) upgrade(ctx context.Context, pairs ...string) (*webSocket, error) {
	ctx, cancel := x.limit(ctx)
	defer cancel()
	var nonce [16]byte
	_, _ = rand.Read(nonce[:]) // cannot fail
	key := base64.StdEncoding.EncodeToString(nonce[:])
	req, err := x.request(ctx, http.MethodGet, "", append([]string{
		"Connection", "Upgrade",
		"Upgrade", "websocket",
		"Sec-WebSocket-Version", "13",
		"Sec-WebSocket-Key", key,
		"Sec-WebSocket-Extensions", "permessage-deflate; server_no_context_takeover; client_no_context_takeover",
	}, pairs...)...)
	if err != nil {
		return nil, err
	}
	req.Body = http.NoBody
	resp, err := x.http1.Do(req)
	if err != nil {
		return nil, x.withoutURL(err)
	}
	if resp.StatusCode != http.StatusSwitchingProtocols {
		defer resp.Body.Close()
		return nil, newAnswer(resp)
	}
	if flaw := handshakeFlawOf(resp, key); flaw != nil {
		resp.Body.Close()
		return nil, flaw
	}
	return newWebSocket(resp), nil
}

// handshakeFlawOf returns an error if a response with status 101 is invalid.
func handshakeFlawOf(resp *http.Response, key string) error {
	h := resp.Header
	_, writable := resp.Body.(io.ReadWriteCloser)
	switch {
	case !strings.EqualFold(h.Get("Upgrade"), "websocket"):
		return &handshakeFlaw{"101 without \"Upgrade: websocket\"", "Upgrade"}
	case !strings.Contains(strings.ToLower(h.Get("Connection")), "upgrade"), !writable:
		return &handshakeFlaw{"101 without \"Connection: Upgrade\"", "Connection"}
	case h.Get("Sec-WebSocket-Accept") != ws.AcceptKey(key):
		return &handshakeFlaw{"101 with the wrong Sec-WebSocket-Accept", "Sec-WebSocket-Accept"}
	}
	return nil
}

func newWebSocket(resp *http.Response) *webSocket {
	w := &webSocket{answer: answer{resp.StatusCode, resp.Header, "", resp.Proto}}
	w.wire, _ = resp.Body.(io.ReadWriteCloser) // checked by handshakeFlawOf
	w.decoder.Init(&ws.Config{}, ws.Client, w.compressed())
	w.conn = newConn(resp.Body, w.read)
	w.send = func(ctx context.Context, text string) error { return w.write(ctx, ws.Text, []byte(text)) }
	return w
}

// compressed reports whether compression was negotiated.
func (w *webSocket) compressed() bool {
	return strings.Contains(w.answer.header.Get("Sec-WebSocket-Extensions"), "permessage-deflate")
}

func (w *webSocket) read(emit func(event) bool) error {
	w.emit = emit
	buf := make([]byte, 32<<10)
	for {
		n, err := w.wire.Read(buf)
		if broken := w.decoder.Feed(buf[:n], w); broken != nil {
			return broken
		}
		if err != nil {
			return err
		}
	}
}

// Message implements [ws.Sink].
func (w *webSocket) Message(_ ws.Opcode, data []byte) error {
	for line := range strings.Lines(string(data)) { // some servers send several messages in one frame
		m := &message{}
		if err := json.Unmarshal([]byte(line), m); err != nil {
			return fmt.Errorf("invalid message %.60q", line)
		}
		if !w.emit(event{message: m}) {
			return io.ErrClosedPipe
		}
	}
	return nil
}

// Control implements [ws.Sink].
func (w *webSocket) Control(op ws.Opcode, data []byte) error {
	if op != ws.Ping {
		return nil
	}
	if !w.emit(event{heartbeat: true}) {
		return io.ErrClosedPipe
	}
	return w.write(context.Background(), ws.Pong, data)
}

// PeerClosed implements [ws.Sink].
func (w *webSocket) PeerClosed(code int, reason string) error {
	return &ws.CloseError{Code: code, Reason: reason}
}

// closeWith sends a close frame with a code, and returns the server's answer as an error.
func (w *webSocket) closeWith(ctx context.Context, code int) error {
	if err := w.write(ctx, ws.Close, ws.AppendCloseBody(nil, code, "")); err != nil {
		return err
	}
	for {
		if _, err := w.next(ctx); err != nil {
			return err
		}
	}
}

// write writes one message. It closes the connection if ctx is done before.
func (w *webSocket) write(ctx context.Context, op ws.Opcode, payload []byte) error {
	var key [4]byte
	_, _ = rand.Read(key[:]) // cannot fail
	stop := context.AfterFunc(ctx, w.leave)
	defer stop()
	_, err := w.wire.Write(ws.AppendMasked(nil, op, true, false, key, payload))
	return err
}
