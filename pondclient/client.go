package pondclient

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// A Client is a connection to one endpoint of a server. It connects again when the
// connection is lost, and then joins its channels again. Its methods are safe for
// concurrent use.
type Client struct {
	// Static after New.
	cfg    config
	url    *url.URL // with the scheme http or https
	http   *http.Client
	own    *http.Transport // of http, unless the caller has chosen one
	tokens tokens
	ctx    context.Context // done when the client must end at once
	cancel context.CancelCauseFunc
	prefix string        // of all request IDs: no other client has it
	nudge  chan struct{} // has room for one: connect now
	shut   chan struct{} // closed when everything is sent and the client may end
	done   chan struct{} // closed when all goroutines have ended
	tasks  sync.WaitGroup

	observed queue // calls of the observer

	mu       sync.Mutex // guards the following fields
	changed  chan struct{}
	attempt  *connection // being made; nil if there is none
	conn     *connection // in use; nil if there is none
	failure  *ConnectionError
	stopped  error // wraps ErrStopped; nil unless the client stopped
	closing  bool  // nothing new is accepted
	closed   bool  // shut is closed
	channels map[string]*membership
	joined   uint64   // memberships begun so far, which orders them
	later    []func() // to be called when mu is released
	outbox
	heartbeat *time.Timer // every tick; nil after the end
	ticked    time.Time
}

// tick is how often the client looks for messages that expired, and for a pause of
// the whole machine.
const tick = 5 * time.Second

// closeWait is how long a client waits for the server when it closes a connection.
const closeWait = 500 * time.Millisecond

// New returns a client that begins to connect to an endpoint, such as
// "wss://example.com/socket", and keeps trying. The schemes are ws, wss, http and
// https. The caller must close the client.
func New(endpoint string, opts ...Option) (*Client, error) {
	u, err := parseEndpoint(endpoint)
	if err != nil {
		return nil, err
	}
	c := &Client{
		cfg:      defaults(),
		url:      u,
		prefix:   strings.ToLower(rand.Text()[:16]) + "-",
		nudge:    make(chan struct{}, 1),
		shut:     make(chan struct{}),
		done:     make(chan struct{}),
		changed:  make(chan struct{}),
		channels: map[string]*membership{},
		outbox:   outbox{requests: map[string]*outgoing{}},
	}
	for _, opt := range opts {
		opt(&c.cfg)
	}
	if err := c.cfg.check(); err != nil {
		return nil, err
	}
	c.ctx, c.cancel = context.WithCancelCause(c.cfg.root)
	c.tokens = tokens{
		source: c.cfg.source, value: c.cfg.token, valid: c.cfg.source == nil,
		root: c.ctx, timeout: c.cfg.connectTimeout, tasks: &c.tasks,
	}
	c.useHTTP()
	c.ticked = c.cfg.wall().Round(0)
	c.mu.Lock()
	c.heartbeat = time.AfterFunc(tick, c.onTick)
	c.mu.Unlock()
	go c.run()
	return c, nil
}

// Dial returns a client that is connected to an endpoint: see [New]. It waits until
// the server accepts the connection. Temporary failures are retried until ctx is
// done, so use a context with a deadline. Afterwards ctx has no effect.
func Dial(ctx context.Context, endpoint string, opts ...Option) (*Client, error) {
	c, err := New(endpoint, opts...)
	if err != nil {
		return nil, err
	}
	if err := c.Ready(ctx); err != nil {
		c.abandon()
		return nil, c.waitEnd(ctx, err)
	}
	return c, nil
}

// parseEndpoint returns the URL for net/http.
func parseEndpoint(endpoint string) (*url.URL, error) {
	u, err := url.Parse(endpoint)
	if err != nil {
		return nil, fmt.Errorf("pondclient: invalid URL: %w", errors.Unwrap(err)) // without the URL, which may have a token
	}
	switch u.Scheme {
	case "ws":
		u.Scheme = "http"
	case "wss":
		u.Scheme = "https"
	case "http", "https":
	default:
		return nil, fmt.Errorf("pondclient: invalid URL: scheme %q: want ws, wss, http or https", u.Scheme)
	}
	if u.Host == "" {
		return nil, errors.New("pondclient: invalid URL: no host")
	}
	u.Fragment = ""
	return u, nil
}

// useHTTP prepares the HTTP client.
func (c *Client) useHTTP() {
	var base http.Client
	if c.cfg.client != nil {
		base = *c.cfg.client
		base.Timeout = 0 // it would end connections
	} else {
		c.own = &http.Transport{
			Proxy:                 http.ProxyFromEnvironment,
			DialContext:           c.cfg.dial,
			TLSClientConfig:       c.cfg.tls,
			ForceAttemptHTTP2:     true,
			MaxIdleConnsPerHost:   1,
			IdleConnTimeout:       90 * time.Second,
			TLSHandshakeTimeout:   10 * time.Second,
			ExpectContinueTimeout: time.Second,
		}
		if c.cfg.proxy != nil {
			c.own.Proxy = c.cfg.proxy
		}
		base.Transport = c.own
	}
	follow := base.CheckRedirect
	base.CheckRedirect = func(req *http.Request, via []*http.Request) error {
		switch req.URL.Scheme { // a server may redirect to the scheme that it was asked for
		case "ws":
			req.URL.Scheme = "http"
		case "wss":
			req.URL.Scheme = "https"
		}
		if follow != nil {
			return follow(req, via)
		}
		if len(via) >= 10 {
			return errors.New("stopped after 10 redirects")
		}
		return nil
	}
	c.http = &base
}

// Ready waits until the client is connected. It fails if the client stopped or is
// closed, or when ctx is done; then the error has the last failure as well.
func (c *Client) Ready(ctx context.Context) error {
	for {
		c.mu.Lock()
		changed := c.changed
		err := c.stateLocked()
		ready := c.conn != nil
		c.mu.Unlock()
		switch {
		case err != nil:
			return err
		case ready:
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			c.mu.Lock()
			defer c.unlock()
			return withFailure("not connected", context.Cause(ctx), c.failure)
		}
	}
}

// withFailure returns the error of an operation that ended before the client was
// connected.
func withFailure(what string, err error, failure *ConnectionError) error {
	if failure == nil {
		return fmt.Errorf("pondclient: %s: %w", what, err)
	}
	return fmt.Errorf("pondclient: %s: %w: last attempt: %w", what, err, failure)
}

// stateLocked returns why the client does not work any more.
func (c *Client) stateLocked() error {
	switch {
	case c.closing:
		return ErrClosed
	default:
		return c.stopped
	}
}

// changedLocked wakes those who wait for a change of the client's state.
func (c *Client) changedLocked() {
	close(c.changed)
	c.changed = make(chan struct{})
}

// UserID returns the ID that the server gave to this connection, or "" while the
// client is not connected. It changes with each connection.
func (c *Client) UserID() string {
	c.mu.Lock()
	defer c.unlock()
	if c.conn == nil {
		return ""
	}
	return c.conn.userID
}

// Features returns what the server offers in addition to the official protocol,
// such as "recover". It is nil while the client is not connected.
func (c *Client) Features() []string {
	c.mu.Lock()
	defer c.unlock()
	if c.conn == nil {
		return nil
	}
	return slices.Clone(c.conn.features)
}

// Transport returns the transport of the connection, or "" while the client is not
// connected.
func (c *Client) Transport() Transport {
	c.mu.Lock()
	defer c.unlock()
	if c.conn == nil {
		return ""
	}
	return c.conn.transport
}

// Wake tells the client that the network may have changed, as when a machine wakes
// up. A client that waits to connect tries once at once; one that is connected
// checks its connection.
func (c *Client) Wake() {
	c.mu.Lock()
	conn := c.conn
	c.mu.Unlock()
	if conn != nil {
		conn.probeNow()
		return
	}
	c.connectNow()
}

func (c *Client) connectNow() {
	select {
	case c.nudge <- struct{}{}:
	default:
	}
}

// SetToken sets the token for further connections. A client that stopped because
// the server refused it connects again.
func (c *Client) SetToken(token string) {
	c.tokens.set(token)
	c.mu.Lock()
	restart := c.stopped != nil && !c.closing
	if restart {
		c.stopped = nil
		for _, m := range c.channels {
			m.resume()
		}
		c.changedLocked()
	}
	c.mu.Unlock()
	if restart {
		c.connectNow()
	}
}

// onTick runs every few seconds.
func (c *Client) onTick() {
	c.mu.Lock()
	defer c.unlock()
	if c.heartbeat == nil {
		return
	}
	c.heartbeat.Reset(tick)
	c.expireLocked(time.Now())
	now := c.cfg.wall().Round(0) // the clock on the wall goes on while a machine sleeps
	asleep := now.Sub(c.ticked) > 2*tick
	c.ticked = now
	if !asleep {
		return
	}
	if c.conn != nil {
		c.conn.probeNow()
	} else {
		c.connectNow()
	}
}

// Close sends what waits to be sent, and closes the client. If ctx is done first,
// or if the client stopped, it returns an [*UnsentError] with the messages that were
// not sent. Nothing new is accepted in the meantime. When Close returns, requests
// without an answer have failed, loops over events have ended, and no goroutine is
// left. A second call waits for the first.
func (c *Client) Close(ctx context.Context) error {
	c.mu.Lock()
	first := !c.closing
	c.closing = true
	c.changedLocked()
	c.mu.Unlock()
	if !first {
		return c.waitEnd(ctx, nil)
	}
	cause := c.flush(ctx, nil)
	return c.waitEnd(ctx, c.finish(cause))
}

// waitEnd waits until no goroutine is left.
func (c *Client) waitEnd(ctx context.Context, err error) error {
	select {
	case <-c.done:
		return err
	case <-ctx.Done():
	}
	c.cancel(ErrClosed) // no time for a close frame
	timer := time.NewTimer(closeWait)
	defer timer.Stop()
	select {
	case <-c.done:
		return err
	case <-timer.C: // a dialer or a token source ignores its context
		if err == nil {
			err = fmt.Errorf("pondclient: close: %w", context.Cause(ctx))
		}
		return err
	}
}

// finish lets the client end. It returns what was not sent, if there is a cause.
func (c *Client) finish(cause error) error {
	c.mu.Lock()
	defer c.unlock()
	c.closing = true
	if c.closed {
		return nil
	}
	c.closed = true
	unsent := c.discardLocked(nil, true, ErrClosed)
	for _, m := range c.membershipsLocked() {
		c.endLocked(m, nil, ErrClosed)
	}
	c.drainedLocked()
	c.heartbeat.Stop()
	c.heartbeat = nil
	close(c.shut)
	if c.conn == nil {
		c.cancel(ErrClosed)
	}
	c.changedLocked()
	if len(unsent) == 0 {
		return nil
	}
	return &UnsentError{unsent, cause}
}

// abandon ends the client without sending anything.
func (c *Client) abandon() {
	_ = c.finish(ErrClosed)
	c.cancel(ErrClosed)
}

// nextIDLocked returns a new request ID. Servers pass IDs on to other clients, so
// it must be unique among all of them.
func (c *Client) nextIDLocked() string {
	c.serial++
	return c.prefix + strconv.FormatUint(c.serial, 36)
}

// membershipsLocked returns all memberships, the oldest first.
func (c *Client) membershipsLocked() []*membership {
	all := make([]*membership, 0, len(c.channels))
	for _, m := range c.channels {
		all = append(all, m)
	}
	slices.SortFunc(all, func(a, b *membership) int { return int(a.number - b.number) }) //nolint:gosec // small numbers
	return all
}

// laterLocked has f called when the lock is released: for the logger and the observer,
// which may take their time.
func (c *Client) laterLocked(f func()) { c.later = append(c.later, f) }

// unlock releases the lock, and calls what was left for later.
func (c *Client) unlock() {
	later := c.later
	c.later = nil
	c.mu.Unlock()
	for _, f := range later {
		f()
	}
}

// warnLocked logs what should not happen.
func (c *Client) warnLocked(what string, attrs ...slog.Attr) {
	c.laterLocked(func() {
		c.cfg.logger.LogAttrs(c.ctx, slog.LevelWarn, "pondclient: unexpected", append(attrs, slog.String("what", what))...)
	})
}
