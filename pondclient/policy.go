package pondclient

import (
	"net/http"
	"time"

	"github.com/pondsocket/pond/internal/ws"
)

// An Action is the reaction of the client when an attempt to connect fails or a
// connection ends.
type Action int

// The actions.
const (
	// Retry reconnects after a delay.
	Retry Action = iota

	// Refresh gets a new token and reconnects. If there is no source of tokens, or if the
	// server rejects the new token as well, Refresh is the same as [Stop].
	Refresh

	// Stop stops the client. Operations fail with [ErrStopped].
	Stop
)

func (a Action) String() string {
	switch a {
	case Retry:
		return "retry"
	case Refresh:
		return "refresh"
	default:
		return "stop"
	}
}

// DefaultAction returns the reaction to e without [WithPolicy]. The table in
// docs/goclient.md lists all of them.
func DefaultAction(e *ConnectionError) Action {
	switch {
	case e.Status != 0:
		return statusAction(e.Status)
	case e.Code != 0:
		return closeAction(e.Code)
	default:
		return Retry
	}
}

func statusAction(status int) Action {
	switch status {
	case http.StatusUnauthorized, http.StatusForbidden:
		return Refresh
	case http.StatusNotImplemented, http.StatusHTTPVersionNotSupported:
		return Stop
	case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests:
		return Retry
	case http.StatusNoContent: // stops an EventSource, too
		return Stop
	}
	if status >= 300 && status < 500 {
		return Stop
	}
	return Retry // 5xx, and unexpected 2xx, such as a page of a proxy
}

// closeUnsupported is the close code of a peer that received a type of data that it
// does not support, RFC 6455 section 7.4.1.
const closeUnsupported = 1003

func closeAction(code int) Action {
	switch code {
	case ws.CloseProtocolError, closeUnsupported, ws.CloseInvalidPayload:
		return Stop
	}
	if code >= 4400 && code <= 4599 { // 4000 + an HTTP status
		return statusAction(code - 4000)
	}
	return Retry
}

// advised returns the minimum delay before a reconnect: the one that the server
// advised, or one for close codes that require a longer delay.
func advised(e *ConnectionError) time.Duration {
	if e.RetryAfter > 0 {
		return e.RetryAfter
	}
	switch e.Code {
	case ws.ClosePolicy: // the client exceeded a limit, such as a rate
		return 10 * time.Second
	case ws.CloseTryAgainLater:
		return 2 * time.Second
	default:
		return 0
	}
}
