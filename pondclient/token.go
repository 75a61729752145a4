package pondclient

import (
	"context"
	"sync"
	"time"
)

// A TokenSource returns a token for the server, such as a fresh access token. The
// client calls it before it connects, when the last token is about to expire or
// was refused. It never calls it twice at the same time, and it does not call it
// again within a second.
//
// The context is done when the client closes or after the time of
// [WithConnectTimeout].
type TokenSource func(ctx context.Context) (Token, error)

// A Token is what a client identifies itself with.
type Token struct {
	// Value is sent to the server.
	Value string

	// Lifetime is how long the token is valid from now on, such as "expires_in"
	// of OAuth. Zero means until the server refuses it. It is a duration and no
	// point in time, so that clocks that differ do no harm.
	Lifetime time.Duration
}

const (
	// minRefresh is the shortest time between two calls of a token source.
	minRefresh = time.Second

	// tokenMargin is how long before its end a token is renewed, unless a tenth of
	// its lifetime is less.
	tokenMargin = time.Minute
)

// tokens keeps the current token, and gets new ones.
type tokens struct {
	source  TokenSource // static; nil if tokens are set by hand
	root    context.Context
	timeout time.Duration
	tasks   *sync.WaitGroup

	mu      sync.Mutex // guards the following fields
	value   string
	renew   time.Time // zero: never
	valid   bool      // value may be used
	asked   time.Time // when the source was called last
	version int       // counts what was set by hand, so that older results are dropped
	call    *tokenCall
}

// A tokenCall is a call of the source that is in progress.
type tokenCall struct {
	done  chan struct{} // closed at the end
	token Token         // set before that
	err   error         // set before that
}

// get returns the token to send, which may be empty.
func (t *tokens) get(ctx context.Context) (string, error) {
	for {
		t.mu.Lock()
		if t.source == nil || t.valid && (t.renew.IsZero() || time.Now().Before(t.renew)) {
			defer t.mu.Unlock()
			return t.value, nil
		}
		call := t.call
		if call == nil {
			call = t.callLocked()
		}
		t.mu.Unlock()
		select {
		case <-call.done:
			if call.err != nil {
				return "", call.err
			}
		case <-ctx.Done():
			return "", context.Cause(ctx)
		}
	}
}

// callLocked starts the source. Its end does not depend on who waits for it: the
// next attempt to connect uses the same call.
func (t *tokens) callLocked() *tokenCall {
	call := &tokenCall{done: make(chan struct{})}
	t.call = call
	version := t.version
	wait := max(0, minRefresh-time.Since(t.asked))
	if t.asked.IsZero() {
		wait = 0
	}
	t.tasks.Go(func() {
		ctx, cancel := context.WithTimeout(t.root, wait+t.timeout)
		defer cancel()
		if call.err = sleep(ctx, wait); call.err == nil {
			t.mu.Lock()
			t.asked = time.Now()
			t.mu.Unlock()
			call.token, call.err = t.source(ctx)
		}
		t.finish(call, version)
	})
	return call
}

// finish ends a call. Its token counts, unless another one was set meanwhile.
func (t *tokens) finish(call *tokenCall, version int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.call = nil
	if call.err == nil && version == t.version {
		t.value, t.valid, t.renew = call.token.Value, true, time.Time{}
		if life := call.token.Lifetime; life > 0 {
			t.renew = time.Now().Add(life - min(tokenMargin, life/10))
		}
	}
	if version != t.version {
		call.err = nil // who waits finds what was set
	}
	close(call.done)
}

// set sets the token by hand.
func (t *tokens) set(value string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.value, t.valid, t.renew = value, true, time.Time{}
	t.version++
}

// refused takes note that the server refused a token. It reports whether there may
// be another one.
func (t *tokens) refused(value string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.value != value {
		return true // it has changed already
	}
	if t.source == nil {
		return false
	}
	t.valid = false
	return true
}

// sleep waits for d.
func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
