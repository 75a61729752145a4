package redisbroker_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/pondsocket/pond"

	"github.com/pondsocket/pond/redisbroker"
)

// publishLater publishes a message on another goroutine, as the queue of a node does.
func publishLater(t testing.TB, b pond.Broker, topic, text string) (published <-chan error) {
	ctx := t.Context()
	done := make(chan error, 1)
	go func() {
		for {
			err := b.(pond.BrokerWaiter).AwaitSubscribers(ctx, topic)
			if err == nil {
				err = b.Publish(ctx, topic, [][]byte{[]byte(text)})
			}
			if err == nil || ctx.Err() != nil {
				done <- err
				return
			}
			<-time.After(time.Millisecond)
		}
	}()
	return done
}

func await(t testing.TB, what string, done <-chan error) {
	t.Helper()
	select {
	case err := <-done:
		if err != nil {
			t.Errorf("%s: %v", what, err)
		}
	case <-time.After(time.Minute):
		t.Errorf("%s: not within a minute", what)
	}
}

// After an outage, a node that reconnects first publishes nothing before the others are
// subscribed again.
func TestMessagesAreHeldAfterAnOutage(t *testing.T) {
	for name, outage := range map[string]func(s *server, n *nodes, b pond.Broker){
		"server restarted":        func(s *server, _ *nodes, _ pond.Broker) { s.Restart() },
		"connections reset":       func(_ *server, n *nodes, b pond.Broker) { n.proxy(b).Reset() },
		"CLIENT KILL TYPE pubsub": func(s *server, n *nodes, b pond.Broker) { s.killClients(n.name(b), "pubsub") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := startServer(t)
			n := newNodes(t, s)
			first, second := n.add(), n.add()
			defer closeBroker(t, first)
			defer closeBroker(t, second)
			holder := first.(*redisbroker.Broker)
			holder.SetHoldTime(time.Hour)
			a, b := subscribe(t, first, "t"), subscribe(t, second, "t")
			publish(t, first, "t", `{"n":1}`)
			eventually(t, "the first message", func() bool { return len(b.texts()) == 1 })
			publish(t, first, "alone", `{}`) // without a subscriber

			n.proxy(second).Sever()
			eventually(t, "the loss of the connection", func() bool { return second.Health() != nil })
			outage(s, n, first)
			eventually(t, "Gap", func() bool { return a.countGaps() > 0 })
			published := publishLater(t, first, "t", `{"n":2}`)
			eventually(t, "a message that is held", func() bool { return holder.Held() == 1 })
			if err := holder.AwaitSubscribers(t.Context(), "alone"); err != nil {
				t.Error(err)
			}
			select {
			case err := <-published:
				t.Errorf("published before the other node was subscribed again: %v", err)
			default:
			}
			n.proxy(second).Restore()
			await(t, "Publish", published)
			eventually(t, "the message", func() bool { return len(b.texts()) == 2 })
			if n := holder.Held(); n != 0 {
				t.Errorf("%d messages are held in the end", n)
			}
		})
	}
}

// Messages are held only for a time, because the other nodes may have ended.
func TestHeldMessagesAreSentInTheEnd(t *testing.T) {
	s := startServer(t)
	n := newNodes(t, s)
	first, second := n.add(), n.add()
	defer closeBroker(t, first)
	first.(*redisbroker.Broker).SetHoldTime(100 * time.Millisecond)
	a := subscribe(t, first, "t")
	subscribe(t, second, "t")
	publish(t, first, "t", `{"n":1}`)
	eventually(t, "the first message", func() bool { return len(a.texts()) == 1 })
	closeBroker(t, second)
	n.proxy(first).Reset()
	eventually(t, "Gap", func() bool { return a.countGaps() > 0 })
	await(t, "Publish", publishLater(t, first, "t", `{"n":2}`))
	eventually(t, "the message", func() bool { return len(a.texts()) == 2 })
}

// Without an outage, a node whose receivers end holds nothing, and neither does one that
// ended its own subscription before an outage.
func TestNothingIsHeldForSubscriptionsThatEnded(t *testing.T) {
	s := startServer(t)
	n := newNodes(t, s)
	first, second := n.add(), n.add()
	defer closeBroker(t, first)
	first.(*redisbroker.Broker).SetHoldTime(time.Hour)
	closer, err := first.Subscribe(t.Context(), "t", &recorder{})
	if err != nil {
		t.Fatal(err)
	}
	other := subscribe(t, first, "other")
	subscribe(t, second, "t")
	publish(t, first, "t", `{"n":1}`)
	closeBroker(t, second)
	publish(t, first, "t", `{"n":2}`)
	if err := closer.Close(); err != nil {
		t.Fatal(err)
	}
	n.proxy(first).Reset()
	eventually(t, "Gap", func() bool { return other.countGaps() > 0 })
	await(t, "Publish", publishLater(t, first, "t", `{"n":3}`))
}

// While Redis does not answer after an outage, nothing is published, because the nodes may
// have no subscriptions when it answers again.
func TestNothingIsPublishedWhileRedisDoesNotAnswer(t *testing.T) {
	s := startServer(t)
	n := newNodes(t, s)
	first := n.add()
	defer closeBroker(t, first)
	a := subscribe(t, first, "t")
	publish(t, first, "t", `{"n":1}`)
	eventually(t, "the first message", func() bool { return len(a.texts()) == 1 })
	resume := s.Stop()
	n.proxy(first).Reset()
	eventually(t, "the loss of the connection", func() bool { return first.Health() != nil })
	for range 3 {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		if err := first.(pond.BrokerWaiter).AwaitSubscribers(ctx, "t"); err == nil {
			t.Error("AwaitSubscribers returned while the server was stopped")
		}
		cancel()
	}
	resume()
	await(t, "Publish", publishLater(t, first, "t", `{"n":2}`))
	eventually(t, "the message", func() bool { return len(a.texts()) == 2 })
}

// Close does not wait for held messages.
func TestCloseWhileMessagesAreHeld(t *testing.T) {
	s := startServer(t)
	n := newNodes(t, s)
	first, second := n.add().(*redisbroker.Broker), n.add()
	first.SetHoldTime(time.Hour)
	a := subscribe(t, first, "t")
	subscribe(t, second, "t")
	publish(t, first, "t", `{"n":1}`)
	eventually(t, "the first message", func() bool { return len(a.texts()) == 1 })
	closeBroker(t, second)
	n.proxy(first).Reset()
	eventually(t, "Gap", func() bool { return a.countGaps() > 0 })
	held := make(chan error, 1)
	go func() { held <- first.AwaitSubscribers(t.Context(), "t") }()
	eventually(t, "a message that is held", func() bool { return first.Held() == 1 })
	closeBroker(t, first)
	if err := <-held; !errors.Is(err, pond.ErrClosed) {
		t.Errorf("AwaitSubscribers: %v, want ErrClosed", err)
	}
}
