package memorybroker

import (
	"time"

	"github.com/pondsocket/pond"
)

// A subscription delivers the messages of one topic to one node. The mutex of the bus
// guards all fields after the first group.
type subscription struct {
	broker   *Broker
	topic    string
	receiver pond.Receiver

	queue   []entry
	bytes   int       // of queue
	last    time.Time // when the last entry of the queue is delivered
	lost    error     // reason of the next Gap; nil if no message is lost
	running bool      // a goroutine runs deliver
	ended   chan struct{}
	idle    chan struct{} // closed when the goroutine that ran at the end returns
	closed  bool
}

// An entry is a message or a gap in transit to a subscriber.
type entry struct {
	pond.Entry
	gap error
	at  time.Time // zero: immediately
}

// receiveLocked queues a message, with the faults of the bus.
func (s *subscription) receiveLocked(e entry) {
	bus, node, f := s.broker.bus, s.broker.name, &s.broker.bus.faults
	if bus.chanceLocked(f.Drop, call{node, s.topic, "drop"}) {
		s.lost = errDropped
		s.gapLocked()
		return
	}
	if s.bytes+len(e.Data) > bus.cfg.queueBytes && len(s.queue) > 0 {
		s.dropLocked()
		s.lost = errOverflow
		s.gapLocked()
		return
	}
	s.gapLocked()
	s.pushLocked(e)
	if bus.chanceLocked(f.Duplicate, call{node, s.topic, "duplicate"}) {
		s.pushLocked(e)
	}
}

// gapLocked queues a gap if a message is lost.
func (s *subscription) gapLocked() {
	reason := s.lost
	if reason == nil || s.broker.down {
		return
	}
	s.lost = nil
	if !s.broker.bus.faults.Silent {
		s.pushLocked(entry{gap: reason})
	}
}

// pushLocked queues an entry and starts the delivery.
func (s *subscription) pushLocked(e entry) {
	bus := s.broker.bus
	e.at = bus.instantLocked(call{s.broker.name, s.topic, "deliver"})
	if e.at.Before(s.last) { // it must not overtake earlier entries
		e.at = s.last
	}
	s.last = e.at
	s.queue = append(s.queue, e)
	s.bytes += len(e.Data)
	if !s.running {
		s.running = true
		s.idle = make(chan struct{})
		go s.deliver(s.idle)
	}
}

// dropLocked empties the queue.
func (s *subscription) dropLocked() {
	clear(s.queue)
	s.queue, s.bytes, s.last = s.queue[:0], 0, time.Time{}
}

// deliver calls the receiver until the queue is empty.
func (s *subscription) deliver(idle chan struct{}) {
	defer close(idle)
	for {
		e, ok := s.next()
		switch {
		case !ok:
			return
		case e.gap != nil:
			s.receiver.Gap(e.gap)
		default:
			s.receiver.Receive(e.Entry)
		}
	}
}

// next waits for the first entry of the queue and removes it. It returns false if the
// queue is empty or the subscription ended; then the goroutine must end.
func (s *subscription) next() (e entry, ok bool) {
	bus := s.broker.bus
	bus.mu.Lock()
	defer bus.mu.Unlock()
	for {
		if s.closed || len(s.queue) == 0 {
			s.running = false
			return e, false
		}
		wait := bus.resumed
		e = s.queue[0]
		due := time.Until(e.at)
		if wait == nil && (e.at.IsZero() || due <= 0) {
			break
		}
		bus.mu.Unlock()
		if wait != nil {
			select {
			case <-wait:
			case <-s.ended:
			}
		} else {
			sleep(due, s.ended)
		}
		bus.mu.Lock()
	}
	s.queue[0] = entry{}
	if s.queue = s.queue[1:]; len(s.queue) == 0 {
		s.queue = nil
	}
	s.bytes -= len(e.Data)
	return e, true
}

// sleep waits for a duration, or until done is closed.
func sleep(d time.Duration, done <-chan struct{}) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-done:
	}
}

// endLocked ends the subscription: no further call of the receiver starts. It returns a
// channel that is closed when the call in progress, if any, returned.
func (s *subscription) endLocked() (idle <-chan struct{}) {
	if !s.closed {
		s.closed = true
		close(s.ended)
		s.dropLocked()
	}
	if s.idle == nil { // no message was ever delivered
		s.idle = make(chan struct{})
		close(s.idle)
	}
	return s.idle
}

// Close ends the subscription; see [pond.Broker].
func (s *subscription) Close() error {
	bus := s.broker.bus
	bus.mu.Lock()
	if s.broker.subs[s.topic] == s {
		delete(s.broker.subs, s.topic)
		bus.unsubscribeLocked(s)
	}
	idle := s.endLocked()
	bus.mu.Unlock()
	<-idle
	return nil
}
