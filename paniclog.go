package pond

import (
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"
)

// panicLogInterval is the shortest time between two records of one handler's panics.
// Without it, a client that knows how to make a handler panic could fill the disk: a
// record with its stack is many times as long as a message.
const panicLogInterval = time.Second

// maxPanicText limits the bytes of the value that a handler panicked with. It may
// contain what a client sent.
const maxPanicText = 1 << 10

// A panicLog limits the log records about the panics of one handler. The zero value is
// ready to use. It is safe for concurrent use.
type panicLog struct {
	mu         sync.Mutex // guards the following fields
	last       time.Time  // of the last panic that was logged
	suppressed int        // panics since then
}

// recovered returns the error for a panic with value v. It is called by the deferred
// function that recovered, because it takes the stack if the panic will be logged.
func (l *panicLog) recovered(v any) error {
	now := time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.last.IsZero() && now.Sub(l.last) < panicLogInterval {
		l.suppressed++
		return &panicError{value: v}
	}
	err := &panicError{value: v, stack: debug.Stack(), suppressed: l.suppressed}
	l.last, l.suppressed = now, 0
	return err
}

// A panicError is the error of a handler that panicked. Clients never see it.
type panicError struct {
	value      any
	stack      []byte // nil: not to be logged
	suppressed int    // panics of the handler that were not logged before this one
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

// logAttrs returns the attributes of the log record about a handler's error, and
// whether there is to be one.
func logAttrs(err error, attrs ...slog.Attr) ([]slog.Attr, bool) {
	attrs = append(attrs, slog.Any("error", err))
	// The error of the handler itself: a panicError in a chain was logged by itself.
	if p, ok := err.(*panicError); ok { //nolint:errorlint // as the comment says
		if p.stack == nil {
			return nil, false
		}
		if p.suppressed > 0 {
			attrs = append(attrs, slog.Int("suppressed", p.suppressed))
		}
	}
	return attrs, true
}
