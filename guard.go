package pond

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"sync"
	"time"
)

// Code of the application can panic, and it can end its goroutine with runtime.Goexit,
// as t.FailNow does. This file calls such code:
//
//   - handlers,
//   - methods of values that handlers return and send: errors, details, payloads,
//   - functions of the Observer, and key functions,
//   - the handler of the logger, and methods of logged values.
//
// It runs inside registered.call, which costs almost nothing but may not return, or
// inside isolate, which costs a goroutine.

// errExited represents the result of a function that ended its goroutine.
var errExited = errors.New("the goroutine was ended (runtime.Goexit)")

// isolate calls f in a new goroutine and waits for it, so that f cannot end the
// goroutine of the caller. It returns a panicError or errExited if f does not return.
func isolate(f func()) error {
	result := make(chan error)
	go func() {
		err := errExited
		defer func() {
			if v := recover(); v != nil {
				err = &panicError{v, debug.Stack()}
			}
			result <- err
		}()
		f()
		err = nil
	}()
	return <-result
}

// A registered handler is one that the Pond calls.
type registered[C any] struct {
	handler Handler[C]
	panics  panicLog
}

// call runs the handler on the goroutine of the caller, and then done, with nil if the
// handler succeeded. If the handler or a method of its error ends the goroutine, done
// still runs, but call does not return. Code that must run afterwards belongs in done
// or in a deferred function.
func (r *registered[C]) call(ctx C, done func(*failure)) {
	f := exited
	defer func() {
		if v := recover(); v != nil {
			f = f.panicked(v, &r.panics)
		}
		done(f)
	}()
	err := r.handler(ctx)
	f = nil
	if !succeeded(err) {
		f = &failure{err: err, public: internalError}
		f.examine()
	}
}

// A failure contains the parts of a handler's error, so that only examine calls methods
// of the error.
type failure struct {
	err    error  // returned by the handler, a panicError, or errExited
	public *Error // for the client; its Details are encoded
	typed  bool   // the handler chose the error for the client
	broken error  // why a part of err is missing in public

	quiet      bool // it is not logged, because a panic was logged shortly before
	suppressed int  // number of quiet failures before
}

var (
	// internalError is the error that a client receives instead of an error that is not
	// for clients.
	internalError = &Error{Message: "internal error"}

	// exited is the failure of a handler that did not return.
	exited = &failure{err: errExited, public: internalError}
)

// examine fills in f from the error. If a method of the error panics or ends the
// goroutine, f contains the parts that were found before.
func (f *failure) examine() {
	f.broken = errExited
	if e := findError(f.err); e != nil {
		f.typed = true
		f.public = &Error{Code: e.Code, Message: e.Message}
		if e.Details != nil {
			f.public.Details, f.broken = encodeDetails(e.Details)
			return
		}
	}
	f.broken = nil
}

// panicked returns the failure of a handler that panicked, or completes f if a method
// of the handler's error panicked.
func (f *failure) panicked(v any, panics *panicLog) *failure {
	p := &panicError{value: v}
	suppressed, ok := panics.allow()
	if ok {
		p.stack = debug.Stack()
	}
	if f == exited {
		f = &failure{err: p, public: internalError}
	} else {
		f.broken = p
	}
	f.suppressed, f.quiet = suppressed, !ok
	return f
}

// error returns the error of the handler, or nil if it succeeded.
func (f *failure) error() error {
	if f == nil {
		return nil
	}
	return f.err
}

// hidden reports whether the client does not receive the whole error, so that it must
// be logged.
func (f *failure) hidden() bool {
	return f != nil && (!f.typed || f.broken != nil || f.public.status() >= http.StatusInternalServerError)
}

// log logs the failure of a handler.
func (f *failure) log(ctx context.Context, p *Pond, msg string, attrs ...slog.Attr) {
	if f.quiet {
		return
	}
	attrs = append(attrs, slog.Any("error", f.err))
	if f.broken != nil {
		attrs = append(attrs, slog.Any("not_sent", f.broken))
	}
	if f.suppressed > 0 {
		attrs = append(attrs, slog.Int("suppressed", f.suppressed))
	}
	p.log(ctx, slog.LevelError, msg, attrs...)
}

// log logs a record. If the handler of the logger fails, one of the values may be the
// cause, so the handler gets the record again without them.
func (p *Pond) log(ctx context.Context, level slog.Level, msg string, attrs ...slog.Attr) {
	err := isolate(func() { p.logger().LogAttrs(ctx, level, msg, attrs...) }) //nolint:sloglint // callers pass a literal
	if err == nil {
		return
	}
	_ = isolate(func() { // if this fails as well, it cannot be reported
		plain := []slog.Attr{slog.String("log_error", err.Error())}
		for _, a := range attrs {
			if kind := a.Value.Kind(); kind == slog.KindAny || kind == slog.KindLogValuer {
				a = slog.String(a.Key, fmt.Sprintf("a value of type %T", a.Value.Any()))
			}
			plain = append(plain, a)
		}
		p.logger().LogAttrs(ctx, level, msg, plain...) //nolint:sloglint // the same
	})
}

// observe calls a function of the Observer, isolated.
func (p *Pond) observe(function string, f func()) {
	if err := isolate(f); err != nil {
		p.observerFailed(function, err)
	}
}

// observeInline calls a function of the Observer on the goroutine of the caller, which
// is cheaper. Like call, it does not return if the function ends the goroutine.
func (p *Pond) observeInline(function string, f func()) {
	err := errExited
	defer func() {
		if v := recover(); v != nil {
			err = &panicError{v, debug.Stack()}
		}
		if err != nil {
			p.observerFailed(function, err)
		}
	}()
	f()
	err = nil
}

// observerFailed logs that a function of the Observer failed.
func (p *Pond) observerFailed(function string, err error) {
	limit, _ := p.observerPanics.LoadOrStore(function, new(panicLog))
	if suppressed, ok := limit.(*panicLog).allow(); ok {
		p.log(context.Background(), slog.LevelError, "pond: observer failed", //nolint:forbidigo // it belongs to no request
			slog.String("function", function), slog.Any("error", err), slog.Int("suppressed", suppressed))
	}
}

// panicLogInterval is the minimum time between two records of panics of the same
// handler. Without it, a client that can make a handler panic could fill the disk: a
// record with its stack is much longer than a message.
const panicLogInterval = time.Second

// maxPanicText limits the bytes of the value that a function panicked with. It may
// contain data of a client.
const maxPanicText = 1 << 10

// A panicLog limits the log records about the panics of one handler, or of one function
// of the Observer. The zero value is ready to use. It is safe for concurrent use.
type panicLog struct {
	mu         sync.Mutex // guards the following fields
	last       time.Time  // of the last panic that was logged
	suppressed int        // panics since then that were not logged
}

// allow reports whether a panic should be logged, and how many were not logged before.
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

// A panicError represents the result of a function that panicked. Clients never receive
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
