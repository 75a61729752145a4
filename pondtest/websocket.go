package pondtest

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/pondsocket/pond/internal/ws"
)

// The close codes that a session reports or sends by default.
const (
	abnormal = ws.CloseAbnormal
	normal   = ws.CloseNormal
)

// maskingKey is the same for all frames, because there is no proxy to protect.
var maskingKey = [4]byte{0x9a, 0x3c, 0x55, 0xe1}

// A webSocket is the client side of RFC 6455.
type webSocket struct {
	session *Session
	decoder ws.Decoder // owned by receive
	sent    bool       // the client sent its close frame; guarded by session.mu
}

func (w *webSocket) ask(h http.Header) {
	nonce := fmt.Sprintf("pondtest %07d", len(w.session.driver.sessions))
	h.Set("Connection", "Upgrade")
	h.Set("Upgrade", "websocket")
	h.Set("Sec-WebSocket-Version", "13")
	h.Set("Sec-WebSocket-Key", base64.StdEncoding.EncodeToString([]byte(nonce)))
}

func (w *webSocket) accepted(resp *http.Response) (bool, error) {
	if resp.StatusCode != http.StatusSwitchingProtocols {
		return false, nil
	}
	h := resp.Header
	if !strings.EqualFold(h.Get("Upgrade"), "websocket") || !strings.EqualFold(h.Get("Connection"), "upgrade") {
		return true, fmt.Errorf("headers Upgrade: %q, Connection: %q", h.Get("Upgrade"), h.Get("Connection"))
	}
	want := ws.AcceptKey(resp.Request.Header.Get("Sec-WebSocket-Key"))
	if got := h.Get("Sec-WebSocket-Accept"); got != want {
		return true, fmt.Errorf("Sec-WebSocket-Accept is %q, want %q", got, want)
	}
	extensions := h.Get("Sec-WebSocket-Extensions")
	if extensions != "" {
		if resp.Request.Header.Get("Sec-WebSocket-Extensions") == "" {
			return true, fmt.Errorf("extensions %q were not offered", extensions)
		}
		if !strings.Contains(extensions, "server_no_context_takeover") {
			return true, fmt.Errorf("extensions %q, but the client requires server_no_context_takeover", extensions)
		}
	}
	w.decoder.Init(&ws.Config{}, ws.Client, extensions != "")
	return true, nil
}

func (w *webSocket) receive(r io.Reader) {
	buf := make([]byte, 4096)
	for {
		n, err := r.Read(buf)
		if broken := w.decoder.Feed(buf[:n], w); broken != nil {
			w.session.t.Errorf("pondtest: %s: the server violated the protocol: %v", w.session.name, broken)
			return
		}
		if err != nil {
			return
		}
	}
}

// Message implements [ws.Sink].
func (w *webSocket) Message(op ws.Opcode, data []byte) error {
	if op != ws.Text {
		return errors.New("message is not text")
	}
	w.session.arrived(data)
	return nil
}

// Control implements [ws.Sink].
func (w *webSocket) Control(op ws.Opcode, data []byte) error {
	if op == ws.Ping {
		w.respond(frame(ws.Pong, data))
	}
	return nil
}

// PeerClosed implements [ws.Sink].
func (w *webSocket) PeerClosed(code int, reason string) error {
	w.session.setClosing(code, reason)
	w.respond(w.closeFrame(code, ""))
	return nil
}

func (w *webSocket) send(message []byte) error { return w.write(frame(ws.Text, message)) }

func (w *webSocket) close(code int, reason string) {
	s := w.session
	s.t.Helper()
	s.Resume()
	s.sent(w.write(w.closeFrame(code, reason)))
	if !s.wait(func() bool { return s.ended }) {
		s.fatalf("sent a close frame and waited for the end of the connection, but %s", s.state())
	}
}

// closeFrame returns the client's close frame, or nil if it was already sent.
func (w *webSocket) closeFrame(code int, reason string) []byte {
	w.session.mu.Lock()
	defer w.session.mu.Unlock()
	if w.sent {
		return nil
	}
	w.sent = true
	return frame(ws.Close, ws.AppendCloseBody(nil, code, reason))
}

func frame(op ws.Opcode, payload []byte) []byte {
	return ws.AppendMasked(nil, op, true, false, maskingKey, payload)
}

// write writes for the test, with a timeout.
func (w *webSocket) write(data []byte) error {
	conn := w.session.conn
	if err := conn.SetWriteDeadline(time.Now().Add(timeout)); err != nil {
		return err
	}
	_, err := conn.Write(data)
	_ = conn.SetWriteDeadline(time.Time{}) // fails if the connection ended
	return err
}

// respond writes for the reading goroutine. It does not set the write deadline,
// which belongs to the test. It ignores errors, because reading fails as well.
func (w *webSocket) respond(data []byte) { _, _ = w.session.conn.Write(data) }
