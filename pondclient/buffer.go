package pondclient

import (
	"context"
	"sync"
)

// A buffer keeps the events of one Channel until the program takes them. The goroutine
// that reads the connection adds events, and never waits.
type buffer struct {
	maxEvents, maxBytes int           // static
	wake                chan struct{} // has a value after a change; its capacity is one

	mu     sync.Mutex // guards the following fields
	events []Event    // the oldest first, from head on; a nil stands for a change of presence
	head   int
	bytes  int
	gap    *Gap // the last event, which counts the dropped ones; nil if none are dropped
	marked bool // a change of presence is in events

	// over means that no further events are added, and that the program gets err when
	// events is empty. If err is nil, the remaining events are dropped.
	over bool
	err  error
}

// keptEvents is the largest capacity that an empty buffer keeps.
const keptEvents = 64

func newBuffer(events, bytes int) *buffer {
	return &buffer{maxEvents: events, maxBytes: bytes, wake: make(chan struct{}, 1)}
}

// add adds an event. It returns false if the event was dropped because the buffer
// is full. After that, events are dropped until half of the buffer is free, so that a
// slow program gets several messages in a row, and not a gap after each one.
func (b *buffer) add(ev Event) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.over && b.err == nil {
		return true
	}
	count := len(b.events) - b.head
	if b.gap != nil && count <= b.maxEvents/2 && b.bytes <= b.maxBytes/2 {
		b.gap = nil
	}
	n := size(ev)
	if b.gap == nil && (count < b.maxEvents && b.bytes+n <= b.maxBytes || count == 0) {
		b.pushLocked(ev, n)
		return true
	}
	if b.gap == nil {
		b.gap = &Gap{Reason: GapOverflow}
		b.pushLocked(b.gap, overhead)
	}
	b.gap.Dropped++
	if lost, ok := ev.(*Gap); ok && lost.Dropped > 0 {
		b.gap.Dropped += lost.Dropped - 1
	}
	return false
}

// mark records that presence changed. At most one mark is in the buffer; the event is
// created when the program takes it.
func (b *buffer) mark() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.over || b.marked {
		return
	}
	b.marked = true
	b.gap = nil // later events belong after the mark
	b.pushLocked(nil, 0)
}

func (b *buffer) pushLocked(ev Event, n int) {
	if b.head > len(b.events)/2 && len(b.events) == cap(b.events) { // reuse the space of events that were taken
		n := copy(b.events, b.events[b.head:])
		clear(b.events[n:])
		b.events, b.head = b.events[:n], 0
	}
	b.events = append(b.events, ev)
	b.bytes += n
	b.signal()
}

func (b *buffer) signal() {
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

// end ends the events. If err is not nil, the program still gets the events in the
// buffer, and then err. Only the first call has an effect.
func (b *buffer) end(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.over && (b.err == nil || err != nil) {
		return
	}
	b.over, b.err = true, err
	if err == nil {
		b.events, b.head, b.bytes, b.gap = nil, 0, 0, nil
	}
	b.signal()
}

// resume undoes an end with an error.
func (b *buffer) resume() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.err != nil {
		b.over, b.err = false, nil
	}
}

// take returns the next event, and waits for it. If changed is true, presence changed,
// and the event is nil. If there is no event, the events ended, and err is the reason;
// it is nil if the program left the channel.
func (b *buffer) take(ctx context.Context) (ev Event, changed bool, err error) {
	for {
		if ev, changed, over, err := b.next(); ev != nil || changed || over {
			return ev, changed, err
		}
		select {
		case <-b.wake:
		case <-ctx.Done():
			return nil, false, context.Cause(ctx)
		}
	}
}

func (b *buffer) next() (ev Event, changed, over bool, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.head == len(b.events) {
		return nil, false, b.over, b.err
	}
	ev = b.events[b.head]
	b.events[b.head] = nil
	b.head++
	if b.head == len(b.events) {
		b.events, b.head = b.events[:0], 0
		if cap(b.events) > keptEvents {
			b.events = nil
		}
	}
	if ev == nil {
		b.marked = false
		return nil, true, false, nil
	}
	b.bytes -= size(ev)
	if ev == Event(b.gap) {
		b.gap = nil
	}
	return ev, false, false, nil
}
