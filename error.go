package pond

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"reflect"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"github.com/pondsocket/pond/internal/wire"
)

// Errors of sending, joining and changing presence. A handler may return them, like any
// other [*Error].
var (
	// ErrClosed means that the connection, the channel or the Pond is closed.
	ErrClosed = known(http.StatusGone, "the connection or the channel is closed")

	// ErrNotMember means that the user is not a member of the channel, or not any more.
	ErrNotMember = known(http.StatusNotFound, "not a member of this channel")

	// ErrTracked means that the user already has a presence: use Update.
	ErrTracked = known(http.StatusConflict, "presence is already tracked")

	// ErrNotTracked means that the user has no presence: use Track.
	ErrNotTracked = known(http.StatusConflict, "presence is not tracked")

	// ErrOverloaded means that the message was not queued, because the queue is full: that
	// of all clients together, or that of the recipient of a reply (see [WithOutboxSize]).
	// Handlers of clients' messages are slowed down before the common queue is full; code
	// that sends outside of handlers must slow down itself.
	ErrOverloaded = known(http.StatusServiceUnavailable, "the send queue is full")

	// ErrNotAccepted means that a handler called a method that requires Accept before it
	// called Accept.
	ErrNotAccepted = errors.New("pond: Accept was not called")

	// ErrDecided means that the handler already called Accept.
	ErrDecided = errors.New("pond: Accept was already called")

	// ErrSlowClient is the cause of a disconnection if the client did not read its
	// messages in time: see [WithOutboxSize] and [WithWriteTimeout].
	ErrSlowClient = errors.New("pond: client too slow")
)

func known(code int, message string) error { return &Error{Code: code, Message: message} }

// An Error is an error for clients: if a handler returns one, the client receives its
// Code, Message and Details. Any other error is logged, and the client receives only
// [http.StatusInternalServerError] and "internal error".
//
// For handlers, a nil *Error that is returned as an error means success. So a handler
// may call a function that returns *Error and return its result.
type Error struct {
	// Code is an HTTP status code. Zero stands for 500.
	Code int
	// Message is a text for the client's developer or user.
	Message string
	// Details is encoded as JSON for the client, unless it is nil. If it cannot be
	// encoded, the client receives the error without it, and the error is logged.
	Details any
	// Err is the cause. It is logged, and never sent.
	Err error
}

// Errorf returns an [*Error] with a formatted message, which the client receives. An
// error that is wrapped with %w becomes [Error.Err], so [errors.Is] finds it. Its text
// is part of the message, like that of any other argument. To hide a cause from the
// client, set Err and do not include it in Message.
func Errorf(code int, format string, args ...any) error {
	err := fmt.Errorf(format, args...)
	e := &Error{Code: code, Message: err.Error()}
	switch wrapped := err.(type) { //nolint:errorlint // Errorf made it just now
	case interface{ Unwrap() error }:
		e.Err = wrapped.Unwrap()
	case interface{ Unwrap() []error }:
		e.Err = errors.Join(wrapped.Unwrap()...)
	}
	if succeeded(e.Err) {
		e.Err = nil
	}
	return e
}

// Error returns the code, the message and the cause.
func (e *Error) Error() string {
	if e == nil {
		return "no error"
	}
	text := fmt.Sprintf("%d %s", e.status(), e.Message)
	if e.Err != nil {
		text += ": " + e.Err.Error()
	}
	return text
}

// Unwrap returns the cause, if there is one.
func (e *Error) Unwrap() error {
	if e == nil {
		return nil
	}
	return e.Err
}

// status returns Code, or a valid HTTP status if Code is not one of an error.
func (e *Error) status() int {
	if e.Code < 400 || e.Code > 599 {
		return http.StatusInternalServerError
	}
	return e.Code
}

// joined is the interface of the errors that [errors.Join] returns.
var joined = reflect.TypeOf(errors.Join(ErrClosed))

// succeeded reports whether a handler that returned err succeeded: err is nil, a nil
// *Error, or joins only such errors.
func succeeded(err error) bool {
	switch e := err.(type) { //nolint:errorlint // an error that wraps nothing is an error
	case nil:
		return true
	case *Error:
		return e == nil
	case interface{ Unwrap() []error }:
		return reflect.TypeOf(err) == joined && !slices.ContainsFunc(e.Unwrap(), failed)
	}
	return false
}

func failed(err error) bool { return !succeeded(err) }

// findError returns the first *Error in the tree of err, or nil. Unlike
// [errors.AsType], it skips nil pointers.
func findError(err error) *Error {
	for err != nil {
		if e, ok := err.(*Error); ok { //nolint:errorlint // this is what looks into the tree
			return e
		}
		var e *Error
		if as, ok := err.(interface{ As(target any) bool }); ok && as.As(&e) && e != nil {
			return e
		}
		switch wrapper := err.(type) { //nolint:errorlint // the same
		case interface{ Unwrap() error }:
			err = wrapper.Unwrap()
		case interface{ Unwrap() []error }:
			for _, err := range wrapper.Unwrap() {
				if e := findError(err); e != nil {
					return e
				}
			}
			return nil
		default:
			return nil
		}
	}
	return nil
}

// public returns the part of an error of this package that a client may receive. For
// errors of handlers, see call.
func public(err error) *Error {
	if e := findError(err); e != nil {
		return e
	}
	return internalError
}

// payload returns the error in the form that all official clients understand.
func (e *Error) payload(code string) []byte {
	return wire.AppendErrorDetails(nil, code, e.Message, e.status(), e.details())
}

// encodeDetails encodes Details, which calls methods of the application.
func encodeDetails(details any) (any, error) {
	encoded, err := wire.Value(details)
	if err != nil {
		return nil, err
	}
	return json.RawMessage(encoded), nil
}

// details returns Details if they are encoded.
func (e *Error) details() []byte {
	encoded, _ := e.Details.(json.RawMessage)
	return encoded
}

// refuse returns the error of a rejected client.
func refuse(code int, message string) error {
	if code == 0 {
		code = http.StatusUnauthorized
	}
	if message == "" {
		message = http.StatusText(code)
	}
	return &Error{Code: code, Message: message}
}

// badPayload is the answer to a payload that does not fit its Go type. The decoder's
// text names Go types, so the client does not receive it.
func badPayload(err error) error {
	return &Error{Code: http.StatusBadRequest, Message: "the payload does not have the expected form", Err: err}
}

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
