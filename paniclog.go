package pond

import (
	"fmt"
	"sync"
	"time"
)

// panicLogInterval is the shortest time between two records of panics in one place.
// Without it, a client that knows how to make a handler panic could fill the disk: a
// record with its stack is many times as long as a message.
const panicLogInterval = time.Second

// maxPanicText limits the bytes of the value that a function panicked with. It may
// contain what a client sent.
const maxPanicText = 1 << 10

// A panicLog limits the log records about the panics of one handler, or of one function
// of the Observer. The zero value is ready to use. It is safe for concurrent use.
type panicLog struct {
	mu         sync.Mutex // guards the following fields
	last       time.Time  // of the last panic that was logged
	suppressed int        // panics since then
}

// allow reports whether a panic is to be logged, and how many were not logged before.
func (l *panicLog) allow() (suppressed int, ok bool) {
	now := time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.last.IsZero() && now.Sub(l.last) < panicLogInterval {
		l.suppressed++
		return 0, false
	}
	suppressed = l.suppressed
	l.last, l.suppressed = now, 0
	return suppressed, true
}

// A panicError stands for the result of a function that panicked. Clients never see
// it.
type panicError struct {
	value any
	stack []byte // nil if the panic is not logged
}

// Error returns the value and the stack.
func (e *panicError) Error() string {
	text := fmt.Sprintf("panic: %v", e.value)
	if len(text) > maxPanicText {
		text = text[:maxPanicText] + "..."
	}
	if e.stack == nil {
		return text
	}
	return text + "\n" + string(e.stack)
}
