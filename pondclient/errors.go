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

// Errors of operations. In addition, an error from the server is a [*pond.Error], and
// an error of the connection is a [*ConnectionError].
var (
	// ErrClosed means that the client is closed or closing.
	ErrClosed = errors.New("pondclient: the client is closed")

	// ErrStopped means that the client stopped connecting. The error wraps the
	// [*ConnectionError] that caused this.
	ErrStopped = errors.New("pondclient: the client stopped connecting")

	// ErrLeft means that this Channel was left.
	ErrLeft = errors.New("pondclient: the channel was left")

	// ErrQueueFull means that a message was not queued because the queue is full: see
	// [WithQueue].
	ErrQueueFull = errors.New("pondclient: the queue is full")

	// ErrExpired means that a message was in the queue for too long, and was not sent: see
	// [WithQueue].
	ErrExpired = errors.New("pondclient: the message was queued for too long and was not sent")

	// ErrDiscarded means that [Channel.Discard] removed the message.
	ErrDiscarded = errors.New("pondclient: the message was discarded and not sent")

	// ErrUnknownOutcome means that the connection was lost, or the context was done, after
	// the message was sent and before it was answered. The server may have handled the
	// message or not.
	ErrUnknownOutcome = errors.New("pondclient: the outcome is unknown: the message was sent, but not answered")

	// ErrInUse means that another loop is using the events of this Channel.
	ErrInUse = errors.New("pondclient: another loop is using the events of this channel")

	// ErrJoinedOtherwise means that the client is already in the channel, with other
	// parameters or options. All Channels of the same name share them.
	ErrJoinedOtherwise = errors.New("pondclient: the channel is already joined with other options")

	// ErrConnectTimeout is the cause of a [ConnectionError] if connecting took
	// too long: see [WithConnectTimeout].
	ErrConnectTimeout = errors.New("the server did not accept the connection in time")

	// errGoexit is the cause if a function of the program did not return.
	errGoexit = errors.New("a function of the program called runtime.Goexit")

	// ErrSilence is the cause of a [ConnectionError] if no data arrived in time: see
	// [WithHeartbeat].
	ErrSilence = errors.New("no data arrived in time")
)

// A RemovedError is the error of [Channel.Events] when the server removes the client
// from the channel.
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

// An UnsentError is the error of [Client.Close] and [Channel.Leave] if they could not
// send all messages.
type UnsentError struct {
	// Messages are the messages that were not sent, the oldest first.
	Messages []Unsent
	// Err is the reason: the error of the context, or one that wraps [ErrStopped].
	Err error
}

// An Unsent is a message that was not sent, or that may not have been sent.
type Unsent struct {
	Channel string
	Event   string
	Payload json.RawMessage

	// Unknown reports that the client started to send the message, so it may have arrived.
	Unknown bool
}

func (e *UnsentError) Error() string {
	return fmt.Sprintf("pondclient: messages that were not sent: %d: %v", len(e.Messages), e.Err)
}

func (e *UnsentError) Unwrap() error { return e.Err }

// A ConnectionError is the reason why an attempt to connect failed or a connection
// ended. The [Action] depends on it.
type ConnectionError struct {
	// Transport is the transport of the connection.
	Transport Transport

	// Status is the HTTP status with which the server rejected the connection, or a POST
	// request of an event stream. It is zero if there is none.
	Status int

	// Code is the close code of the WebSocket, or zero if there was none. 1005 means that
	// the server's close frame had no code.
	Code int

	// Reason is the text of the response or of the close frame.
	Reason string

	// RetryAfter is the delay before a reconnect that the server advised, or zero. The
	// function of [WithPolicy] may change it.
	RetryAfter time.Duration

	// Err is the cause if there is no status and no code: an error of the network,
	// [ErrConnectTimeout], [ErrSilence], or an error of the token source.
	Err error

	attempted bool // it failed before the server's first message
	reached   bool // the server or a proxy accepted the network connection
}

// Established reports whether the connection was established and then lost. Otherwise, an
// attempt to connect failed.
func (e *ConnectionError) Established() bool { return !e.attempted }

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

// A Code is the code of an error from the server, such as "CHANNEL_NOT_FOUND". A
// [*pond.Error] from the server wraps it, so use it with errors.Is.
type Code string

func (c Code) Error() string { return string(c) }

// serverError returns the error in a payload. Its form depends on the server.
func serverError(event string, payload json.RawMessage) *pond.Error {
	var p struct {
		Code       json.RawMessage `json:"code"`
		Message    string          `json:"message"`
		Status     int             `json:"status"`
		StatusCode int             `json:"statusCode"`
		Error      json.RawMessage `json:"error"`
		Details    json.RawMessage `json:"details"`
	}
	_ = json.Unmarshal(payload, &p) // fields of other types stay empty
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

// text returns the string that raw encodes, or "".
func text(raw json.RawMessage) (s string) {
	_ = json.Unmarshal(raw, &s)
	return s
}

// statusOf returns a status for an error without one.
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
