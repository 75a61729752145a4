package pondclient_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pondsocket/pond/internal/pipenet"
	"github.com/pondsocket/pond/internal/ws"
)

// A received is a message of the client, with its members of any kind.
type received struct {
	Action      string          `json:"action"`
	Event       string          `json:"event"`
	ChannelName string          `json:"channelName"`
	RequestID   string          `json:"requestId"`
	Payload     json.RawMessage `json:"payload"`
	Want        []string        `json:"want"`
	From        json.RawMessage `json:"from"`

	at time.Time
}

// A socket is one connection of a client, on the side of the server.
type socket struct {
	f       *fake
	t       *testing.T
	request *http.Request
	conn    net.Conn
	more    chan struct{} // a value means that data arrived; its capacity is one
	ended   chan struct{} // closed when the client disconnected
	id      string

	mu      sync.Mutex // guards the following fields
	stream  func(text string)
	decoder ws.Decoder
	silent  bool // does not answer pings
	pings   int
	code    int // of the client's close frame
	inbox   []received
}

func (s *socket) serveWebSocket(w http.ResponseWriter, r *http.Request) {
	h, refused := ws.ParseHandshake(r, true)
	if refused != nil {
		http.Error(w, refused.Message, refused.Status)
		return
	}
	conn, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		s.t.Errorf("hijack: %v", err)
		return
	}
	_ = conn.SetDeadline(time.Time{})
	_, _ = conn.Write(ws.AppendSwitchingProtocols(nil, h, nil))
	s.decoder.Init(&ws.Config{}, ws.Server, h.Deflate)
	s.stream = func(text string) {
		_, _ = conn.Write(ws.AppendFrame(nil, ws.Text, false, []byte(text)))
	}
	s.f.open(1)
	s.f.sockets <- s
	go s.read(rw.Reader)
}

func (s *socket) read(r *bufio.Reader) {
	defer close(s.ended)
	defer s.f.open(-1)
	buf := make([]byte, 4096)
	for {
		n, err := r.Read(buf)
		if n > 0 {
			if broken := s.decoder.Feed(buf[:n], s); broken != nil {
				s.t.Errorf("the client broke the protocol: %v", broken)
				return
			}
		}
		if err != nil {
			s.conn.Close()
			return
		}
	}
}

// Message implements [ws.Sink].
func (s *socket) Message(_ ws.Opcode, data []byte) error {
	s.take(string(data))
	return nil
}

func (s *socket) take(text string) {
	var m received
	if err := json.Unmarshal([]byte(text), &m); err != nil {
		s.t.Errorf("the client sent %q: %v", text, err)
	}
	m.at = time.Now()
	s.mu.Lock()
	s.inbox = append(s.inbox, m)
	s.mu.Unlock()
	select {
	case s.more <- struct{}{}:
	default:
	}
}

// poll returns the next message if there is one.
func (s *socket) poll() (m received, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.inbox) == 0 {
		return m, false
	}
	m = s.inbox[0]
	s.inbox = s.inbox[1:]
	return m, true
}

// next waits for the next message, until the client disconnects or stop is closed.
func (s *socket) next(stop <-chan struct{}) (m received, ok bool) {
	for {
		if m, ok := s.poll(); ok {
			return m, true
		}
		select {
		case <-s.more:
		case <-s.ended:
			return s.poll()
		case <-stop:
			return m, false
		}
	}
}

// Control implements [ws.Sink].
func (s *socket) Control(op ws.Opcode, data []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if op == ws.Ping {
		s.pings++
		if !s.silent {
			_, _ = s.conn.Write(ws.AppendFrame(nil, ws.Pong, false, data))
		}
	}
	return nil
}

// PeerClosed implements [ws.Sink].
func (s *socket) PeerClosed(code int, _ string) error {
	s.mu.Lock()
	s.code = code
	s.mu.Unlock()
	_, _ = s.conn.Write(ws.AppendClose(nil, code, ""))
	s.conn.Close()
	return nil
}

func (s *socket) serveStream(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "text/event-stream")
	s.f.mu.Lock()
	s.id = fmt.Sprintf("secret%d", len(s.f.streams)+1)
	s.f.streams[s.id] = s
	s.f.mu.Unlock()
	w.WriteHeader(http.StatusOK)
	rc := http.NewResponseController(w)
	_ = rc.Flush()
	var mu sync.Mutex
	done := false
	s.stream = func(text string) {
		mu.Lock()
		defer mu.Unlock()
		if !done {
			_, _ = io.WriteString(w, text)
			_ = rc.Flush()
		}
	}
	s.f.open(1)
	s.f.sockets <- s
	<-s.request.Context().Done()
	mu.Lock()
	done = true
	mu.Unlock()
	s.f.open(-1)
	close(s.ended)
}

// raw sends a document.
func (s *socket) raw(text string) {
	if ws.IsUpgrade(s.request) {
		s.stream(text)
		return
	}
	s.stream("data: " + text + "\n\n")
}

// welcome sends the first message.
func (s *socket) welcome(features ...string) {
	more := ""
	if features != nil {
		list, _ := json.Marshal(features)
		more = `,"features":` + string(list)
	}
	if s.id == "" {
		s.id = "c"
	}
	name := "ENDPOINT"
	if s.f.gateway {
		name = "GATEWAY"
	}
	s.raw(fmt.Sprintf(`{"action":"CONNECT","event":"CONNECTION","channelName":%q,"requestId":"x","payload":{"id":"u1","connectionId":%q%s}}`, name, s.id, more))
}

// send sends a message; payload and more are JSON, more begins with a comma.
func (s *socket) send(action, event, channel, requestID, payload, more string) {
	s.raw(fmt.Sprintf(`{"action":%q,"event":%q,"channelName":%q,"requestId":%q,"payload":%s%s}`,
		action, event, channel, requestID, payload, more))
}

// say broadcasts, with an offset unless it is zero.
func (s *socket) say(channel string, number, offset int) {
	more := ""
	if offset > 0 {
		more = fmt.Sprintf(`,"offset":%d`, offset)
	}
	s.send("BROADCAST", "said", channel, "x", fmt.Sprintf(`{"n":%d}`, number), more)
}

// expect waits for a message of the client, which must have this action.
func (s *socket) expect(action string) received {
	s.t.Helper()
	stop := make(chan struct{})
	timer := time.AfterFunc(patience, func() { close(stop) })
	defer timer.Stop()
	m, ok := s.next(stop)
	switch {
	case !ok:
		s.t.Fatalf("the client sent nothing, want %s", action)
	case m.Action != action:
		s.t.Fatalf("the client sent %s %s %s, want %s", m.Action, m.Event, m.ChannelName, action)
	}
	return m
}

// quiet fails the test if the client sends a message.
func (s *socket) quiet() {
	s.t.Helper()
	synctest.Wait()
	if m, ok := s.poll(); ok {
		s.t.Fatalf("the client sent %s %s %s %s, want nothing", m.Action, m.Event, m.ChannelName, m.Payload)
	}
}

// ack accepts a join.
func (s *socket) ack(join received, payload string) {
	s.send("SYSTEM", "ACKNOWLEDGE", join.ChannelName, join.RequestID, payload, "")
}

// join waits for a join and accepts it.
func (s *socket) join(payload string) received {
	s.t.Helper()
	m := s.expect("JOIN_CHANNEL")
	s.ack(m, payload)
	return m
}

// reply answers a message.
func (s *socket) reply(m received, event, payload string) {
	s.send("SYSTEM", event, m.ChannelName, m.RequestID, payload, "")
}

// cut resets the network connection after all data arrived.
func (s *socket) cut() {
	synctest.Wait()
	s.conn.(*pipenet.Conn).Reset()
}

// closeWith sends a close frame.
func (s *socket) closeWith(code int, reason string) {
	_, _ = s.conn.Write(ws.AppendClose(nil, code, reason))
}

// gone waits until the client ended the connection.
func (s *socket) gone() {
	s.t.Helper()
	select {
	case <-s.ended:
	case <-time.After(patience):
		s.t.Fatal("the client keeps the connection")
	}
}
