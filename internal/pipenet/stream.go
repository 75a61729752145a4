package pipenet

import (
	"bytes"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// A stream carries the bytes of one direction.
//
// Whoever has to wait waits for the condition, also for other writers: in a
// bubble, waiting for a mutex that is held would not count as a standstill, and
// time would not pass.
type stream struct {
	capacity int // static after construction

	mu      sync.Mutex // guards the following fields
	changed *sync.Cond // any of them
	buf     bytes.Buffer
	arrived int // bytes of buf that can be read
	reader  end
	writer  end
	held    bool // reads wait, whatever has arrived
	down    bool // nothing gets through to either end
	reset   bool // the connection was reset
	writing bool // a write is under way; the others wait for their turn

	delay   time.Duration
	trickle bool
	last    time.Time // when what was sent last arrives
}

// An end is what one of the two sides has decided about a stream.
type end struct {
	closed bool
	heard  bool        // the other end has heard of that
	late   bool        // the deadline has passed
	timer  *time.Timer // sets late; nil if there is nothing to wait for
}

func newStream(capacity int) *stream {
	s := &stream{capacity: capacity}
	s.changed = sync.NewCond(&s.mu)
	return s
}

func (s *stream) read(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		switch {
		case s.reader.closed:
			return 0, net.ErrClosed
		case s.reset:
			return 0, syscall.ECONNRESET
		case s.reader.late:
			return 0, os.ErrDeadlineExceeded
		case len(p) == 0:
			return 0, nil
		case s.held || s.down:
			// Whatever has arrived has to wait.
		case s.arrived > 0:
			most := min(len(p), s.arrived)
			if s.trickle {
				most = 1
			}
			n, err := s.buf.Read(p[:most])
			s.arrived -= n
			s.changed.Broadcast()
			return n, err
		case s.writer.heard && s.buf.Len() == 0:
			return 0, io.EOF
		}
		s.changed.Wait()
	}
}

func (s *stream) write(p []byte) (n int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.writing {
		if err := s.broken(); err != nil {
			return 0, err
		}
		s.changed.Wait()
	}
	s.writing = true
	defer func() {
		s.writing = false
		s.changed.Broadcast()
	}()
	for {
		if err := s.broken(); err != nil {
			return n, err
		}
		if fits := min(s.capacity-s.buf.Len(), len(p)-n); fits > 0 {
			s.buf.Write(p[n : n+fits])
			n += fits
			s.deliver(func() { s.arrived += fits })
		}
		if n == len(p) {
			return n, nil
		}
		s.changed.Wait()
	}
}

// deliver calls arrive, with mu held, when what is sent now arrives.
func (s *stream) deliver(arrive func()) {
	now := time.Now()
	if at := now.Add(s.delay); at.After(s.last) { // nothing overtakes
		s.last = at
	}
	if !s.last.After(now) {
		arrive()
		s.changed.Broadcast()
		return
	}
	time.AfterFunc(s.last.Sub(now), func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		arrive()
		s.changed.Broadcast()
	})
}

// broken says why nothing can be written, if so.
func (s *stream) broken() error {
	switch {
	case s.writer.closed:
		return net.ErrClosed
	case s.reset:
		return syscall.ECONNRESET
	case s.reader.heard && !s.down:
		return syscall.EPIPE
	case s.writer.late:
		return os.ErrDeadlineExceeded
	default:
		return nil
	}
}

func (s *stream) setDeadline(e *end, t time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e.closed {
		return net.ErrClosed
	}
	e.stop()
	switch left := time.Until(t); {
	case t.IsZero():
		e.late = false
	case left <= 0:
		e.late = true
	default:
		e.late = false
		var timer *time.Timer
		timer = time.AfterFunc(left, func() {
			s.mu.Lock()
			defer s.mu.Unlock()
			if e.timer == timer { // and not a later one
				e.late = true
				s.changed.Broadcast()
			}
		})
		e.timer = timer
	}
	s.changed.Broadcast()
	return nil
}

func (s *stream) close(e *end) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e.closed = true
	e.stop()
	if s.reader.closed {
		s.buf = bytes.Buffer{}
	}
	s.changed.Broadcast()
	s.deliver(func() { e.heard = true })
}

func (s *stream) abort() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reset = true
	s.buf = bytes.Buffer{}
	s.changed.Broadcast()
}

// set changes a property with mu held.
func (s *stream) set(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
	s.changed.Broadcast()
}

func (e *end) stop() {
	if e.timer != nil {
		e.timer.Stop()
		e.timer = nil
	}
}
