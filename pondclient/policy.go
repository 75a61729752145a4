package pondclient

import (
	"net/http"
	"time"

	"github.com/pondsocket/pond/internal/ws"
)

// An Action is what the client does when a connection cannot be made or ends.
type Action int

// The actions.
const (
	// Retry connects again after a delay.
	Retry Action = iota

	// Refresh gets a new token and connects again. Without a source of tokens,
	// or if the server refuses a new token as well, it is [Stop].
	Refresh

	// Stop gives up. Operations fail with [ErrStopped].
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

// DefaultAction is what the client does about e unless [WithPolicy] says
// otherwise. docs/goclient.md has it as a table.
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
	return Retry // 5xx, and 2xx that are not what was asked for: a proxy's page
}

// closeUnsupported is the close code of a peer that cannot use the kind of data that
// it got, RFC 6455 section 7.4.1.
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

// advised returns how long the server wants the client to stay away, for close
// codes that ask for more patience than an ordinary loss.
func advised(e *ConnectionError) time.Duration {
	if e.RetryAfter > 0 {
		return e.RetryAfter
	}
	switch e.Code {
	case ws.ClosePolicy: // it broke a limit, such as a rate
		return 10 * time.Second
	case ws.CloseTryAgainLater:
		return 2 * time.Second
	default:
		return 0
	}
}
