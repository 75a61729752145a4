package pondclient

import (
	"context"
	"sync"
	"time"
)

// A TokenSource returns a token for the server, such as a fresh access token. The
// client calls it before it connects, if the last token is about to expire or was
// rejected. Calls never overlap, and there is at least one second between two calls.
//
// The context is done when the client closes or after the time of
// [WithConnectTimeout].
type TokenSource func(ctx context.Context) (Token, error)

// A Token is a credential of a client.
type Token struct {
	// Value is sent to the server.
	Value string

	// Lifetime is how long the token is valid from now on, such as "expires_in"
	// of OAuth. Zero means until the server rejects it. It is a duration and not a point
	// in time, so it does not depend on synchronized clocks.
	Lifetime time.Duration
}

const (
	// minRefresh is the minimum time between two calls of a token source.
	minRefresh = time.Second

	// tokenMargin is the time before the end of its lifetime at which a token is renewed,
	// unless a tenth of the lifetime is shorter.
	tokenMargin = time.Minute
)

// tokens stores the current token, and gets new ones.
type tokens struct {
	source  TokenSource // static; nil if only SetToken sets tokens
	root    context.Context
	timeout time.Duration
	tasks   *sync.WaitGroup

	mu      sync.Mutex // guards the following fields
	value   string
	renew   time.Time // zero: never
	valid   bool      // value may be used
	asked   time.Time // when the source was last called
	version int       // counts calls of set, so that older results are dropped
	call    *tokenCall
}

// A tokenCall is a call of the source that is in progress.
type tokenCall struct {
	done  chan struct{} // closed at the end
	token Token         // set before that
	err   error         // set before that

	dropped bool // another token was set meanwhile
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
			if call.err != nil || !call.dropped {
				return call.token.Value, call.err
			}
		case <-ctx.Done():
			return "", context.Cause(ctx)
		}
	}
}

// callLocked starts a call of the source. The call continues even if its caller stops
// waiting: the next attempt to connect uses the same call.
func (t *tokens) callLocked() *tokenCall {
	call := &tokenCall{done: make(chan struct{})}
	t.call = call
	version := t.version
	wait := max(0, minRefresh-time.Since(t.asked))
	if t.asked.IsZero() {
		wait = 0
	}
	t.tasks.Go(func() {
		defer t.finish(call, version)
		ctx, cancel := context.WithTimeout(t.root, wait+t.timeout)
		defer cancel()
		if call.err = sleep(ctx, wait); call.err == nil {
			t.mu.Lock()
			t.asked = time.Now()
			t.mu.Unlock()
			call.err = errGoexit // unless the source returns
			call.token, call.err = t.source(ctx)
		}
	})
	return call
}

// finish ends a call. It stores the token, unless another one was set in the meantime.
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
		call.dropped, call.err = true, nil // waiting goroutines get the token that was set
	}
	close(call.done)
}

// set sets the token.
func (t *tokens) set(value string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.value, t.valid, t.renew = value, true, time.Time{}
	t.version++
}

// refused records that the server rejected a token. It reports whether there may be
// another one.
func (t *tokens) refused(value string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.value != value {
		return true // it already changed
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
