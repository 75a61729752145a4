package redisbroker

import (
	"context"
	"fmt"
	"io"
	"sync"

	"github.com/pondsocket/pond"
)

// A subscription is the receiver of one topic.
type subscription struct {
	broker   *Broker
	topic    string
	receiver pond.Receiver

	confirmed chan struct{} // closed with the first confirmation
	refused   chan error    // has an element if the server refused it

	mu     sync.Mutex // guards the following fields, and is held during calls of receiver; before broker.mu
	link   *link      // which has confirmed it, last; nil: none, or one that does not receive it any more
	ever   bool       // a link has confirmed it
	closed bool
}

// Subscribe implements [pond.Broker].
func (b *Broker) Subscribe(ctx context.Context, topic string, r pond.Receiver) (io.Closer, error) {
	if ctx.Err() != nil {
		return nil, fmt.Errorf("redisbroker: %w", context.Cause(ctx))
	}
	s := &subscription{
		broker: b, topic: topic, receiver: r,
		confirmed: make(chan struct{}), refused: make(chan error, 1),
	}
	b.mu.Lock()
	switch {
	case b.closing:
		b.mu.Unlock()
		return nil, pond.ErrClosed
	case b.subs[topic] != nil:
		b.mu.Unlock()
		return nil, fmt.Errorf("redisbroker: subscribed to %q already", topic)
	}
	b.subs[topic] = s
	b.changedLocked(topic)
	b.mu.Unlock()

	var err error
	select {
	case <-s.confirmed:
		return s, nil
	case err = <-s.refused:
	case <-ctx.Done():
		err = fmt.Errorf("redisbroker: %w", context.Cause(ctx))
	case <-b.ctx.Done():
		err = pond.ErrClosed
	}
	_ = s.Close()
	return nil, err
}

// changedLocked says that a topic was added or removed.
func (b *Broker) changedLocked(topic string) {
	if s := b.ownerLocked(topic); s != nil {
		s.changedLocked(topic)
	}
}

// Close ends the subscription; see [pond.Broker].
func (s *subscription) Close() error {
	b := s.broker
	b.mu.Lock()
	if b.subs[s.topic] == s {
		delete(b.subs, s.topic)
		b.changedLocked(s.topic)
	}
	b.mu.Unlock()
	s.end()
	return nil
}

// end waits for a call of the receiver, and allows no other.
func (s *subscription) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
}

// confirm says that a link receives the topic from now on. It is called before the link
// receives a message for it. It does nothing if the topic has moved to another server of
// a cluster meanwhile.
func (s *subscription) confirm(l *link) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.link == l || !l.server.owns(s.topic) {
		return
	}
	s.link = l
	if s.ever {
		s.receiver.Gap(errReconnected)
		return
	}
	s.ever = true
	close(s.confirmed)
}

// lose says that a link does not receive the topic any more.
func (s *subscription) lose(l *link) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.link == l {
		s.link = nil
	}
}

// known reports whether any link has confirmed the subscription.
func (s *subscription) known() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ever
}

// refuse says that the server does not allow the subscription.
func (s *subscription) refuse(err error) {
	select {
	case s.refused <- fmt.Errorf("redisbroker: %w", err):
	default:
	}
}

// receive passes a message on.
func (s *subscription) receive(l *link, e pond.Entry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed && s.link == l {
		s.receiver.Receive(e)
	}
}
