package memorybroker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/pondsocket/pond"
)

// A Broker is the connection of one node to a [Bus].
type Broker struct {
	bus  *Bus
	name string
	done chan struct{} // closed when Close interrupts the calls in progress

	// Guarded by bus.mu.
	subs    map[string]*subscription // by topic
	down    bool                     // by Disconnect
	failed  map[string]int           // by FailAppends
	closing bool
	active  int           // number of calls in progress
	quiet   chan struct{} // closed when active is zero, while Close waits
}

var _ pond.BrokerLog = (*Broker)(nil)

// MaxBytes returns the maximum size of a message; see [WithMaxBytes].
func (n *Broker) MaxBytes() int { return n.bus.cfg.maxBytes }

// Health returns an error after Close, while the node is disconnected, and while the
// bus is paused.
func (n *Broker) Health() error {
	n.bus.mu.Lock()
	defer n.bus.mu.Unlock()
	switch {
	case n.closing:
		return pond.ErrClosed
	case n.down:
		return errDisconnected
	case n.bus.resumed != nil:
		return errPaused
	}
	return nil
}

// Publish implements [pond.Broker].
func (n *Broker) Publish(ctx context.Context, topic string, batch [][]byte) error {
	if err := n.checkSizes(batch); err != nil {
		return err
	}
	return n.do(ctx, topic, "publish", func() error {
		for _, data := range batch {
			n.bus.publishLocked(n, topic, entry{Entry: pond.Entry{Data: data}})
		}
		return nil
	})
}

func (n *Broker) checkSizes(batch [][]byte) error {
	for _, data := range batch {
		if len(data) > n.bus.cfg.maxBytes {
			return fmt.Errorf("memorybroker: %d bytes: %w", len(data), pond.ErrTooLarge)
		}
	}
	return nil
}

// Subscribe implements [pond.Broker].
func (n *Broker) Subscribe(ctx context.Context, topic string, r pond.Receiver) (io.Closer, error) {
	s := &subscription{broker: n, topic: topic, receiver: r, ended: make(chan struct{})}
	err := n.do(ctx, topic, "subscribe", func() error {
		if n.subs[topic] != nil {
			return fmt.Errorf("memorybroker: already subscribed to %q", topic)
		}
		n.subs[topic] = s
		n.bus.subscribeLocked(s)
		return nil
	})
	if err != nil {
		_ = s.Close()
		return nil, err
	}
	return s, nil
}

// do runs f with the bus locked. It waits while the bus is paused, and applies the
// faults of the bus.
func (n *Broker) do(ctx context.Context, topic, what string, f func() error) error {
	b := n.bus
	b.mu.Lock()
	defer b.mu.Unlock()
	if n.closing {
		return pond.ErrClosed
	}
	n.active++
	defer n.finishLocked()
	if err := n.travelLocked(ctx, call{n.name, topic, what + " request"}); err != nil {
		return err
	}
	if b.chanceLocked(b.faults.Fail, call{n.name, topic, what + " fails"}) {
		return errInjected
	}
	if err := f(); err != nil {
		return err
	}
	if b.chanceLocked(b.faults.TimeOut, call{n.name, topic, what + " times out"}) {
		return errTimeout
	}
	if b.faults.MaxDelay == 0 {
		return nil
	}
	return n.travelLocked(ctx, call{n.name, topic, what + " response"})
}

// finishLocked ends a call.
func (n *Broker) finishLocked() {
	n.active--
	if n.active == 0 && n.quiet != nil {
		close(n.quiet)
		n.quiet = nil
	}
}

// travelLocked simulates the network between the node and the bus. It unlocks the bus
// while it waits for a delay or the end of a pause.
func (n *Broker) travelLocked(ctx context.Context, c call) error {
	b := n.bus
	if at := b.instantLocked(c); !at.IsZero() {
		b.mu.Unlock()
		timer := time.NewTimer(time.Until(at))
		select {
		case <-timer.C:
		case <-ctx.Done():
		case <-n.done:
		}
		timer.Stop()
		b.mu.Lock()
	}
	for b.resumed != nil && ctx.Err() == nil && !n.isDone() {
		wait := b.resumed
		b.mu.Unlock()
		select {
		case <-wait:
		case <-ctx.Done():
		case <-n.done:
		}
		b.mu.Lock()
	}
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("memorybroker: %w", context.Cause(ctx))
	case n.isDone():
		return pond.ErrClosed
	case n.down:
		return errDisconnected
	}
	return nil
}

func (n *Broker) isDone() bool {
	select {
	case <-n.done:
		return true
	default:
		return false
	}
}

// Close implements [pond.Broker].
func (n *Broker) Close(ctx context.Context) error {
	b := n.bus
	b.mu.Lock()
	n.closing = true
	err := n.awaitCallsLocked(ctx)
	if b.brokers[n.name] == n {
		delete(b.brokers, n.name)
	}
	var idle []<-chan struct{}
	for _, s := range n.subs {
		b.unsubscribeLocked(s)
		idle = append(idle, s.endLocked())
	}
	clear(n.subs)
	b.mu.Unlock()
	for _, c := range idle {
		<-c
	}
	return err
}

// awaitCallsLocked waits for the calls in progress, and interrupts them when ctx is
// done.
func (n *Broker) awaitCallsLocked(ctx context.Context) (err error) {
	b := n.bus
	for n.active > 0 {
		if n.quiet == nil {
			n.quiet = make(chan struct{})
		}
		quiet := n.quiet
		done := ctx.Done()
		if err != nil {
			done = nil
		}
		b.mu.Unlock()
		select {
		case <-quiet:
		case <-done:
			err = context.Cause(ctx)
		}
		b.mu.Lock()
		if err != nil && !n.isDone() {
			close(n.done)
		}
	}
	if err != nil {
		err = errors.Join(errors.New("memorybroker: calls were interrupted"), err)
	}
	return err
}
