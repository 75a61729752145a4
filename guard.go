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

// Code of the application can panic, and it can end its goroutine with
// runtime.Goexit, as t.FailNow does. Code of the application is:
//
//   - handlers,
//   - methods of what handlers return and send: errors, details, payloads,
//   - functions of the Observer,
//   - the handler of the logger, and methods of what is logged.
//
// It runs inside call, which costs next to nothing but may not return, or inside
// isolate, which costs a goroutine.

// errExited stands for the result of a function that ended its goroutine.
var errExited = errors.New("the goroutine was ended (runtime.Goexit)")

// A panicError stands for the result of a function that panicked. Clients never see
// it.
type panicError struct {
	value any
	stack []byte
}

func (e *panicError) Error() string { return fmt.Sprintf("panic: %v\n%s", e.value, e.stack) }

// isolate calls f in a goroutine of its own and waits for it, so that f cannot end
// the goroutine of the caller. It returns a panicError or errExited unless f returns.
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

// call runs a handler on the goroutine of the caller, and then done, with nil if the
// handler succeeded. If the handler or a method of its error ends the goroutine, done
// still runs, but call does not return: what has to happen afterwards belongs in done
// or in a deferred function.
func call[C any](h Handler[C], ctx C, done func(*failure)) {
	f := exited
	defer func() {
		if v := recover(); v != nil {
			f = f.panicked(&panicError{v, debug.Stack()})
		}
		done(f)
	}()
	err := h(ctx)
	f = nil
	if !succeeded(err) {
		f = &failure{err: err, public: internalError}
		f.examine()
	}
}

// A failure is the error of a handler, taken apart, so that only examine calls
// methods of the error.
type failure struct {
	err    error  // that the handler returned, a panicError or errExited
	public *Error // what the client sees; its Details are encoded
	typed  bool   // the handler decided what the client sees
	broken error  // why public lacks a part of err
}

var (
	// internalError is what a client sees of an error that is not meant for it.
	internalError = &Error{Message: "internal error"}

	// exited is the failure of a handler that did not return.
	exited = &failure{err: errExited, public: internalError}
)

// examine takes the error apart. If a method of the error panics or ends the
// goroutine, f has what was found before.
func (f *failure) examine() {
	f.broken = errExited
	e := findError(f.err)
	if e != nil {
		f.typed = true
		f.public = &Error{Code: e.Code, Message: e.Message}
		if e.Details != nil {
			details, err := encodeDetails(e.Details)
			f.public.Details, f.broken = details, err
			return
		}
	}
	f.broken = nil
}

// panicked returns the failure of a handler that panicked, or f if a method of the
// handler's error panicked.
func (f *failure) panicked(p *panicError) *failure {
	if f == exited {
		return &failure{err: p, public: internalError}
	}
	f.broken = p
	return f
}

// error returns the error of the handler, or nil if it succeeded.
func (f *failure) error() error {
	if f == nil {
		return nil
	}
	return f.err
}

// hidden reports whether the client does not see all of the error, so that it must be
// logged.
func (f *failure) hidden() bool {
	return f != nil && (!f.typed || f.broken != nil || f.public.status() >= http.StatusInternalServerError)
}

// attrs returns what to log about the failure.
func (f *failure) attrs(attrs ...slog.Attr) []slog.Attr {
	attrs = append(attrs, slog.Any("error", f.err))
	if f.broken != nil {
		attrs = append(attrs, slog.Any("not_sent", f.broken))
	}
	return attrs
}

// logAttrs logs a record. If the handler of the logger fails, it may be because of
// one of the values, so it gets the record again without them.
func (p *Pond) logAttrs(ctx context.Context, level slog.Level, msg string, attrs ...slog.Attr) {
	err := isolate(func() { p.logger().LogAttrs(ctx, level, msg, attrs...) }) //nolint:sloglint // callers pass a literal
	if err == nil {
		return
	}
	_ = isolate(func() { // there is nowhere else to say it
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

// observerFailed logs that a function of the Observer failed, at most once a second
// for each function.
func (p *Pond) observerFailed(function string, err error) {
	more, ok := p.observerLog.allow(function)
	if ok {
		p.logAttrs(context.Background(), slog.LevelError, "pond: observer failed", //nolint:forbidigo // it belongs to no request
			slog.String("function", function), slog.Any("error", err), slog.Int("more", more))
	}
}

// A logLimit limits how often something is logged: once a second for each key.
type logLimit struct {
	mu   sync.Mutex // guards the following field
	keys map[string]*loggedKey
}

type loggedKey struct {
	next time.Time
	more int // how often it was not logged
}

// allow reports whether to log something now, and how often it was not logged
// before. There must be few keys.
func (l *logLimit) allow(key string) (more int, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.keys == nil {
		l.keys = map[string]*loggedKey{}
	}
	k := l.keys[key]
	if k == nil {
		k = new(loggedKey)
		l.keys[key] = k
	}
	now := time.Now()
	if now.Before(k.next) {
		k.more++
		return 0, false
	}
	more, k.more, k.next = k.more, 0, now.Add(time.Second)
	return more, true
}
