package brokertest

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/pondsocket/pond"
)

// waiterChecks test [pond.BrokerWaiter]. Other brokers pass them.
var waiterChecks = []check{
	{"AwaitSubscribers", "", (*env).awaitSubscribers},
	{"AwaitSubscribersInOutage", "Sever", (*env).awaitSubscribersInOutage},
}

// waiter returns the brokers of two nodes that are subscribed to a topic and received a
// message of the first one. It returns false if they are not a [pond.BrokerWaiter].
func (e *env) waiter(topic string) (a pond.BrokerWaiter, r *receiver, ok bool) {
	e.Helper()
	first, second := e.node(), e.node()
	a, ok = first.(pond.BrokerWaiter)
	if !ok {
		e.Log("the broker is not a pond.BrokerWaiter")
		return nil, nil, false
	}
	r = e.subscribe(first, topic)
	other := e.subscribe(second, topic)
	e.publish(first, topic, message("a", 1))
	r.texts(1)
	other.texts(1)
	return a, r, true
}

// awaitSubscribers: without an outage, AwaitSubscribers returns immediately. It returns
// the cause if its context is done, and ErrClosed after Close.
func (e *env) awaitSubscribers() {
	topic := e.topic("a")
	a, r, ok := e.waiter(topic)
	if !ok {
		return
	}
	began := time.Now()
	for _, name := range []string{topic, e.topic("without subscribers")} {
		if err := a.AwaitSubscribers(e.context(), name); err != nil {
			e.Errorf("AwaitSubscribers: %v", err)
		}
	}
	if d := time.Since(began); e.bubble && d > 0 {
		e.Errorf("AwaitSubscribers waited %v without an outage", d)
	}
	ctx, cancel := context.WithCancel(e.context())
	cancel()
	if err := a.AwaitSubscribers(ctx, topic); !errors.Is(err, context.Canceled) {
		e.Errorf("AwaitSubscribers: %v, want the cause of the context's end", err)
	}
	if err := a.Close(e.context()); err != nil {
		e.Errorf("Close: %v", err)
	}
	r.end()
	if err := a.AwaitSubscribers(e.context(), topic); !errors.Is(err, pond.ErrClosed) {
		e.Errorf("AwaitSubscribers: %v, want ErrClosed", err)
	}
}

// awaitSubscribersInOutage: AwaitSubscribers of a severed node waits, but not longer than
// its context allows, even if there are several calls. It returns nil when the node is
// connected again. Close does not wait for it.
func (e *env) awaitSubscribersInOutage() {
	e.gaps = true
	topic := e.topic("a")
	a, r, ok := e.waiter(topic)
	if !ok {
		return
	}
	restore := sync.OnceFunc(e.cluster.Sever(a))
	defer restore()
	e.eventually("AwaitSubscribers of a severed node waits", func() bool { return a.AwaitSubscribers(e.soon(), topic) != nil })
	await := func(ctx context.Context, calls *sync.WaitGroup) {
		calls.Go(func() {
			if err := a.AwaitSubscribers(ctx, topic); err == nil {
				e.Error("AwaitSubscribers returned nil although the node is severed")
			}
		})
	}
	began := time.Now()
	var long, short sync.WaitGroup
	ctx, cancel := context.WithCancel(e.context())
	await(ctx, &long)
	e.settle()
	for range 20 {
		await(e.soon(), &short)
	}
	short.Wait()
	if d := time.Since(began); e.bubble && d > soonTime {
		e.Errorf("AwaitSubscribers waited %v, longer than its context allows", d)
	}
	cancel()
	long.Wait()
	restore()
	e.eventually("AwaitSubscribers after the connection is restored", func() bool { return a.AwaitSubscribers(e.context(), topic) == nil })
	e.eventuallyPublish(a, topic, message("a", 2))
	r.awaitText(message("a", 2))

	defer e.cluster.Sever(a)()
	e.eventually("AwaitSubscribers of a severed node waits", func() bool { return a.AwaitSubscribers(e.soon(), topic) != nil })
	returned := make(chan error, 1)
	ctx = e.context()
	go func() { returned <- a.AwaitSubscribers(ctx, topic) }()
	e.settle()
	if err := a.Close(e.context()); err != nil {
		e.Errorf("Close: %v", err)
	}
	r.end()
	if err := <-returned; !errors.Is(err, pond.ErrClosed) {
		e.Errorf("AwaitSubscribers: %v, want ErrClosed", err)
	}
}
