// Package remotebroker contains the parts of a broker that do not depend on its
// backend: calls that Close waits for, reconnects with random delays, and
// subscriptions, which each new connection confirms.
package remotebroker

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pondsocket/pond"
)

// Times of connections.
const (
	DialTimeout  = 5 * time.Second
	firstBackoff = 100 * time.Millisecond
	maxBackoff   = 2 * time.Second // messages are lost until all nodes are connected again
	worked       = 5 * time.Second // a connection that lasted this long worked
)

// A Core is one broker. Its methods may be called concurrently.
type Core struct {
	name    string // prefix of all errors
	added   func(ctx context.Context, s *Subscription)
	removed func(s *Subscription)
	ctx     context.Context
	cancel  context.CancelFunc
	running sync.WaitGroup
	trouble Trouble

	mu      sync.Mutex // guards the following fields
	subs    map[string]*Subscription
	closing bool
	active  int           // number of calls in progress
	quiet   chan struct{} // closed when active is zero, while Close waits
}

// New returns the core of a package's broker. It calls added for a new subscription,
// which may wait until ctx is done, and removed for a closed one. Both are called
// without a lock.
func New(pkg string, added func(ctx context.Context, s *Subscription), removed func(s *Subscription)) *Core {
	c := &Core{name: pkg, added: added, removed: removed, subs: map[string]*Subscription{}}
	c.ctx, c.cancel = context.WithCancel(context.Background()) //nolint:forbidigo // the broker's own life
	c.trouble.Set(c.Error(errConnecting))
	return c
}

var errConnecting = errors.New("not connected yet")

// Context returns a context that ends when Close interrupts the calls in progress.
func (c *Core) Context() context.Context { return c.ctx }

// Error returns an error that starts with the name of the package, or nil if err is
// nil.
func (c *Core) Error(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", c.name, err)
}

// Go runs f in a goroutine. Close waits for its end. Only New, functions that Do runs, and
// goroutines that Go started may call Go.
func (c *Core) Go(f func()) { c.running.Go(f) }

// Retry calls f until it returns nil or ctx ends. It waits between two calls for a
// random time, which increases. A call of more than five seconds counts as a connection
// that worked.
func Retry(ctx context.Context, f func() error) {
	backoff := firstBackoff
	for ctx.Err() == nil {
		began := time.Now()
		if f() == nil || ctx.Err() != nil {
			return
		}
		if time.Since(began) > worked {
			backoff = firstBackoff
		}
		timer := time.NewTimer(rand.N(backoff)) //nolint:gosec // not a secret
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
		}
		backoff = min(2*backoff, maxBackoff)
	}
}

// Do runs a call that Close waits for. The context of f ends when ctx or the context of
// the broker ends.
func (c *Core) Do(ctx context.Context, f func(ctx context.Context) error) error {
	c.mu.Lock()
	if c.closing {
		c.mu.Unlock()
		return pond.ErrClosed
	}
	c.active++
	c.mu.Unlock()
	defer c.finish()

	if ctx.Err() != nil {
		return c.Error(context.Cause(ctx))
	}
	call, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(c.ctx, cancel)()
	err := f(call)
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return c.Error(context.Cause(ctx))
	case c.ctx.Err() != nil:
		return pond.ErrClosed
	}
	return c.Error(err)
}

// finish ends a call.
func (c *Core) finish() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.active--
	if c.active == 0 && c.quiet != nil {
		close(c.quiet)
		c.quiet = nil
	}
}

// Health implements [pond.Broker], with the error of SetTrouble.
func (c *Core) Health() error {
	c.mu.Lock()
	closing := c.closing
	c.mu.Unlock()
	if closing {
		return pond.ErrClosed
	}
	return c.trouble.Get()
}

// SetTrouble sets the reason why the broker does not work, or nil.
func (c *Core) SetTrouble(err error) { c.trouble.Set(err) }

// Close implements [pond.Broker].
func (c *Core) Close(ctx context.Context) error {
	err := c.awaitCalls(ctx)
	c.cancel()
	c.running.Wait()
	c.mu.Lock()
	subs := make([]*Subscription, 0, len(c.subs))
	for _, s := range c.subs {
		subs = append(subs, s)
	}
	clear(c.subs)
	c.mu.Unlock()
	for _, s := range subs {
		s.end()
	}
	return err
}

// awaitCalls rejects new calls, and waits for those in progress.
func (c *Core) awaitCalls(ctx context.Context) error {
	c.mu.Lock()
	c.closing = true
	if c.active > 0 && c.quiet == nil {
		c.quiet = make(chan struct{})
	}
	quiet := c.quiet
	c.mu.Unlock()
	if quiet == nil {
		return nil
	}
	select {
	case <-quiet:
		return nil
	case <-ctx.Done():
	}
	c.cancel()
	<-quiet
	return c.Error(fmt.Errorf("calls were interrupted: %w", context.Cause(ctx)))
}

// Trouble is an error that goroutines share, or nil.
type Trouble struct{ err atomic.Pointer[error] }

// Set sets the error.
func (t *Trouble) Set(err error) {
	if err == nil {
		t.err.Store(nil)
		return
	}
	t.err.Store(&err)
}

// Get returns the error.
func (t *Trouble) Get() error {
	if err := t.err.Load(); err != nil {
		return *err
	}
	return nil
}
