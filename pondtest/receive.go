package pondtest

import (
	"encoding/json"
	"slices"
	"testing/synctest"
)

// Receive returns the next message.
func (s *Session) Receive() Message {
	s.t.Helper()
	return s.receive("a message")
}

// Expect returns the payload of the next message, which must have that event.
func (s *Session) Expect(event string) json.RawMessage {
	s.t.Helper()
	m := s.receive("event " + event)
	if m.Event != event {
		s.fatalf("waited for event %s, got %v", event, m)
	}
	return m.Payload
}

func (s *Session) receive(what string) Message {
	s.t.Helper()
	return s.take(what, func(Message) bool { return true })
}

// Quiet waits until the server is idle, and fails the test if a message has not
// been received. Time does not pass: what a timer would send has not been sent.
func (s *Session) Quiet() {
	s.t.Helper()
	if unread := s.Unread(); len(unread) > 0 {
		s.fatalf("expected nothing, got %s", list(unread))
	}
}

// Unread waits until the server is idle, and returns the messages that
// [Session.Receive] would return, without taking them.
func (s *Session) Unread() []Message {
	synctest.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.unread)
}

// Closed waits until the connection has ended and returns the code and the reason
// of the server's goodbye. The code is 1006 if it came without one: if a WebSocket
// had no close frame, or a stream broke off. A stream that ended in order, by
// either side, gives 0.
func (s *Session) Closed() (code int, reason string) {
	s.t.Helper()
	if !s.wait(func() bool { return s.ended }) {
		s.fatalf("waited for the end of the connection, but %s", s.state())
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.code, s.reason
}
