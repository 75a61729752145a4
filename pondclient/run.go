package pondclient

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"time"
)

// fallbackTime is the time for which a client uses event streams before it tries a
// WebSocket again.
const fallbackTime = 10 * time.Minute

// A course is the state of the connecting goroutine across connections.
type course struct {
	backoff  backoff
	refused  int       // rejections in a row after which the client refreshed its token
	opened   bool      // a WebSocket was connected once, so WebSockets are not blocked
	stream   bool      // the next attempt is an event stream
	fallback time.Time // when to stop using event streams
	token    string    // of the last attempt
}

// run connects and reconnects until the client ends.
func (c *Client) run() {
	var failure error = &stoppedError{&ConnectionError{Err: errGoexit}} // unless it returns
	defer func() { c.ended(failure) }()
	c.keepConnecting()
	failure = nil
}

func (c *Client) keepConnecting() {
	k := course{backoff: backoff{first: c.cfg.first, most: c.cfg.most}}
	for c.ctx.Err() == nil {
		reason := c.visit(&k)
		if c.ctx.Err() != nil || c.isShut() {
			return
		}
		action := c.decide(reason, &k)
		if action == Stop {
			c.stop(reason)
			c.notify(reason, Stop, 0)
			c.waitRestart()
			k = course{backoff: backoff{first: c.cfg.first, most: c.cfg.most}, opened: k.opened}
			continue
		}
		delay := k.backoff.next(advised(reason))
		c.notify(reason, action, delay)
		c.pause(delay)
	}
}

// visit opens one connection, uses it until it ends, and returns the reason.
func (c *Client) visit(k *course) *ConnectionError {
	n, err := c.connect(k)
	if err != nil {
		err.attempted = true
		return err
	}
	k.refused, k.stream = 0, false
	if n.transport == WebSocket {
		k.opened = true
	} else if c.cfg.transport == Auto && k.fallback.IsZero() {
		k.fallback = time.Now().Add(fallbackTime)
	}
	c.observeConnected(n)
	began := time.Now()
	reason := c.serve(n)
	c.lost(n, reason)
	if time.Since(began) >= c.cfg.healthy {
		k.backoff.reset()
	}
	if reason.RetryAfter == 0 {
		reason.RetryAfter = n.takeAdvice()
	}
	return reason
}

// choose returns the transport of the next attempt.
func (c *Client) choose(k *course) Transport {
	if c.cfg.transport != Auto {
		return c.cfg.transport
	}
	if !k.fallback.IsZero() && !time.Now().Before(k.fallback) {
		k.fallback = time.Time{}
	}
	if k.stream || !k.fallback.IsZero() {
		return SSE
	}
	return WebSocket
}

// decide returns what to do about the end of a connection, or of an attempt.
func (c *Client) decide(reason *ConnectionError, k *course) Action {
	c.mu.Lock()
	c.failure = reason
	c.mu.Unlock()
	action := c.cfg.policy(reason)
	if c.cfg.transport == Auto && reason.attempted && reason.Transport == WebSocket {
		if !k.opened && mayBeBlocked(reason) {
			k.stream = true
			return Retry
		}
	} else if reason.attempted {
		k.stream = false
		k.fallback = time.Time{}
	}
	if action != Refresh {
		return action
	}
	k.refused++
	if k.refused > 1 || !c.tokens.refused(k.token) {
		return Stop
	}
	return Refresh
}

// mayBeBlocked reports whether a proxy or firewall may have caused the failure to open
// a WebSocket, so that an event stream might work.
func mayBeBlocked(e *ConnectionError) bool {
	switch e.Status {
	case 0:
		return e.reached || e.Code != 0
	case http.StatusNoContent, http.StatusUnauthorized, http.StatusForbidden,
		http.StatusTooManyRequests, http.StatusServiceUnavailable:
		return false
	default:
		return true
	}
}

// connect opens a connection and waits for the server's first message.
func (c *Client) connect(k *course) (*connection, *ConnectionError) {
	transport := c.choose(k)
	ctx, cancel := context.WithTimeoutCause(c.ctx, c.cfg.connectTimeout, ErrConnectTimeout)
	defer cancel()
	token, err := c.tokens.get(ctx)
	if err != nil {
		return nil, &ConnectionError{Transport: transport, Err: err}
	}
	k.token = token
	n := c.newConnection(transport)
	if failure := n.dial(ctx, token); failure != nil {
		n.abort(failure)
		return nil, failure
	}
	c.mu.Lock()
	c.attempt = n
	c.mu.Unlock()
	c.tasks.Go(n.read)
	if c.cfg.legacy {
		c.mu.Lock()
		if c.attempt == n {
			c.welcomeLocked(n, &frame{})
		}
		c.mu.Unlock()
	}
	select {
	case <-n.welcomed:
		return n, nil
	case <-n.ctx.Done():
	case <-ctx.Done():
	}
	c.mu.Lock()
	late := c.attempt == n
	c.attempt = nil
	c.mu.Unlock()
	if !late { // the first message arrived at the same time
		return n, nil
	}
	failure := n.reason()
	if failure == nil {
		failure = &ConnectionError{Transport: transport, Err: context.Cause(ctx)}
	}
	failure.reached = true
	n.cancel(failure)
	n.link.finish()
	n.abort(failure)
	return nil, failure
}

// serve writes to a connection until it ends or the client is closed.
func (c *Client) serve(n *connection) *ConnectionError {
	for {
		select {
		case <-n.ctx.Done():
			n.link.finish()
			n.abort(nil)
			return n.reason()
		case <-c.shut:
			n.link.shutdown()
			n.abort(&ConnectionError{Transport: n.transport, Err: ErrClosed})
			return n.reason()
		case <-n.wake:
		}
		n.flush()
	}
}

// pause waits before the next attempt.
func (c *Client) pause(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-c.nudge:
	case <-c.shut:
	case <-c.ctx.Done():
	}
}

// stop makes all operations fail until [Client.SetToken].
func (c *Client) stop(reason *ConnectionError) {
	c.mu.Lock()
	defer c.unlock()
	c.stopped = &stoppedError{reason}
	for _, m := range c.membershipsLocked() {
		c.stopLocked(m)
	}
	c.changedLocked()
	c.drainedLocked()
}

// waitRestart waits for [Client.SetToken], or the end.
func (c *Client) waitRestart() {
	for !c.running() {
		select {
		case <-c.nudge:
		case <-c.shut:
			return
		case <-c.ctx.Done():
			return
		}
	}
}

func (c *Client) running() bool {
	c.mu.Lock()
	defer c.unlock()
	return c.stopped == nil && !c.closed
}

func (c *Client) isShut() bool {
	select {
	case <-c.shut:
		return true
	default:
		return false
	}
}

// ended ends the client if it has not ended yet. Loops over events end with failure.
func (c *Client) ended(failure error) {
	_ = c.finish(ErrClosed, failure) // if the root context ended it
	c.cancel(ErrClosed)
	c.tasks.Wait()
	if c.own != nil {
		c.own.CloseIdleConnections()
	}
	close(c.done)
}

// notify reports to the observer and the log that there is no connection.
func (c *Client) notify(reason *ConnectionError, action Action, delay time.Duration) {
	level := slog.LevelInfo
	if action == Stop {
		level = slog.LevelWarn
	}
	c.cfg.logger.LogAttrs(c.ctx, level, "pondclient: not connected",
		slog.Any("error", reason), slog.Any("action", action), slog.Duration("retryIn", delay))
	if f := c.cfg.observer.Disconnected; f != nil {
		c.observed.do(func() { f(reason, action, delay) })
	}
}

func (c *Client) observeConnected(n *connection) {
	if f := c.cfg.observer.Connected; f != nil {
		id := c.UserID()
		c.observed.do(func() { f(id, n.transport) })
	}
}

// A stoppedError is [ErrStopped] with its reason.
type stoppedError struct{ reason *ConnectionError }

func (e *stoppedError) Error() string { return ErrStopped.Error() + ": " + e.reason.Error() }

func (e *stoppedError) Unwrap() []error { return []error{ErrStopped, e.reason} }

// asConnectionError converts the reason why a connection ended.
func asConnectionError(t Transport, err error) *ConnectionError {
	if e, ok := errors.AsType[*ConnectionError](err); ok {
		return e
	}
	return &ConnectionError{Transport: t, Err: err}
}
