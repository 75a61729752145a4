package pondclient

import (
	"sync"
	"time"
)

// An Observer receives notifications for metrics and status displays. Nil functions are
// skipped. The client calls the functions one at a time, in order, from its own
// goroutines, so they must return quickly. They may call methods of the client, except
// those that wait.
type Observer struct {
	// Connected reports that the server accepted a connection.
	Connected func(userID string, t Transport)

	// Disconnected reports that an attempt to connect failed or a connection ended. If the
	// action is not [Stop], the next attempt follows after retryIn.
	Disconnected func(reason *ConnectionError, action Action, retryIn time.Duration)

	// Dropped reports that events were not delivered because the buffer of a
	// channel was full: see [WithBuffer].
	Dropped func(channel string, events int)
}

// A queue runs functions one at a time, in the order in which they were added. Its zero
// value is ready for use.
type queue struct {
	mu    sync.Mutex // guards the following fields
	calls []func()
	busy  bool // a goroutine runs them
}

// do runs f. If another goroutine runs an earlier function, that goroutine also runs f,
// and do returns immediately. So f may call do.
func (q *queue) do(f func()) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.calls = append(q.calls, f)
	if q.busy {
		return
	}
	q.busy = true
	defer func() { q.busy = false }() // even if a call panics
	for len(q.calls) > 0 {
		next := q.calls[0]
		q.calls = q.calls[1:]
		q.call(next)
	}
}

func (q *queue) call(f func()) {
	q.mu.Unlock()
	defer q.mu.Lock() // even if f panics
	f()
}
