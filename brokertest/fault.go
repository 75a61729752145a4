package brokertest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pondsocket/pond"
)

// faultChecks test failures of the connection.
var faultChecks = []check{
	{"Disconnect", "Disconnect", (*env).disconnect},
	{"Sever", "Sever", (*env).sever},
	{"SubscribeWhileSevered", "Sever", (*env).subscribeWhileSevered},
	{"Stall", "Stall", (*env).stall},
	{"CloseWhileStalled", "Stall", (*env).closeWhileStalled},
}

// A ticker publishes numbers to a topic until it is stopped.
type ticker struct {
	sender string
	sent   atomic.Int64 // the number of the last call of Publish that returned nil

	mu     sync.Mutex
	failed map[int]bool // numbers whose Publish returned an error

	stop func()
}

// tick starts a ticker.
func (e *env) tick(b pond.Broker, topic, sender string) *ticker {
	t := &ticker{sender: sender, failed: map[int]bool{}}
	ctx, cancel := context.WithCancel(context.WithoutCancel(e.Context()))
	var wg sync.WaitGroup
	wg.Go(func() {
		for n := 1; ctx.Err() == nil; n++ {
			call, done := context.WithTimeout(ctx, e.timeout)
			err := b.Publish(call, topic, batch(message(sender, n)))
			done()
			if err == nil {
				t.sent.Store(int64(n))
			} else {
				t.mu.Lock()
				t.failed[n] = true
				t.mu.Unlock()
			}
			select {
			case <-ctx.Done():
			case <-time.After(time.Millisecond):
			}
		}
	})
	t.stop = sync.OnceFunc(func() { cancel(); wg.Wait() })
	e.Cleanup(t.stop)
	return t
}

// holes checks the messages of a ticker that a receiver missed: each must be announced
// by a Gap in its position, or its Publish must have returned an error.
func (e *env) holes(r *receiver, t *ticker) {
	e.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	t.mu.Lock()
	defer t.mu.Unlock()
	last, gap := 0, false
	for _, ev := range r.events {
		if ev.gap != nil {
			gap = true
			continue
		}
		n := e.parse(ev.text)
		if n.Sender != t.sender {
			continue
		}
		if n.Number <= last {
			e.Errorf("%s: message %d came after %d", r.topic, n.Number, last)
			return
		}
		for missed := last + 1; missed < n.Number && last > 0 && !gap; missed++ {
			if !t.failed[missed] {
				e.Errorf("%s: message %d was lost, without a Gap before message %d", r.topic, missed, n.Number)
				return
			}
		}
		last, gap = n.Number, false
	}
}

// disconnect: after each kind of disconnection, all subscriptions of the node get a
// Gap, even idle ones, and then receive again. No message is lost silently.
func (e *env) disconnect() {
	e.gaps = true
	for _, kind := range slices.Sorted(maps.Keys(e.cluster.Disconnect)) {
		a, b := e.node(), e.node()
		var busy, idle []*receiver
		var tickers []*ticker
		for i := range 3 {
			topic := e.topic(fmt.Sprint(kind, i))
			busy = append(busy, e.subscribe(b, topic))
			idle = append(idle, e.subscribe(b, e.topic(fmt.Sprint(kind, "idle", i))))
			tickers = append(tickers, e.tick(a, topic, kind))
		}
		for _, r := range busy {
			r.texts(10)
		}
		before := make([]int, len(busy))
		for i, r := range busy {
			before[i] = r.count()
		}
		e.cluster.Disconnect[kind](b)
		for _, r := range idle {
			r.awaitGap(0)
		}
		for i, r := range busy {
			r.awaitGap(before[i])
		}
		for i, r := range busy {
			e.receivesAgain(r, tickers[i])
		}
		for i, r := range idle {
			e.eventuallyPublish(a, r.topic, message("idle", 1))
			r.awaitText(message("idle", 1))
			e.holes(busy[i], tickers[i])
		}
		e.eventually("Health after "+kind, func() bool { return b.Health() == nil })
	}
}

// receivesAgain waits until a receiver gets messages that its ticker publishes from now
// on.
func (e *env) receivesAgain(r *receiver, t *ticker) {
	e.Helper()
	from := int(t.sent.Load())
	r.wait("messages after the failure", func(events []event) bool {
		for _, ev := range slices.Backward(events) {
			if ev.gap == nil {
				return e.parse(ev.text).Number > from+1
			}
		}
		return false
	})
	t.stop()
}

// eventuallyPublish publishes until it succeeds, because the publisher may also be
// disconnected.
func (e *env) eventuallyPublish(b pond.Broker, topic, text string) {
	e.Helper()
	e.eventually("Publish", func() bool { return b.Publish(e.soon(), topic, batch(text)) == nil })
}

// sever: a severed node detects it. When it is connected again, it gets a Gap and works
// as before.
func (e *env) sever() {
	e.gaps = true
	a, b, topic := e.node(), e.node(), e.topic("a")
	ra, rb := e.subscribe(a, topic), e.subscribe(b, topic)
	t := e.tick(a, topic, "a")
	rb.texts(10)
	restore := sync.OnceFunc(e.cluster.Sever(b))
	defer restore()
	e.eventually("Health of a severed node", func() bool { return b.Health() != nil })
	before := rb.count()
	if err := b.Publish(e.soon(), topic, batch(message("b", 1))); err == nil {
		e.Error("a severed node published a message")
	}
	e.receivesAgain(ra, t)
	restore()
	rb.awaitGap(before)
	e.eventually("Health after the connection is restored", func() bool { return b.Health() == nil })
	again := e.tick(a, topic, "again")
	rb.wait("messages after the failure", func(events []event) bool {
		return slices.ContainsFunc(texts(events), func(s string) bool { return e.parse(s).Sender == "again" })
	})
	again.stop()
	e.eventuallyPublish(b, topic, message("b", 2))
	ra.awaitText(message("b", 2))
	for _, r := range []*receiver{ra, rb} {
		e.holes(r, t)
		e.holes(r, again)
	}
}

// subscribeWhileSevered: a subscription that failed does not start later.
func (e *env) subscribeWhileSevered() {
	e.gaps = true
	a, b, topic := e.node(), e.node(), e.topic("a")
	witness := e.subscribe(b, e.topic("witness"))
	restore := sync.OnceFunc(e.cluster.Sever(b))
	defer restore()
	e.eventually("Health of a severed node", func() bool { return b.Health() != nil })
	failed := e.receiver(topic)
	if closer, err := b.Subscribe(e.soon(), topic, failed); err == nil {
		e.Error("a severed node subscribed")
		_ = closer.Close()
	}
	failed.end()
	restore()
	witness.awaitGap(0)
	e.publish(a, topic, message("a", 1))
	e.settle()
	r := e.receiver(topic)
	e.eventually("Subscribe", func() bool {
		closer, err := b.Subscribe(e.soon(), topic, r)
		if err == nil {
			r.setCloser(closer)
		}
		return err == nil
	})
	e.publish(a, topic, `{"sender":"last"}`)
	r.awaitText(`{"sender":"last"}`)
}

// stall: callers wait for a backend that does nothing until their contexts are done.
func (e *env) stall() {
	e.gaps = true
	a, b, topic := e.node(), e.node(), e.topic("a")
	ra, rb := e.subscribe(a, topic), e.subscribe(b, topic)
	t := e.tick(a, topic, "a")
	rb.texts(10)
	t.stop()
	resume := sync.OnceFunc(e.cluster.Stall(a))
	defer resume()
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			if err := a.Publish(e.soon(), topic, batch(message(fmt.Sprint("stalled", i), 1), sized(50_000))); err == nil {
				e.Error("Publish returned nil although the backend does nothing")
			}
		})
	}
	wg.Wait()
	if log, ok := a.(pond.BrokerLog); ok {
		if _, err := log.Append(e.soon(), e.topic("log"), produce("a", 1, `{}`)); err == nil {
			e.Error("Append returned nil although the backend does nothing")
		}
	}
	resume()
	last := message("last", 1)
	e.eventuallyPublish(a, topic, last)
	for _, r := range []*receiver{ra, rb} {
		counts := map[string]int{}
		for _, text := range texts(r.wait("the last message", func(events []event) bool {
			return slices.Contains(texts(events), last) || slices.ContainsFunc(events, func(ev event) bool { return ev.gap != nil })
		})) {
			counts[text]++
		}
		for i := range 20 {
			if text := message(fmt.Sprint("stalled", i), 1); counts[text] > 1 {
				e.Errorf("%s was received %d times", text, counts[text])
			}
		}
		e.holes(r, t)
	}
}

// closeWhileStalled: Close does not take longer than its context allows.
func (e *env) closeWhileStalled() {
	e.gaps = true
	a, topic := e.node(), e.topic("a")
	r := e.subscribe(a, topic)
	resume := sync.OnceFunc(e.cluster.Stall(a))
	defer resume()
	failed := make(chan error, 1)
	go func() { failed <- a.Publish(e.context(), topic, batch(`{}`)) }()
	e.settle()
	if e.bubble { // outside a bubble, Publish may not have started
		if err := a.Close(e.soon()); !errors.Is(err, context.DeadlineExceeded) {
			e.Errorf("Close: %v, want the cause of the context's end", err)
		}
	} else {
		_ = a.Close(e.soon())
	}
	r.end()
	if err := <-failed; err == nil {
		e.Error("Publish returned nil although the backend does nothing")
	}
}
