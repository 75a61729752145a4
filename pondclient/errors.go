package pondclient

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/pondsocket/pond"
)

// Why operations fail. Errors of the server are a [*pond.Error], those of the
// connection a [*ConnectionError].
var (
	// ErrClosed means that the client is closed or closing.
	ErrClosed = errors.New("pondclient: the client is closed")

	// ErrStopped means that the client gave up connecting. The error wraps the
	// [*ConnectionError] that made it do so.
	ErrStopped = errors.New("pondclient: the client stopped connecting")

	// ErrLeft means that this Channel was left.
	ErrLeft = errors.New("pondclient: the channel was left")

	// ErrQueueFull means that a message was not queued because too much waits to
	// be sent: see [WithQueue].
	ErrQueueFull = errors.New("pondclient: too much is waiting to be sent")

	// ErrExpired means that a message waited too long for a connection, and was
	// not sent: see [WithQueue].
	ErrExpired = errors.New("pondclient: the message waited too long and was not sent")

	// ErrDiscarded means that [Channel.Discard] removed the message.
	ErrDiscarded = errors.New("pondclient: the message was discarded and not sent")

	// ErrUnknownOutcome means that the connection was lost, or the caller gave
	// up, after the message was sent and before it was answered. The server may
	// have handled it or not.
	ErrUnknownOutcome = errors.New("pondclient: the outcome is unknown: the message was sent, but not answered")

	// ErrInUse means that another loop is using the events of this Channel.
	ErrInUse = errors.New("pondclient: another loop is using the events of this channel")

	// ErrJoinedOtherwise means that the client is in the channel already, with
	// other parameters or options, which it shares among all that join it.
	ErrJoinedOtherwise = errors.New("pondclient: the channel is already joined with other options")

	// ErrConnectTimeout is the cause of a [ConnectionError] if connecting took
	// too long: see [WithConnectTimeout].
	ErrConnectTimeout = errors.New("the server did not accept the connection in time")

	// ErrSilence is the cause of a [ConnectionError] if nothing arrived for too
	// long: see [WithHeartbeat].
	ErrSilence = errors.New("nothing arrived for too long")
)

// A RemovedError is why the events of a channel end when the server removes the
// client from it.
type RemovedError struct {
	// Channel is the name of the channel.
	Channel string

	// Closed reports that the channel itself was closed. Otherwise this client
	// was evicted.
	Closed bool

	// Reason is the text of the server. It may be empty.
	Reason string
}

func (e *RemovedError) Error() string {
	what := "evicted from"
	if e.Closed {
		what = "the server closed"
	}
	return withReason(fmt.Sprintf("pondclient: %s channel %q", what, e.Channel), e.Reason)
}

// An UnsentError is what [Client.Close] and [Channel.Leave] return if they could
// not send everything.
type UnsentError struct {
	// Messages are the messages that were not sent, the oldest first.
	Messages []Unsent
	// Err is why: the error of the context, or one that wraps [ErrStopped].
	Err error
}

// An Unsent is a message that was not sent, or only perhaps.
type Unsent struct {
	Channel string
	Event   string
	Payload json.RawMessage

	// Unknown reports that sending had begun, so it may have arrived.
	Unknown bool
}

func (e *UnsentError) Error() string {
	return fmt.Sprintf("pondclient: messages that were not sent: %d: %v", len(e.Messages), e.Err)
}

func (e *UnsentError) Unwrap() error { return e.Err }

// A ConnectionError says why a connection could not be made or ended. [Action]
// says what the client does about it.
type ConnectionError struct {
	// Transport is that of the connection.
	Transport Transport

	// Status is the HTTP status with which the server refused the connection, or
	// a message of an event stream. It is zero if it did not.
	Status int

	// Code is the close code of the WebSocket, zero if there was none. 1005
	// means that the server's close frame had no code.
	Code int

	// Reason is the text of the refusal or of the close frame.
	Reason string

	// RetryAfter is when the server wants to see the client again. It is zero if
	// the server did not say. The function of [WithPolicy] may change it.
	RetryAfter time.Duration

	// Err is why there is no status and no code: an error of the network,
	// [ErrConnectTimeout], [ErrSilence], or an error of the token source.
	Err error

	attempted bool // it failed before the server said CONNECTION
	reached   bool // the server or a proxy was connected
}

// Attempted reports whether the connection could not be made. Otherwise it was in
// use.
func (e *ConnectionError) Attempted() bool { return e.attempted }

func (e *ConnectionError) Error() string {
	switch {
	case e.Status != 0:
		text := strconv.Itoa(e.Status)
		if name := http.StatusText(e.Status); name != "" {
			text += " " + name
		}
		return withReason("connection refused with status "+text, e.Reason)
	case e.Code != 0:
		return withReason("connection closed with code "+strconv.Itoa(e.Code), e.Reason)
	case e.attempted:
		return fmt.Sprintf("cannot connect: %v", e.Err)
	default:
		return fmt.Sprintf("connection lost: %v", e.Err)
	}
}

func (e *ConnectionError) Unwrap() error { return e.Err }

func withReason(text, reason string) string {
	if reason == "" {
		return text
	}
	return text + ": " + reason
}

// A Code is the code of an error of the server, such as "CHANNEL_NOT_FOUND". It is
// the cause of the [*pond.Error], for errors.Is.
type Code string

func (c Code) Error() string { return string(c) }

// serverError returns the error in a payload, which each kind of server writes in
// another form.
func serverError(event string, payload json.RawMessage) *pond.Error {
	var p struct {
		Code       json.RawMessage `json:"code"`
		Message    string          `json:"message"`
		Status     int             `json:"status"`
		StatusCode int             `json:"statusCode"`
		Error      json.RawMessage `json:"error"`
		Details    json.RawMessage `json:"details"`
	}
	_ = json.Unmarshal(payload, &p) // what does not fit stays empty
	e := &pond.Error{Code: p.Status, Message: p.Message}
	if e.Code == 0 {
		e.Code = p.StatusCode
	}
	code := event
	if n, err := strconv.Atoi(string(p.Code)); err == nil && e.Code == 0 {
		e.Code = n
	} else if text := text(p.Code); text != "" {
		code = text
	}
	var inner struct {
		Message string `json:"message"`
		Status  int    `json:"status"`
	}
	if json.Unmarshal(p.Error, &inner) == nil {
		if e.Code == 0 {
			e.Code = inner.Status
		}
		if e.Message == "" {
			e.Message = inner.Message
		}
	} else if e.Message == "" {
		e.Message = text(p.Error)
	}
	if e.Code < 400 || e.Code > 599 {
		e.Code = statusOf(event)
	}
	if e.Message == "" {
		e.Message = http.StatusText(e.Code)
	}
	if len(p.Details) > 0 {
		e.Details = p.Details
	}
	e.Err = Code(code)
	return e
}

// text returns the JSON string raw stands for, or "".
func text(raw json.RawMessage) (s string) {
	_ = json.Unmarshal(raw, &s)
	return s
}

// statusOf returns the status of an error that has none.
func statusOf(event string) int {
	switch event {
	case notFound, "CHANNEL_NOT_FOUND":
		return http.StatusNotFound
	case "UNAUTHORIZED", "UNAUTHORIZED_JOIN_REQUEST":
		return http.StatusUnauthorized
	case "INVALID_MESSAGE":
		return http.StatusBadRequest
	default:
		return http.StatusInternalServerError
	}
}
