package brokertest

import (
	"context"
	"errors"
	"runtime"
	"strconv"
)

// subscriptionChecks test subscriptions.
var subscriptionChecks = []check{
	{"SubscribeIsConfirmed", "", (*env).subscribeIsConfirmed},
	{"NothingAfterUnsubscribe", "", (*env).nothingAfterUnsubscribe},
	{"UnsubscribeWaits", "", (*env).unsubscribeWaits},
	{"OneReceiver", "", (*env).oneReceiver},
	{"CanceledSubscribe", "", (*env).canceledSubscribe},
}

// subscribeIsConfirmed: messages arrive that are published after Subscribe returned.
func (e *env) subscribeIsConfirmed() {
	a, b := e.node(), e.node()
	for i := range 100 {
		topic := e.topic(strconv.Itoa(i))
		r := e.subscribe(b, topic)
		e.publish(a, topic, message("a", 1))
		e.inOrder(r.texts(1), 1, 1)
	}
}

// nothingAfterUnsubscribe: after Close, a receiver gets nothing, and the node may
// subscribe to the topic again immediately.
func (e *env) nothingAfterUnsubscribe() {
	a, b, topic := e.node(), e.node(), e.topic("a")
	for i := range 50 {
		r := e.subscribe(b, topic)
		text := message("a", i)
		e.publish(a, topic, text)
		if i%2 == 0 {
			r.awaitText(text)
		}
		r.close()
		r.close() // does nothing
		e.publish(a, topic, message("late", i))
		e.settle()
	}
	r := e.subscribe(b, topic)
	e.publish(a, topic, `{"last":true}`)
	r.awaitText(`{"last":true}`)
}

// unsubscribeWaits: Close waits for a call of the receiver that is in progress.
func (e *env) unsubscribeWaits() {
	a, b, topic := e.node(), e.node(), e.topic("a")
	for range 20 {
		r := e.receiver(topic)
		entered, closing := make(chan struct{}), make(chan struct{})
		r.hook = func() {
			entered <- struct{}{}
			<-closing
			for range 100 {
				runtime.Gosched() // Close may return too early now
			}
		}
		closer, err := b.Subscribe(e.context(), topic, r)
		if err != nil {
			e.Fatalf("Subscribe: %v", err)
		}
		r.setCloser(closer)
		e.publish(a, topic, `{}`)
		select {
		case <-entered:
		case <-e.context().Done():
			e.Fatal("the message did not arrive")
		}
		done := make(chan struct{})
		go func() {
			defer close(done)
			close(closing)
			r.close()
		}()
		<-done
	}
}

// oneReceiver: a second receiver for a topic is rejected, and the first one stays.
func (e *env) oneReceiver() {
	a, b, topic := e.node(), e.node(), e.topic("a")
	r := e.subscribe(b, topic)
	second := e.receiver(topic)
	closer, err := b.Subscribe(e.context(), topic, second)
	if err == nil {
		e.Error("a second receiver was accepted")
		_ = closer.Close()
	}
	second.end()
	e.publish(a, topic, message("a", 1))
	e.inOrder(r.texts(1), 1, 1)
}

// canceledSubscribe: after a failed call, there is no subscription.
func (e *env) canceledSubscribe() {
	a, b, topic := e.node(), e.node(), e.topic("a")
	ctx, cancel := context.WithCancel(e.context())
	cancel()
	failed := e.receiver(topic)
	if closer, err := b.Subscribe(ctx, topic, failed); !errors.Is(err, context.Canceled) {
		e.Errorf("Subscribe: %v, want the cause of the context's end", err)
		if err == nil {
			_ = closer.Close()
		}
	}
	failed.end()
	e.publish(a, topic, message("a", 1))
	e.settle()
	r := e.subscribe(b, topic)
	e.publish(a, topic, `{"last":true}`)
	r.awaitText(`{"last":true}`)
}
