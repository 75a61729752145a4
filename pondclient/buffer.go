package pondclient

import (
	"context"
	"sync"
)

// A buffer keeps the events of one Channel until the program takes them. The
// reading goroutine adds events and never waits.
type buffer struct {
	maxEvents, maxBytes int           // static
	wake                chan struct{} // has room for one; a value says that something changed

	mu     sync.Mutex // guards the following fields
	events []Event    // the oldest first, from head on; a nil stands for a change of presence
	head   int
	bytes  int
	gap    *Gap // counts what is dropped, and is the last event; nil if nothing is
	marked bool // a change of presence is in events

	// over says that the program gets err when events is empty. Without an error, the
	// events are dropped, and none is added any more.
	over bool
	err  error
}

// keptEvents is the largest capacity that an empty buffer keeps.
const keptEvents = 64

func newBuffer(events, bytes int) *buffer {
	return &buffer{maxEvents: events, maxBytes: bytes, wake: make(chan struct{}, 1)}
}

// add adds an event. It returns false if the event was dropped because the buffer
// is full. After that, events are dropped until half of the buffer is free, so that
// a slow program gets runs of messages and not one between two gaps.
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

// mark says that presence changed. At most one mark is in the buffer: the event
// is made when the program takes it.
func (b *buffer) mark() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.over || b.marked {
		return
	}
	b.marked = true
	b.gap = nil // later events belong behind the mark
	b.pushLocked(nil, 0)
}

func (b *buffer) pushLocked(ev Event, n int) {
	if b.head > len(b.events)/2 && len(b.events) == cap(b.events) { // reuse the space of what was taken
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

// end says that there will be no other event. With an error, the program still gets
// what is in the buffer, and then the error. The first call counts.
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

// resume takes an end with an error back.
func (b *buffer) resume() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.err != nil {
		b.over, b.err = false, nil
	}
}

// take returns the next event, and waits for it. A nil event with changed says that
// presence changed. Without an event, the buffer is at its end, and err is why; it
// is nil if the program left the channel.
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
