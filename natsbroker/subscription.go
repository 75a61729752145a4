package natsbroker

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

	mu     sync.Mutex // guards the following fields, and is held during calls of receiver
	link   *link      // which has confirmed it, last; nil: none
	closed bool
}

// Subscribe implements [pond.Broker].
func (b *Broker) Subscribe(ctx context.Context, topic string, r pond.Receiver) (io.Closer, error) {
	if ctx.Err() != nil {
		return nil, fmt.Errorf("natsbroker: %w", context.Cause(ctx))
	}
	s := &subscription{
		broker: b, topic: topic, receiver: r,
		confirmed: make(chan struct{}), refused: make(chan error, 1),
	}
	key := b.subject + token(topic)
	b.mu.Lock()
	switch {
	case b.closing:
		b.mu.Unlock()
		return nil, pond.ErrClosed
	case b.subs[key] != nil:
		b.mu.Unlock()
		return nil, fmt.Errorf("natsbroker: subscribed to %q already", topic)
	}
	b.subs[key] = s
	l := b.link
	b.mu.Unlock()
	if l != nil {
		s.addTo(ctx, l)
	}

	var err error
	select {
	case <-s.confirmed:
		return s, nil
	case err = <-s.refused:
	case <-ctx.Done():
		err = fmt.Errorf("natsbroker: %w", context.Cause(ctx))
	case <-b.ctx.Done():
		err = pond.ErrClosed
	}
	_ = s.Close()
	return nil, err
}

// addTo subscribes on a connection. If that fails, the next connection does it.
func (s *subscription) addTo(ctx context.Context, l *link) {
	call, cancel := context.WithTimeout(ctx, callTimeout)
	done := make(chan struct{})
	stop := context.AfterFunc(s.broker.ctx, cancel)
	go func() {
		defer close(done)
		defer cancel()
		defer stop()
		_ = l.add(call, s)
	}()
	select {
	case <-done:
	case <-call.Done(): // the client waits without a context when its buffer is full
	}
}

// find returns the subscription of a subject, or nil.
func (b *Broker) find(subject string) *subscription {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.subs[subject]
}

// Close ends the subscription; see [pond.Broker].
func (s *subscription) Close() error {
	b := s.broker
	key := b.subject + token(s.topic)
	b.mu.Lock()
	var l *link
	if b.subs[key] == s {
		delete(b.subs, key)
		l = b.link
	}
	b.mu.Unlock()
	s.end()
	if l != nil {
		l.remove(s.topic)
	}
	return nil
}

// end waits for a call of the receiver, and allows no other.
func (s *subscription) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
}

// confirm says that a link receives the topic from now on.
func (s *subscription) confirm(l *link) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.link == l {
		return
	}
	again := s.link != nil
	s.link = l
	if again {
		s.receiver.Gap(errReconnected)
		return
	}
	close(s.confirmed)
}

// known reports whether any link has confirmed the subscription.
func (s *subscription) known() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.link != nil
}

// refuse says that the server does not allow the subscription.
func (s *subscription) refuse(err error) {
	select {
	case s.refused <- fmt.Errorf("natsbroker: %w", err):
	default:
	}
}

// receive passes a message on. Messages from before the confirmation are left out: if
// there was one before, a gap follows.
func (s *subscription) receive(l *link, e pond.Entry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed && s.link == l {
		s.receiver.Receive(e)
	}
}
