package remotebroker

import (
	"context"
	"fmt"
	"io"
	"sync"

	"github.com/pondsocket/pond"
)

// A Subscription is the receiver of one topic.
type Subscription struct {
	Topic string
	Key   string // of Find

	core      *Core
	receiver  pond.Receiver
	confirmed chan struct{} // closed with the first confirmation
	refused   chan error    // has an element if the backend rejected it

	mu     sync.Mutex // guards the following fields, and is held during calls of receiver
	link   any        // the last connection that confirmed it; nil if there is none, or it was lost
	ever   bool       // a connection confirmed it
	closed bool
}

// Subscribe implements [pond.Broker]. Topics with the same key are the same.
func (c *Core) Subscribe(ctx context.Context, topic, key string, r pond.Receiver) (io.Closer, error) {
	if ctx.Err() != nil {
		return nil, c.Error(context.Cause(ctx))
	}
	s := &Subscription{
		Topic: topic, Key: key, core: c, receiver: r,
		confirmed: make(chan struct{}), refused: make(chan error, 1),
	}
	c.mu.Lock()
	switch {
	case c.closing:
		c.mu.Unlock()
		return nil, pond.ErrClosed
	case c.subs[key] != nil:
		c.mu.Unlock()
		return nil, c.Error(fmt.Errorf("subscribed to %q already", topic))
	}
	c.subs[key] = s
	c.mu.Unlock()
	c.added(ctx, s)

	var err error
	select {
	case <-s.confirmed:
		return s, nil
	case err = <-s.refused:
	case <-ctx.Done():
		err = c.Error(context.Cause(ctx))
	case <-c.ctx.Done():
		err = pond.ErrClosed
	}
	_ = s.Close()
	return nil, err
}

// Find returns the subscription with a key, or nil.
func (c *Core) Find(key string) *Subscription {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.subs[key]
}

// Subscriptions returns all subscriptions.
func (c *Core) Subscriptions() []*Subscription {
	c.mu.Lock()
	defer c.mu.Unlock()
	list := make([]*Subscription, 0, len(c.subs))
	for _, s := range c.subs {
		list = append(list, s)
	}
	return list
}

// Close ends the subscription; see [pond.Broker].
func (s *Subscription) Close() error {
	c := s.core
	c.mu.Lock()
	present := c.subs[s.Key] == s
	if present {
		delete(c.subs, s.Key)
	}
	c.mu.Unlock()
	s.end()
	if present {
		c.removed(s)
	}
	return nil
}

// end waits for a call of the receiver in progress, and prevents further calls.
func (s *Subscription) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
}

// Confirm records that a connection receives the topic from now on. It must be called
// before Receive is called for a message of that connection. If another connection
// confirmed the subscription before, the receiver gets a gap with the reason. If still,
// which may be nil, returns false, the topic does not belong to the connection any
// more, and Confirm does nothing.
func (s *Subscription) Confirm(link any, reason error, still func() bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.link == link || still != nil && !still() {
		return
	}
	s.link = link
	if s.ever {
		s.receiver.Gap(reason)
		return
	}
	s.ever = true
	close(s.confirmed)
}

// Lose records that a connection does not receive the topic any more. The next
// confirmation, even of the same connection, causes a gap.
func (s *Subscription) Lose(link any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.link == link {
		s.link = nil
	}
}

// Known reports whether any connection confirmed the subscription.
func (s *Subscription) Known() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ever
}

// Refuse records that the backend does not allow the subscription.
func (s *Subscription) Refuse(err error) {
	select {
	case s.refused <- s.core.Error(err):
	default:
	}
}

// Receive passes a message to the receiver. It drops messages of all connections except
// the last one that confirmed the subscription: for the others, a gap follows.
func (s *Subscription) Receive(link any, e pond.Entry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed && s.link == link {
		s.receiver.Receive(e)
	}
}
