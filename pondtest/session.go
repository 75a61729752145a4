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

// A Session is one client. A goroutine of it reads all the time, answers the
// server's pings, and keeps messages until the test asks for them. Its methods
// fail the test if something goes wrong.
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
	in       io.Reader // what follows the head of response
	response *http.Response
	accepted bool
	identity struct{ ID, ConnectionID string }

	// Owned by the test.
	network  network
	vanished bool

	mu      sync.Mutex // guards the following fields
	changed *sync.Cond // any of them
	unread  []Message
	said    bool // somebody said goodbye; code and reason are final
	code    int
	reason  string
	ended   bool // nothing else will come
}

// A link is the part of a session that depends on its transport.
type link interface {
	// ask adds what makes a request ask for a connection.
	ask(h http.Header)

	// accepted reports whether resp gives the connection. The error says that
	// it does so in the wrong way.
	accepted(resp *http.Response) (bool, error)

	// receive reads until the connection ends.
	receive(r io.Reader)

	// send sends one message.
	send(message []byte) error

	// close says goodbye, with the code and reason if the transport has them.
	close(code int, reason string)
}

// open makes a session up to the server's answer. If it is declined, the
// connection is closed.
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
		s.fatalf("accepted in the wrong way: %v", err)
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

// start begins to read.
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

// ID returns the user ID that the server gave the client, or "" if it keeps it
// to itself.
func (s *Session) ID() string { return s.identity.ID }

// ConnectionID returns the secret with which an SSE client sends, from the
// CONNECTION message or else from the headers of the stream.
func (s *Session) ConnectionID() string {
	if s.identity.ConnectionID != "" {
		return s.identity.ConnectionID
	}
	return s.response.Header.Get(connectionIDHeader)
}

// Response returns the server's answer to the handshake. It has no body.
func (s *Session) Response() *http.Response { return s.response }

// Close ends the connection as a client does that has time to: it resumes, says
// goodbye, and waits until the server has closed the WebSocket; SSE clients just
// close the stream. It does nothing if the connection has ended.
func (s *Session) Close() {
	s.t.Helper()
	s.close(normal, "")
}

// CloseWith is [Session.Close] of a WebSocket with a code, which is 1000 by
// default, and a reason, which is cut to 123 bytes. A code that must not be sent,
// such as 1005, makes the close frame an empty one.
func (s *Session) CloseWith(code int, reason string) {
	s.t.Helper()
	if s.transport != WebSocket {
		s.fatalf("CloseWith needs a WebSocket")
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

// goodbye takes down how the connection ends, unless that is known.
func (s *Session) goodbye(code int, reason string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.said {
		s.said, s.code, s.reason = true, code, reason
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

// wait waits until ready, which is called with s.mu held, and reports whether
// that was in time.
func (s *Session) wait(ready func() bool) bool {
	deadline := time.Now().Add(patience)
	alarm := time.AfterFunc(patience, func() {
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

// take waits for a message that matches, and takes it out of the queue.
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
	return m
}

// state says why there is nothing to wait for any more.
func (s *Session) state() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var text string
	switch {
	case s.ended:
		text = fmt.Sprintf("the connection ended with %d %q", s.code, s.reason)
	case s.said:
		text = fmt.Sprintf("the connection is still open %v after a goodbye with %d %q", patience, s.code, s.reason)
	default:
		text = fmt.Sprintf("it did not come within %v", patience)
	}
	if len(s.unread) > 0 {
		text += "; unread: " + list(s.unread)
	}
	return text
}

// list returns messages for people.
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
