package pondtest_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"

	"github.com/pondsocket/pond/internal/ws"
)

// A carrier is the transport of a peer, used by one goroutine.
type carrier interface {
	message(data []byte) error
	heartbeat() error
	close(code int, reason string)
}

var errVanish = errors.New("vanished")

type errClose struct {
	code   int
	reason string
}

func (e errClose) Error() string { return fmt.Sprint(e.code, e.reason) }

// An eventStream is the carrier of SSE.
type eventStream struct{ w http.ResponseWriter }

func (s *server) serveStream(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
	w.Header().Set("X-Connection-ID", "overruled by the message")
	p := s.add(r)
	err := s.run(p, eventStream{w}, r.Context().Done())
	s.leave(p, fmt.Sprint(err))
	if errors.Is(err, errVanish) {
		panic(http.ErrAbortHandler)
	}
}

func (s eventStream) write(text string) error {
	_, err := io.WriteString(s.w, text)
	return errors.Join(err, http.NewResponseController(s.w).Flush())
}

func (s eventStream) message(data []byte) error { return s.write("data: " + string(data) + "\n\n") }
func (s eventStream) heartbeat() error          { return s.write(": keepalive\n") }
func (eventStream) close(int, string)           {}

// A webSocket is the carrier of WebSocket, and the sink of its decoder.
type webSocket struct {
	conn    net.Conn
	deflate bool
	server  *server
	peer    *peer
	mu      sync.Mutex // guards the following fields
	unheard int        // heartbeats without an answer
	how     string     // the client's close frame
}

func (s *server) serveWebSocket(w http.ResponseWriter, r *http.Request) {
	hs, refused := ws.ParseHandshake(r, true)
	if refused != nil {
		http.Error(w, refused.Message, refused.Status)
		return
	}
	conn, buf, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(err)
	}
	defer conn.Close()
	conn.Write(ws.AppendSwitchingProtocols(nil, hs, nil))
	k := &webSocket{conn: conn, deflate: hs.Deflate, server: s, peer: s.add(r)}
	gone := make(chan struct{})
	var reading sync.WaitGroup
	reading.Go(func() {
		defer close(gone)
		var d ws.Decoder
		d.Init(&ws.Config{}, ws.Server, hs.Deflate)
		for data := make([]byte, 1000); ; {
			n, err := buf.Read(data)
			if d.Feed(data[:n], k) != nil || err != nil {
				return
			}
		}
	})
	err = s.run(k.peer, k, gone)
	if _, ok := errors.AsType[errClose](err); ok {
		<-gone // the client answers
	}
	conn.Close()
	reading.Wait()
	if k.how != "" {
		s.leave(k.peer, k.how)
	} else {
		s.leave(k.peer, fmt.Sprint(err))
	}
}

func (k *webSocket) message(data []byte) error {
	if k.deflate {
		data = ws.AppendDeflate(nil, data)
	}
	_, err := k.conn.Write(ws.AppendFrame(nil, ws.Text, k.deflate, data))
	return err
}

func (k *webSocket) heartbeat() error {
	k.mu.Lock()
	k.unheard++
	gone := k.unheard > 2
	k.mu.Unlock()
	if gone {
		return errVanish
	}
	_, err := k.conn.Write(ws.AppendFrame(nil, ws.Ping, false, []byte("heartbeat")))
	return err
}

func (k *webSocket) close(code int, reason string) { k.conn.Write(ws.AppendClose(nil, code, reason)) }

// Message implements ws.Sink.
func (k *webSocket) Message(_ ws.Opcode, data []byte) error {
	k.server.handle(k.peer, data)
	return nil
}

// Control implements ws.Sink.
func (k *webSocket) Control(_ ws.Opcode, data []byte) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if string(data) == "heartbeat" {
		k.unheard = 0
	}
	return nil
}

// PeerClosed implements ws.Sink.
func (k *webSocket) PeerClosed(code int, reason string) error {
	k.how = fmt.Sprint("closed with ", code, reason)
	k.close(code, "") // a second close frame is ignored
	return io.EOF
}
