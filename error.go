package pond

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/pondsocket/pond/internal/wire"
)

// Why sending, joining and changing presence can fail. Returned from a handler,
// they are an answer like any other [*Error].
var (
	// ErrClosed says that the connection, the channel or the Pond has ended.
	ErrClosed = known(http.StatusGone, "the connection or the channel is closed")

	// ErrNotMember says that the user is not, or no longer, in the channel.
	ErrNotMember = known(http.StatusNotFound, "not a member of this channel")

	// ErrTracked says that the user has a presence already: use Update.
	ErrTracked = known(http.StatusConflict, "presence is tracked already")

	// ErrNotTracked says that the user has no presence: use Track.
	ErrNotTracked = known(http.StatusConflict, "presence is not tracked")

	// ErrOverloaded says that so much is waiting to be sent that the message was
	// not queued. Handlers of clients' messages are slowed down before it comes
	// to that; whoever sends from elsewhere should slow down, too.
	ErrOverloaded = known(http.StatusServiceUnavailable, "too much is waiting to be sent")

	// ErrNotAccepted says that a handler used what only a member has before it
	// called Accept.
	ErrNotAccepted = errors.New("pond: Accept has not been called")

	// ErrDecided says that a handler has called Accept already.
	ErrDecided = errors.New("pond: Accept has been called already")

	// ErrSlowClient is the cause of a disconnection when the client did not read
	// what was sent to it: see [WithOutboxSize] and [WithWriteTimeout].
	ErrSlowClient = errors.New("pond: client too slow")
)

func known(code int, message string) error { return &Error{Code: code, Message: message} }

// An Error is an error that clients may see: its Code, Message and Details are
// sent to them. Return one from a handler to answer the client with it. Any
// other error is logged, and the client sees only [http.StatusInternalServerError]
// and "internal error".
type Error struct {
	// Code is an HTTP status code. Zero stands for 500.
	Code int
	// Message is read by the client's developer or user.
	Message string
	// Details is encoded as JSON for the client, unless it is nil.
	Details any
	// Err is the cause. It is logged, and never sent.
	Err error
}

// Errorf returns an [*Error] with a formatted message, which the client will
// read. An error that is wrapped with %w becomes [Error.Err] and is found by
// [errors.Is], and so its text is part of the message like that of any other
// argument. To keep a cause from the client, set Err and leave it out of Message.
func Errorf(code int, format string, args ...any) error {
	err := fmt.Errorf(format, args...)
	return &Error{Code: code, Message: err.Error(), Err: errors.Unwrap(err)}
}

// Error returns the code, the message and the cause.
func (e *Error) Error() string {
	text := fmt.Sprintf("%d %s", e.status(), e.Message)
	if e.Err != nil {
		text += ": " + e.Err.Error()
	}
	return text
}

// Unwrap returns the cause, if there is one.
func (e *Error) Unwrap() error { return e.Err }

// status returns Code as an HTTP status of an error.
func (e *Error) status() int {
	if e.Code < 400 || e.Code > 599 {
		return http.StatusInternalServerError
	}
	return e.Code
}

// public returns what a client may know of err.
func public(err error) *Error {
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	return &Error{Code: http.StatusInternalServerError, Message: "internal error", Err: err}
}

// internal reports whether the reason of err is for the log only.
func internal(err error) bool {
	e, ok := errors.AsType[*Error](err)
	return !ok || e.status() >= http.StatusInternalServerError
}

// payload returns the error in the form of rule S-16, which all official clients
// understand.
func (e *Error) payload(code string) []byte {
	return wire.AppendErrorDetails(nil, code, e.Message, e.status(), e.details())
}

// details returns Details as JSON, or nil.
func (e *Error) details() []byte {
	if e.Details == nil {
		return nil
	}
	details, err := wire.Value(e.Details)
	if err != nil {
		return nil
	}
	return details
}

// refuse is the error of a decision against a client.
func refuse(code int, message string) error {
	if code == 0 {
		code = http.StatusUnauthorized
	}
	if message == "" {
		message = http.StatusText(code)
	}
	return &Error{Code: code, Message: message}
}

// badPayload is the answer to a payload that does not fit its Go type. The
// decoder's text names Go types, so it stays here.
func badPayload(err error) error {
	return &Error{Code: http.StatusBadRequest, Message: "the payload does not have the expected form", Err: err}
}
