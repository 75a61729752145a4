package pond

import (
	"context"
	"net/http"
	"net/url"

	"github.com/pondsocket/pond/internal/pattern"
	"github.com/pondsocket/pond/internal/wire"
)

// stdContext is embedded under a name that is not exported, so that nobody can
// replace the context inside one of ours.
type stdContext = context.Context

// A ConnectionContext carries one request to connect. Like the other four
// contexts it is a [context.Context] and belongs to its handler: do not use it
// when the handler has returned, nor from two goroutines at a time.
//
// It is the request's context, with its values. The later contexts of the client
// are not: put what handlers need into Assign.
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

// Request returns the client's HTTP request: its headers, cookies and address.
// Headers of the answer are not its business: set them on the ResponseWriter, in
// a middleware of net/http around the endpoint.
func (c *ConnectionContext) Request() *http.Request { return c.request }

// UserID returns the ID that the client will have.
func (c *ConnectionContext) UserID() string { return c.conn.id }

// Param returns a parameter of the endpoint's path, decoded, or "" if the path has
// none of that name. A parameter that the path has is never empty. The wildcard "*"
// is not decoded, but equivalent paths have the same one: its percent sequences have
// upper-case digits, and unreserved characters are not encoded.
func (c *ConnectionContext) Param(name string) string { return c.params.Get(name) }

// Query returns the query parameters of the request. Unlike [url.URL.Query] it
// keeps what is malformed as it is (rule S-1).
func (c *ConnectionContext) Query() url.Values { return query(c.request.URL.RawQuery) }

// query parses a query. The result is never nil.
func query(raw string) url.Values {
	if raw == "" {
		return url.Values{}
	}
	return pattern.ParseQuery(raw)
}

// Cookies returns the request's cookies by name, percent-decoded where that is
// possible. Of cookies with the same name, the last one counts. For a cookie as
// it was sent, use [http.Request.Cookie].
func (c *ConnectionContext) Cookies() map[string]string {
	return parseCookies(c.request.Header.Values("Cookie"))
}

// Transport returns how the client wants to be connected.
func (c *ConnectionContext) Transport() Transport { return c.transport }

// Assign sets private state of the client: handlers see it, clients never do.
// Channels that the client joins start with a copy.
func (c *ConnectionContext) Assign(key string, value any) {
	c.conn.mu.Lock()
	defer c.conn.mu.Unlock()
	c.conn.assigns = assign(c.conn.assigns, key, value)
}

// Get returns private state that was set with Assign, or nil.
func (c *ConnectionContext) Get(key string) any { return User{conn: c.conn}.Get(key) }

// Accept accepts the client when the handler returns, unless it returns an error.
// A client is declined with [http.StatusUnauthorized] unless Accept was called.
// Calling it twice returns [ErrDecided].
func (c *ConnectionContext) Accept() error {
	if c.accepted {
		return ErrDecided
	}
	c.accepted = true
	return nil
}

// Decline returns the error that refuses the client with an HTTP status, by
// default [http.StatusUnauthorized], and a message as the body. Return it:
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
