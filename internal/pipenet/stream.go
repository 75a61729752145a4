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
// A goroutine that must wait, even for another writer, waits for the condition
// variable. In a bubble, a goroutine that waits for a mutex is not durably blocked,
// so time would not advance.
type stream struct {
	capacity int // static after construction

	mu      sync.Mutex // guards the following fields
	changed *sync.Cond // signals any change
	buf     bytes.Buffer
	arrived int // bytes of buf that can be read
	reader  end
	writer  end
	held    bool // reads block, even if data arrived
	down    bool // nothing reaches either end
	reset   bool // the connection was reset
	writing bool // a write is in progress; other writers wait

	delay   time.Duration
	trickle bool
	last    time.Time // when the data sent last arrives
}

// An end is the state of one side of a stream.
type end struct {
	closed  bool
	noticed bool        // the other side was notified that this one is closed
	expired bool        // the deadline passed
	timer   *time.Timer // sets expired; nil without a future deadline
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
		case s.reader.expired:
			return 0, os.ErrDeadlineExceeded
		case len(p) == 0:
			return 0, nil
		case s.held || s.down:
			// Data that arrived is not readable yet.
		case s.arrived > 0:
			most := min(len(p), s.arrived)
			if s.trickle {
				most = 1
			}
			n, err := s.buf.Read(p[:most])
			s.arrived -= n
			s.changed.Broadcast()
			return n, err
		case s.writer.noticed && s.buf.Len() == 0:
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

// deliver calls arrive, with mu held, when data that is sent now arrives.
func (s *stream) deliver(arrive func()) {
	now := time.Now()
	if at := now.Add(s.delay); at.After(s.last) { // keep the order
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

// broken returns the reason why nothing can be written, or nil.
func (s *stream) broken() error {
	switch {
	case s.writer.closed:
		return net.ErrClosed
	case s.reset:
		return syscall.ECONNRESET
	case s.reader.noticed && !s.down:
		return syscall.EPIPE
	case s.writer.expired:
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
		e.expired = false
	case left <= 0:
		e.expired = true
	default:
		e.expired = false
		var timer *time.Timer
		timer = time.AfterFunc(left, func() {
			s.mu.Lock()
			defer s.mu.Unlock()
			if e.timer == timer { // not replaced by a later one
				e.expired = true
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
	s.deliver(func() { e.noticed = true })
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
