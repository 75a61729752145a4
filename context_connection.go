package pond

import (
	"context"
	"net/http"
	"net/url"

	"github.com/pondsocket/pond/internal/pattern"
	"github.com/pondsocket/pond/internal/wire"
)

// stdContext is embedded with an unexported name, so that other packages cannot replace
// the context inside.
type stdContext = context.Context

// A ConnectionContext carries one request to connect. Like the other four contexts, it
// is a [context.Context] and belongs to its handler: do not use it after the handler
// returns, or from two goroutines at a time.
//
// It has the values of the request's context. The later contexts of the client do not:
// store values for later handlers with Assign.
type ConnectionContext struct {
	stdContext
	request   *http.Request
	conn      *conn
	params    pattern.Params
	transport Transport
	accepted  bool
	replies   []reply
}

type reply struct {
	event string
	body  []byte
}

// Request returns the client's HTTP request, with its headers, cookies and address. To
// set headers of the response, use a net/http middleware around the endpoint.
func (c *ConnectionContext) Request() *http.Request { return c.request }

// UserID returns the ID that the client will have.
func (c *ConnectionContext) UserID() string { return c.conn.id }

// Param returns a parameter of the endpoint's path, decoded, or "" if the path has
// none of that name. A parameter of the path is never empty. The value of the wildcard
// "*" is not decoded, but it is the same for equivalent paths: its percent sequences
// have upper-case digits, and unreserved characters are not encoded.
func (c *ConnectionContext) Param(name string) string { return c.params.Get(name) }

// Query returns the query parameters of the request. Unlike [url.URL.Query], it keeps
// malformed parts unchanged.
func (c *ConnectionContext) Query() url.Values { return query(c.request.URL.RawQuery) }

// query parses a query. The result is never nil.
func query(raw string) url.Values {
	if raw == "" {
		return url.Values{}
	}
	return pattern.ParseQuery(raw)
}

// Cookies returns the request's cookies by name. Values are percent-decoded if they are
// valid. If several cookies have the same name, the last one counts. To get a cookie
// unchanged, use [http.Request.Cookie].
func (c *ConnectionContext) Cookies() map[string]string {
	return parseCookies(c.request.Header.Values("Cookie"))
}

// Transport returns the transport that the client requested.
func (c *ConnectionContext) Transport() Transport { return c.transport }

// Assign sets private state of the client. Handlers can read it with Get; clients never
// receive it. Each membership of the client starts with a copy.
func (c *ConnectionContext) Assign(key string, value any) {
	c.conn.mu.Lock()
	defer c.conn.mu.Unlock()
	c.conn.assigns = assign(c.conn.assigns, key, value)
}

// Get returns private state that was set with Assign, or nil.
func (c *ConnectionContext) Get(key string) any { return User{conn: c.conn}.Get(key) }

// Accept accepts the client when the handler returns, unless it returns an error.
// If a handler returns without calling Accept, the client is declined with
// [http.StatusUnauthorized]. A second call returns [ErrDecided].
func (c *ConnectionContext) Accept() error {
	if c.accepted {
		return ErrDecided
	}
	c.accepted = true
	return nil
}

// Decline returns an error that rejects the client with an HTTP status and a message as
// the body. If code is zero, the status is [http.StatusUnauthorized]. Return the error:
//
//	return ctx.Decline(http.StatusForbidden, "not on the list")
func (c *ConnectionContext) Decline(code int, message string) error { return refuse(code, message) }

// Reply sends an event to the client as soon as it is connected. It returns
// [ErrNotAccepted] before Accept. Official clients do not show such events to their
// users.
func (c *ConnectionContext) Reply(event string, payload any) error {
	if !c.accepted {
		return ErrNotAccepted
	}
	body, err := wire.Object(payload)
	if err != nil {
		return err
	}
	c.replies = append(c.replies, reply{event, body})
	return nil
}
