package transport

import (
	"fmt"
	"net/http"
	"sync"
	"time"
)

// A bodyStream is an event stream in the body of a response that belongs to an
// HTTP handler: over HTTP/2, or where a middleware's wrapper cannot be hijacked.
type bodyStream struct {
	w  http.ResponseWriter
	rc *http.ResponseController

	done chan struct{} // closed by close
	once sync.Once

	writing  sync.Mutex // held while w is written to
	gate     sync.Mutex // guards finished
	finished bool       // the handler returns: w must not be used any more
}

// newBodyStream sends nothing. If the response cannot stream, the error is an
// [http.ErrNotSupported] and names the missing interface.
func newBodyStream(w http.ResponseWriter, missing string) (*bodyStream, error) {
	if !flushes(w) {
		return nil, &hiddenError{w, missing, http.ErrNotSupported}
	}
	return &bodyStream{w: w, rc: http.NewResponseController(w), done: make(chan struct{})}, nil
}

// sendHeader sends the headers.
func (s *bodyStream) sendHeader() error {
	s.w.WriteHeader(http.StatusOK)
	if err := guard(s.rc.Flush); err != nil {
		return fmt.Errorf("%T cannot stream: %s", innermost(s.w), err) //nolint:errorlint // it is too late for any other response
	}
	return nil
}

// write writes b and flushes it.
func (s *bodyStream) write(b []byte) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	s.gate.Lock()
	finished := s.finished
	s.gate.Unlock()
	if finished {
		return ErrClosed
	}
	return guard(func() error {
		if _, err := s.w.Write(b); err != nil {
			return err
		}
		return s.rc.Flush()
	})
}

// limit sets the deadline of writes, if the host server supports one and the handler
// did not return yet.
func (s *bodyStream) limit(deadline time.Time) {
	s.gate.Lock()
	defer s.gate.Unlock()
	if !s.finished {
		_ = s.rc.SetWriteDeadline(deadline)
	}
}

// close requests that the handler returns.
func (s *bodyStream) close() { s.once.Do(func() { close(s.done) }) }

// finish ends the current write, if any, and prevents further writes.
func (s *bodyStream) finish() {
	if !s.writing.TryLock() {
		s.limit(time.Now())
		s.writing.Lock()
	}
	defer s.writing.Unlock()
	s.limit(time.Time{})
	s.gate.Lock()
	s.finished = true
	s.gate.Unlock()
}
