package pondtest

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pondsocket/pond/internal/pipenet"
)

// A Session is one client. A goroutine reads continuously, answers the server's
// pings, and keeps messages until the test receives them. The methods fail the
// test if something goes wrong.
type Session struct {
	// Static after construction.
	driver    *Driver
	t         *testing.T
	name      string // for failures
	transport Transport
	target    string
	opts      []Option
	link      link

	// Static after the handshake.
	conn     *pipenet.Conn
	in       io.Reader // the data after the headers of response
	response *http.Response
	accepted bool
	identity struct {
		ID, ConnectionID string
		Features         []string
	}

	// Owned by the test.
	network   network
	vanished  bool
	positions map[string]Position // by channel

	mu      sync.Mutex // guards the following fields
	changed *sync.Cond // signals any change
	unread  []Message
	closing bool // a side closed the connection; code and reason are final
	code    int
	reason  string
	ended   bool // no further message can arrive
}

// A link is the part of a session that depends on its transport.
type link interface {
	// ask adds the headers that request a connection.
	ask(h http.Header)

	// accepted reports whether resp accepts the connection. It returns an error
	// if resp does so in an invalid way.
	accepted(resp *http.Response) (bool, error)

	// receive reads until the connection ends.
	receive(r io.Reader)

	// send sends one message.
	send(message []byte) error

	// close closes the connection gracefully, with the code and reason if the
	// transport has them.
	close(code int, reason string)
}

// open makes a session and reads the server's response. If the server declines,
// open closes the connection.
func (d *Driver) open(tr Transport, target string, opts []Option, n network) *Session {
	d.t.Helper()
	s := &Session{
		driver:    d,
		t:         d.t,
		name:      fmt.Sprintf("%s %d (%s)", tr, len(d.sessions)+1, target),
		transport: tr,
		target:    target,
		opts:      opts,
		network:   n,
		positions: map[string]Position{},
		code:      abnormal,
	}
	s.changed = sync.NewCond(&s.mu)
	switch tr {
	case WebSocket:
		s.link = &webSocket{session: s}
	case SSE:
		s.link = &eventStream{session: s}
	default:
		d.t.Fatalf("pondtest: unknown transport %q", tr)
	}
	req := d.request(http.MethodGet, target, nil, opts, s.link.ask)
	s.conn = d.dial(req, n)
	d.sessions = append(d.sessions, s)

	resp, buf, err := exchange(s.conn, req)
	if err != nil {
		s.fatalf("%v", err)
	}
	if s.accepted, err = s.link.accepted(resp); err != nil {
		s.fatalf("accepted, but with an invalid response: %v", err)
	}
	if s.accepted {
		s.in = buf
		if resp.StatusCode != http.StatusSwitchingProtocols {
			s.in = resp.Body
		}
		resp.Body = http.NoBody
		err = s.conn.SetDeadline(time.Time{})
	} else {
		err = readBody(resp)
		s.conn.Close()
	}
	if err != nil {
		s.fatalf("%v", err)
	}
	s.response = resp
	return s
}

// start starts reading.
func (s *Session) start() {
	s.driver.tasks.Go(func() {
		s.link.receive(s.in)
		s.conn.Close()
		s.mu.Lock()
		defer s.mu.Unlock()
		s.ended = true
		s.changed.Broadcast()
	})
}

// ID returns the user ID that the server gave the client, or "" if the server did
// not send it.
func (s *Session) ID() string { return s.identity.ID }

// Features returns the extensions of the protocol that the server offered when the
// client connected.
func (s *Session) Features() []string { return s.identity.Features }

// ConnectionID returns the secret that an SSE client needs to send messages. It
// comes from the CONNECTION message or else from the headers of the stream.
func (s *Session) ConnectionID() string {
	if s.identity.ConnectionID != "" {
		return s.identity.ConnectionID
	}
	return s.response.Header.Get(connectionIDHeader)
}

// Response returns the server's response to the handshake. It has no body.
func (s *Session) Response() *http.Response { return s.response }

// Close closes the connection gracefully. It ends [Session.Stall] and
// [Session.Vanish]. A WebSocket client sends a close frame and waits until the
// server closes the connection; an SSE client just closes the stream. Close does
// nothing if the connection has ended.
func (s *Session) Close() {
	s.t.Helper()
	s.close(normal, "")
}

// CloseWith is like [Session.Close], but sends the given code and reason. It
// requires a WebSocket. The reason is truncated to 123 bytes. If code must not be
// sent, such as 1005, the close frame is empty.
func (s *Session) CloseWith(code int, reason string) {
	s.t.Helper()
	if s.transport != WebSocket {
		s.fatalf("CloseWith requires a WebSocket")
	}
	s.close(code, reason)
}

func (s *Session) close(code int, reason string) {
	s.t.Helper()
	s.mu.Lock()
	ended := s.ended
	s.mu.Unlock()
	if !ended {
		s.link.close(code, reason)
	}
}

// setClosing records the code and reason of the first close.
func (s *Session) setClosing(code int, reason string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closing {
		s.closing, s.code, s.reason = true, code, reason
	}
}

// arrived queues the message in data.
func (s *Session) arrived(data []byte) {
	m, err := parseMessage(data)
	if err != nil {
		s.t.Errorf("pondtest: %s: the server sent an invalid message: %v: %.200q", s.name, err, data)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.unread = append(s.unread, m)
	s.changed.Broadcast()
}

// wait waits until ready returns true, and reports whether it did so before the
// timeout. It calls ready with s.mu held.
func (s *Session) wait(ready func() bool) bool {
	deadline := time.Now().Add(timeout)
	alarm := time.AfterFunc(timeout, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.changed.Broadcast()
	})
	defer alarm.Stop()
	s.mu.Lock()
	defer s.mu.Unlock()
	for !ready() {
		if !time.Now().Before(deadline) {
			return false
		}
		s.changed.Wait()
	}
	return true
}

// take waits for a message that matches and removes it from the queue.
func (s *Session) take(what string, matches func(Message) bool) Message {
	s.t.Helper()
	var m Message
	found := -1
	s.wait(func() bool {
		if found = slices.IndexFunc(s.unread, matches); found < 0 {
			return s.ended
		}
		m = s.unread[found]
		if found == 0 {
			s.unread = s.unread[1:]
		} else {
			s.unread = slices.Delete(s.unread, found, found+1)
		}
		return true
	})
	if found < 0 {
		s.fatalf("waited for %s, but %s", what, s.state())
	}
	s.note(m)
	return m
}

// state describes why waiting failed.
func (s *Session) state() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var text string
	switch {
	case s.ended:
		text = fmt.Sprintf("the connection ended with %d %q", s.code, s.reason)
	case s.closing:
		text = fmt.Sprintf("the connection is still open %v after the close frame with %d %q", timeout, s.code, s.reason)
	default:
		text = fmt.Sprintf("nothing arrived within %v", timeout)
	}
	if len(s.unread) > 0 {
		text += "; unread: " + list(s.unread)
	}
	return text
}

// list formats messages for a failure.
func list(messages []Message) string {
	const most = 10
	var texts []string
	for _, m := range messages[:min(len(messages), most)] {
		texts = append(texts, m.String())
	}
	text := strings.Join(texts, "; ")
	if more := len(messages) - most; more > 0 {
		text += fmt.Sprintf("; and %d more", more)
	}
	return text
}

func (s *Session) fatalf(format string, args ...any) {
	s.t.Helper()
	s.t.Fatalf("pondtest: %s: %s", s.name, fmt.Sprintf(format, args...))
}
