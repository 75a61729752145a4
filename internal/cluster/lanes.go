package cluster

import (
	"context"
	"errors"
	"maps"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"time"
)

// Errors of [Lanes].
var (
	ErrFull   = errors.New("cluster: too much is queued for the broker")
	ErrClosed = errors.New("cluster: closed")
)

// An Item is one message for the broker.
type Item struct {
	Data  []byte
	Log   any  // if not nil, it is appended to the log, with these comparable options
	Event bool // it is for clients, not about members

	// Key is not empty for an item that replaces an earlier one with the same key, while
	// that one is queued. It takes the position of the earlier one.
	Key string

	// Fixes are the keys of earlier items that later ones must not replace, because they
	// would take a position before this item. FixesAll stands for all keys.
	Fixes    []string
	FixesAll bool

	// Done is called once, without locks: with nil when the broker has the message, or
	// with the reason when the lane gave it up, then on another goroutine. It may be
	// nil, and must not wait.
	Done func(error)

	seq   uint64
	count Count
}

func (it *Item) done(err error) {
	if it.Done != nil {
		it.Done(err)
	}
}

// A LanesConfig configures [Lanes]. All fields are required.
type LanesConfig struct {
	// Number adds numbers to a message that is not for the log: one that increases in the
	// order of the lane, and how many such events there were in the topic, including this
	// message.
	Number func(message []byte, seq uint64, events Count) []byte
	// Send sends a batch of items with the same Log. first is the number of its first
	// message if it is for the log.
	Send func(ctx context.Context, topic string, log any, first uint64, batch [][]byte) error
	// Permanent reports whether it is useless to try a batch again.
	Permanent func(error) bool
	// GaveUp reports that a lane lost items, and how many of them are events. numbered
	// contains those that are not for the log.
	GaveUp func(topic string, events int, numbered Span, err error)

	Counts     int           // topics that may be used between two calls of ExpireCounts; beyond it, counts are forgotten earlier
	LaneBytes  int           // limit of queued bytes for one topic
	TotalBytes int           // and for all
	Timeout    time.Duration // of one attempt
	Patience   time.Duration // how long attempts fail until a lane gives up
}

// Lanes send messages to the broker: those of one topic in their order, one batch at a
// time. Messages that are queued in the meantime are the next batch. A batch that fails
// is sent again, with the same numbers. If all attempts fail for too long, all queued
// messages of the topic are given up.
//
// A lane exists only while messages of its topic are queued. Its methods are safe for
// concurrent use.
type Lanes struct {
	cfg LanesConfig

	mu      sync.Mutex // guards the following fields
	lanes   map[string]*lane
	bytes   int
	failing int    // lanes whose last attempt failed
	number  uint64 // of the last message for a log, in any topic
	seq     uint64 // of the last one that is not
	counts  counts // of events that are not for the log
	closed  bool
	ctx     context.Context // of attempts; nil before the first one
	cancel  context.CancelFunc
	empty   chan struct{} // closed when there are no lanes; nil while no goroutine waits
}

// A lane is the queue of one topic.
type lane struct {
	topic   string
	items   []Item
	base    int            // how many items were removed
	keys    map[string]int // positions of items with keys, including removed items in the count
	bytes   int
	flying  int // items at the front that are a batch in flight
	failing bool
}

// Limits of a batch.
const (
	batchItems = 256
	batchBytes = 512 << 10
)

// itemCost is the memory of a queued item besides its bytes.
const itemCost = 128

// NewLanes returns lanes without messages.
func NewLanes(cfg LanesConfig) *Lanes {
	return &Lanes{cfg: cfg, lanes: map[string]*lane{}, counts: counts{limit: cfg.Counts}}
}

// Push queues a message. It returns [ErrFull] or [ErrClosed]; Done is not called then.
func (l *Lanes) Push(topic string, it Item) error {
	size := len(it.Data) + itemCost
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return ErrClosed
	}
	q := l.lanes[topic]
	if q != nil && q.replace(l, it) {
		return nil
	}
	if q != nil && q.bytes+size > l.cfg.LaneBytes || l.bytes+size > l.cfg.TotalBytes {
		return ErrFull
	}
	start := q == nil
	if start {
		q = &lane{topic: topic}
		l.lanes[topic] = q
	}
	if it.FixesAll {
		clear(q.keys)
	}
	for _, key := range it.Fixes {
		delete(q.keys, key)
	}
	if it.Key != "" {
		if q.keys == nil {
			q.keys = map[string]int{}
		}
		q.keys[it.Key] = q.base + len(q.items)
	}
	if it.Log == nil {
		l.seq++
		it.seq, it.count = l.seq, l.counts.next(topic, it.Event)
		it.Data = l.cfg.Number(it.Data, it.seq, it.count)
	}
	q.items = append(q.items, it)
	size = len(it.Data) + itemCost
	q.bytes += size
	l.bytes += size
	if start {
		if l.ctx == nil {
			l.ctx, l.cancel = context.WithCancel(context.Background()) //nolint:forbidigo // lanes outlive the calls that fill them
		}
		go l.run(q)
	}
	return nil
}

// replace replaces the queued item with the same key.
func (q *lane) replace(l *Lanes, it Item) bool {
	at, ok := q.keys[it.Key]
	if !ok || it.Key == "" || it.Done != nil {
		return false
	}
	i := at - q.base
	if i < q.flying {
		return false // the broker may already have it
	}
	grown := len(it.Data) - len(q.items[i].Data)
	if grown > 0 && (q.bytes+grown > l.cfg.LaneBytes || l.bytes+grown > l.cfg.TotalBytes) {
		return false
	}
	it.Data = l.cfg.Number(it.Data, q.items[i].seq, q.items[i].count)
	grown = len(it.Data) - len(q.items[i].Data)
	q.items[i].Data = it.Data
	q.bytes += grown
	l.bytes += grown
	return true
}

// run sends the queued messages, until none is left. At first, it lets goroutines run
// that are ready to queue more messages of the topic.
func (l *Lanes) run(q *lane) {
	runtime.Gosched()
	for {
		batch, log, number := l.take(q)
		if batch == nil {
			return
		}
		err := l.send(q, log, number, batch)
		var finished []Item
		if err == nil || l.cfg.Permanent(err) {
			finished = l.finish(q, len(batch))
		} else {
			finished = l.finish(q, -1)
		}
		if err != nil {
			l.report(q.topic, finished, err)
		}
		if err == nil {
			doneAll(finished, nil)
			clear(finished) // the queue may keep their memory
		} else {
			go doneAll(finished, err) // which may answer clients
		}
	}
}

func doneAll(items []Item, err error) {
	for i := range items {
		items[i].done(err)
	}
}

// report reports that items are lost.
func (l *Lanes) report(topic string, items []Item, err error) {
	lost := 0
	var numbered Span
	for i := range items {
		if !items[i].Event {
			continue
		}
		lost++
		if n := items[i].count.Events; n > 0 {
			if numbered.Upto == 0 {
				numbered.After = n - 1
			}
			numbered.Upto = n
		}
	}
	l.cfg.GaveUp(topic, lost, numbered, err)
}

// take returns the next batch, or nil after it removed the empty lane.
func (l *Lanes) take(q *lane) (batch [][]byte, log any, number uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(q.items) == 0 {
		delete(l.lanes, q.topic)
		if len(l.lanes) == 0 && l.empty != nil {
			close(l.empty)
			l.empty = nil
		}
		return nil, nil, 0
	}
	log = q.items[0].Log
	batch = make([][]byte, 0, min(len(q.items), batchItems))
	size := 0
	for i := range q.items {
		it := &q.items[i]
		size += len(it.Data)
		if it.Log != log || len(batch) == batchItems || len(batch) > 0 && size > batchBytes {
			break
		}
		batch = append(batch, it.Data)
	}
	q.flying = len(batch)
	if log != nil {
		number = l.number + 1
		l.number += uint64(len(batch))
	}
	return batch, log, number
}

// send repeats attempts to send a batch until one succeeds or further attempts are
// useless.
func (l *Lanes) send(q *lane, log any, number uint64, batch [][]byte) error {
	began := time.Now()
	for attempt := 0; ; attempt++ {
		ctx, cancel := context.WithTimeout(l.ctx, l.cfg.Timeout)
		err := l.cfg.Send(ctx, q.topic, log, number, batch)
		cancel()
		l.setFailing(q, err != nil)
		switch {
		case err == nil, l.cfg.Permanent(err):
			return err
		case l.ctx.Err() != nil:
			return ErrClosed
		case time.Since(began) >= l.cfg.Patience:
			return err
		}
		wait := time.NewTimer(backoff(attempt))
		select {
		case <-wait.C:
		case <-l.ctx.Done():
		}
		wait.Stop()
	}
}

// backoff returns how long to wait after a failed attempt: between a half and all of a
// time that doubles from 50 ms to 2 s.
func backoff(attempt int) time.Duration {
	longest := min(50*time.Millisecond<<min(attempt, 10), 2*time.Second)
	return longest/2 + rand.N(longest/2) //nolint:gosec // it spreads retries
}

func (l *Lanes) setFailing(q *lane, failing bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if q.failing == failing {
		return
	}
	q.failing = failing
	if failing {
		l.failing++
	} else {
		l.failing--
	}
}

// finish removes the first n items from a lane, or all if n is negative, and returns
// them.
func (l *Lanes) finish(q *lane, n int) []Item {
	l.mu.Lock()
	defer l.mu.Unlock()
	if n < 0 {
		n = len(q.items)
	}
	finished := q.items[:n:n]
	for i := range finished {
		size := len(finished[i].Data) + itemCost
		q.bytes -= size
		l.bytes -= size
		if key := finished[i].Key; key != "" && q.keys[key] == q.base+i {
			delete(q.keys, key)
		}
	}
	q.base += n
	q.flying = 0
	q.items = q.items[n:]
	if q.failing {
		q.failing = false
		l.failing--
	}
	return finished
}

// Queued returns the number of topics with queued messages, the number of those whose last
// attempt failed, and the size of all queued messages.
func (l *Lanes) Queued() (topics, failing, bytes int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.lanes), l.failing, l.bytes
}

// Flush waits until nothing is queued, or until ctx is done.
func (l *Lanes) Flush(ctx context.Context) error {
	for {
		l.mu.Lock()
		if len(l.lanes) == 0 {
			l.mu.Unlock()
			return nil
		}
		if l.empty == nil {
			l.empty = make(chan struct{})
		}
		empty := l.empty
		l.mu.Unlock()
		select {
		case <-empty:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Close gives up all queued messages, and waits until no batch is in flight, or until ctx is
// done. Later messages are rejected.
func (l *Lanes) Close(ctx context.Context) error {
	l.mu.Lock()
	l.closed = true
	cancel := l.cancel
	l.mu.Unlock()
	if cancel != nil {
		cancel()
	}
	return l.Flush(ctx)
}

// Topics returns the topics that have queued messages, for tests.
func (l *Lanes) Topics() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Sorted(maps.Keys(l.lanes))
}
