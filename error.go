package pond

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"slices"

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
