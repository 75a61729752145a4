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

// ReceiveEvent returns the next message with the given event. Messages that arrive
// before it stay in the queue, in order, for [Session.Receive].
func (s *Session) ReceiveEvent(event string) Message {
	s.t.Helper()
	return s.take("event "+event, func(m Message) bool { return m.Event == event })
}

// Expect returns the payload of the next message, which must have the given event.
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

// Quiet waits until the server is idle, and fails the test if there are unread
// messages. No virtual time passes, so timers of the server do not fire.
func (s *Session) Quiet() {
	s.t.Helper()
	if unread := s.Unread(); len(unread) > 0 {
		s.fatalf("expected nothing, got %s", list(unread))
	}
}

// Unread waits until the server is idle, and returns the messages that
// [Session.Receive] would return. It does not remove them.
func (s *Session) Unread() []Message {
	synctest.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.unread)
}

// Drain is like [Session.Unread], but removes the messages.
func (s *Session) Drain() []Message { return s.drain(func(Message) bool { return true }) }

// drain removes the messages that match, and returns them.
func (s *Session) drain(matches func(Message) bool) []Message {
	synctest.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	var taken, left []Message
	for _, m := range s.unread {
		if matches(m) {
			s.note(m)
			taken = append(taken, m)
		} else {
			left = append(left, m)
		}
	}
	s.unread = left
	return taken
}

// Ended waits until the server is idle, and reports whether the client detected the end
// of the connection.
func (s *Session) Ended() bool {
	synctest.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ended
}

// Closed waits until the connection ends, and returns the code and the reason of
// the close frame. The code is 1006 if a WebSocket ended without a close frame, or
// if an event stream was interrupted. It is 0 if either side ended an event stream
// regularly.
func (s *Session) Closed() (code int, reason string) {
	s.t.Helper()
	if !s.wait(func() bool { return s.ended }) {
		s.fatalf("waited for the end of the connection, but %s", s.state())
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.code, s.reason
}
