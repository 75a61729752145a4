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

// A Client is a connection to one endpoint of a server. When the connection is lost, it
// reconnects and joins its channels again. Its methods are safe for concurrent use.
type Client struct {
	// Static after New.
	cfg    config
	url    *url.URL // with the scheme http or https
	http   *http.Client
	own    *http.Transport // of http, unless the caller set one
	tokens tokens
	ctx    context.Context // done when the client must end at once
	cancel context.CancelCauseFunc
	prefix string        // of all request IDs; different in each client
	nudge  chan struct{} // a value means: connect now; its capacity is one
	shut   chan struct{} // closed when all messages are sent and the client may end
	done   chan struct{} // closed when all goroutines ended
	tasks  sync.WaitGroup

	observed queue // calls the observer

	mu       sync.Mutex // guards the following fields
	changed  chan struct{}
	attempt  *connection // in progress; nil if there is none
	conn     *connection // in use; nil if there is none
	failure  *ConnectionError
	stopped  error // wraps ErrStopped; nil unless the client stopped
	closing  bool  // no new messages are accepted
	closed   bool  // shut is closed
	channels map[string]*membership
	joined   uint64   // number of memberships so far, which orders them
	later    []func() // to be called when mu is released
	outbox
	heartbeat *time.Timer // every tick; nil after the end
	ticked    time.Time
}

// tick is the interval at which the client looks for expired messages, and checks
// whether the machine slept.
const tick = 5 * time.Second

// closeWait limits the time that a client waits for the server when it closes a
// connection.
const closeWait = 500 * time.Millisecond

// New returns a client that connects to an endpoint, such as
// "wss://example.com/socket", in the background, and retries until it succeeds. The
// schemes are ws, wss, http and https. The caller must close the client.
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

// Dial is like [New], but waits until the server accepts the connection. It retries
// temporary failures until ctx is done, so use a context with a deadline. After Dial
// returns, ctx has no effect.
func Dial(ctx context.Context, endpoint string, opts ...Option) (*Client, error) {
	if ctx.Err() != nil {
		return nil, fmt.Errorf("pondclient: not connected: %w", context.Cause(ctx))
	}
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
		return nil, fmt.Errorf("pondclient: invalid URL: %w", errors.Unwrap(err)) // without the URL, which may contain a token
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
			Proxy:             http.ProxyFromEnvironment,
			DialContext:       c.cfg.dial,
			TLSClientConfig:   c.cfg.tls,
			ForceAttemptHTTP2: true,

			// Otherwise, HTTP/2 uses a dead connection for the next attempts as well.
			HTTP2:                 &http.HTTP2Config{SendPingTimeout: c.cfg.probeAfter, PingTimeout: c.cfg.probeTimeout},
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
		switch req.URL.Scheme { // a server may redirect to the scheme of the request
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

// Ready waits until the client is connected. It returns an error if the client stopped,
// is closed, or ctx is done first; in the last case, the error also wraps the last
// failure.
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

// stateLocked returns the reason if the client is closed or stopped.
func (c *Client) stateLocked() error {
	switch {
	case c.closing:
		return ErrClosed
	default:
		return c.stopped
	}
}

// changedLocked wakes the goroutines that wait for a change of the client's state.
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

// Features returns the extensions of the protocol that the server offers, such as
// "recover". It is nil while the client is not connected.
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

// Wake tells the client that the network may have changed, for example when a machine
// wakes up. A client that waits to reconnect tries once immediately. A client that is
// connected checks its connection.
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

// SetToken sets the token for further connections. A client that stopped because the
// server rejected its token connects again.
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
	now := c.cfg.wall().Round(0) // only the wall clock advances while the machine sleeps
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

// Close sends the queued messages and closes the client. If ctx is done first, or if
// the client stopped, it returns an [*UnsentError] with the messages that were not
// sent. While Close runs, the client accepts no new messages. When Close returns,
// requests without an answer have failed, loops over events have ended, and no
// goroutine of the client remains. A second call waits for the first.
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
	return c.waitEnd(ctx, c.finish(cause, nil))
}

// waitEnd waits until all goroutines of the client ended.
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

// finish ends the client. Loops over events end with failure. If cause is not nil, it
// returns the messages that were not sent.
func (c *Client) finish(cause, failure error) error {
	c.mu.Lock()
	defer c.unlock()
	c.closing = true
	if c.closed {
		return nil
	}
	c.closed = true
	unsent := c.discardLocked(nil, true, ErrClosed)
	for _, m := range c.membershipsLocked() {
		c.endLocked(m, failure, ErrClosed)
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

// abandon ends the client without sending the queued messages.
func (c *Client) abandon() {
	_ = c.finish(ErrClosed, nil)
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

// laterLocked calls f when the lock is released. It is for the logger and the observer,
// which may be slow.
func (c *Client) laterLocked(f func()) { c.later = append(c.later, f) }

// unlock releases the lock, and calls the functions of laterLocked.
func (c *Client) unlock() {
	later := c.later
	c.later = nil
	c.mu.Unlock()
	callAll(later)
}

// callAll calls all functions, even if one of them panics.
func callAll(calls []func()) {
	if len(calls) > 0 {
		defer callAll(calls[1:])
		calls[0]()
	}
}

// warnLocked logs an event that should not happen.
func (c *Client) warnLocked(what string, attrs ...slog.Attr) {
	c.laterLocked(func() {
		c.cfg.logger.LogAttrs(c.ctx, slog.LevelWarn, "pondclient: unexpected", append(attrs, slog.String("what", what))...)
	})
}
