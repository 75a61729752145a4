package pondtest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"slices"
	"testing/synctest"
)

// An Event is one event or one comment of an SSE stream.
type Event struct {
	Name    string // the last event field, or empty
	ID      string // the last ID that the stream had set so far, or empty
	Data    string // all data fields, separated by line feeds
	Comment string // the whole line of a comment; the other fields are then empty
}

// Events waits until the server is idle, and returns the events and comments that an
// SSE client received since it connected. Events are those that an EventSource would
// dispatch.
func (s *Session) Events() []Event {
	s.t.Helper()
	stream := s.stream("Events")
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(stream.events)
}

// Bytes waits until the server is idle, and returns the body of the event stream
// received so far.
func (s *Session) Bytes() []byte {
	s.t.Helper()
	stream := s.stream("Bytes")
	s.mu.Lock()
	defer s.mu.Unlock()
	return bytes.Clone(stream.raw)
}

func (s *Session) stream(method string) *eventStream {
	s.t.Helper()
	stream, ok := s.link.(*eventStream)
	if !ok {
		s.fatalf("%s requires SSE", method)
	}
	synctest.Wait()
	return stream
}

// An eventStream is the client side of Server-Sent Events, with POST requests for
// the other direction.
type eventStream struct {
	session *Session
	parser  eventParser // owned by receive
	raw     []byte      // guarded by session.mu
	events  []Event     // guarded by session.mu
}

// lastID returns the ID of the last event, or "" if there is none.
func (e *eventStream) lastID() string {
	e.session.mu.Lock()
	defer e.session.mu.Unlock()
	for _, event := range slices.Backward(e.events) {
		if event.Comment == "" {
			return event.ID
		}
	}
	return ""
}

const streamType = "text/event-stream"

func (e *eventStream) ask(h http.Header) { h.Set("Accept", streamType) }

func (e *eventStream) accepted(resp *http.Response) (bool, error) {
	if resp.StatusCode != http.StatusOK {
		return false, nil
	}
	contentType := resp.Header.Get("Content-Type")
	if media, _, err := mime.ParseMediaType(contentType); media != streamType || err != nil {
		return true, fmt.Errorf("Content-Type is %q", contentType)
	}
	return true, nil
}

func (e *eventStream) receive(r io.Reader) {
	buf := make([]byte, 4096)
	for {
		n, err := r.Read(buf)
		e.received(buf[:n])
		if errors.Is(err, io.EOF) {
			e.session.setClosing(0, "")
		}
		if err != nil {
			return
		}
	}
}

func (e *eventStream) received(data []byte) {
	s := e.session
	s.mu.Lock()
	e.raw = append(e.raw, data...)
	s.mu.Unlock()
	for _, b := range data {
		event, ok := e.parser.next(b)
		if !ok {
			continue
		}
		s.mu.Lock()
		e.events = append(e.events, event)
		s.mu.Unlock()
		if event.Comment == "" {
			s.arrived([]byte(event.Data))
		}
	}
}

func (e *eventStream) send(message []byte) error {
	s := e.session
	s.t.Helper()
	if s.vanished {
		return nil // the message is lost, as on a WebSocket
	}
	if resp := s.ask(http.MethodPost, message); resp.StatusCode != http.StatusNoContent {
		return fmt.Errorf("response to POST: %s: %s", resp.Status, body(resp))
	}
	return nil
}

func (e *eventStream) close(int, string) {
	e.session.setClosing(0, "")
	e.session.conn.Close()
	e.session.Resume()
}
