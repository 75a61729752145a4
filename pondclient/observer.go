package pondclient

import (
	"sync"
	"time"
)

// An Observer is notified of what happens to a client, for metrics and status
// displays. Functions that are nil are not called. The client calls them one at a
// time, in order, from its own goroutines, so they must be short. They may use the
// client, but must not wait for it.
type Observer struct {
	// Connected reports that the server accepted a connection.
	Connected func(t Transport, userID string)

	// Disconnected reports that an attempt to connect failed or that a
	// connection ended. If the action is not [Stop], the next attempt follows
	// after retryIn.
	Disconnected func(reason *ConnectionError, action Action, retryIn time.Duration)

	// Dropped reports that events were not delivered because the buffer of a
	// channel was full: see [WithBuffer].
	Dropped func(channel string, events int)
}

// A queue runs functions one at a time, in the order in which they came. Its zero
// value is ready for use.
type queue struct {
	mu    sync.Mutex // guards the following fields
	calls []func()
	busy  bool // a goroutine runs them
}

// do runs f, unless a goroutine runs an earlier one: then that goroutine runs f as
// well, and do returns at once. So f may lead to another call of do.
func (q *queue) do(f func()) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.calls = append(q.calls, f)
	if q.busy {
		return
	}
	q.busy = true
	for len(q.calls) > 0 {
		next := q.calls[0]
		q.calls = q.calls[1:]
		q.call(next)
	}
	q.busy = false
}

func (q *queue) call(f func()) {
	q.mu.Unlock()
	defer q.mu.Lock() // also if f panics
	f()
}
