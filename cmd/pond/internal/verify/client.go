package verify

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/pondsocket/pond"
	"github.com/pondsocket/pond/pondclient"
)

// A client joins the channel, and records the messages that it gets.
type client struct {
	// Static after the join.
	runner    *runner
	number    int
	url       string
	transport pondclient.Transport
	Client    *pondclient.Client
	channel   *pondclient.Channel
	network   network
	account   *account
	done      chan struct{} // closed when listen returns

	mu         sync.Mutex // guards the following fields
	welcomed   bool
	down       time.Time // since when the connection is broken; zero if it is not
	losses     []time.Time
	reconnects int64
	gaps       map[pondclient.GapReason]int64
	history    bool  // whether the channel has a history
	failed     error // why the server removed the client
}

// listen handles all events of the channel.
func (c *client) listen() {
	defer close(c.done)
	for ev, err := range c.channel.Events(context.Background()) {
		switch {
		case err != nil:
			c.mu.Lock()
			c.failed = err
			c.mu.Unlock()
			c.account.gap()
			return
		default:
			c.take(ev)
		}
	}
}

func (c *client) take(ev pondclient.Event) {
	switch ev := ev.(type) {
	case *pondclient.Message:
		if ev.Direct {
			return
		}
		publisher, number, ok := c.runner.ledger.parse(ev.Payload)
		if !ok {
			return
		}
		sent, counts := c.runner.ledger.received(publisher, number)
		c.account.message(publisher, number, ev.Replayed, counts)
		if !ev.Replayed && !sent.IsZero() && c.isUp() {
			c.runner.latency.Record(time.Since(sent))
		}
		if ev.Position != (pond.Position{}) {
			c.mu.Lock()
			c.history = true
			c.mu.Unlock()
		}
	case *pondclient.Gap:
		if ev.Reason == pondclient.GapDisorder {
			c.account.disorder()
		}
		c.account.gap()
		c.mu.Lock()
		if c.gaps == nil {
			c.gaps = map[pondclient.GapReason]int64{}
		}
		c.gaps[ev.Reason]++
		c.mu.Unlock()
		if ev.Reason != pondclient.GapOverflow {
			c.recovered()
		}
	case *pondclient.Recovered:
		c.recovered()
	}
}

func (c *client) isUp() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.down.IsZero()
}

// isAbsent reports whether the client lost its connection, and did not recover yet.
func (c *client) isAbsent() bool {
	select {
	case <-c.done:
		return false // the server removed it
	default:
		return !c.isUp() || c.Client.Transport() == ""
	}
}

func (c *client) wasConnected() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.welcomed
}

func (c *client) connected() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.welcomed {
		c.reconnects++
	}
	c.welcomed = true
}

func (c *client) disconnected() {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	c.losses = append(c.losses, now)
	if c.down.IsZero() {
		c.down = now
	}
}

// recovered records that the client received the messages that it missed, or a gap.
func (c *client) recovered() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.down.IsZero() {
		c.runner.recovery.Record(time.Since(c.down))
		c.down = time.Time{}
	}
}

// lostAfter reports whether the connection was lost after t.
func (c *client) lostAfter(t time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, loss := range c.losses {
		if loss.After(t) {
			return true
		}
	}
	return false
}

// closeTimeout limits the time that a client takes to close its connection.
const closeTimeout = 2 * time.Second

func (c *client) close() {
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	_ = c.Client.Close(ctx) // the messages that were not sent are known already
	c.network.close()
}

// answerTimeout is how long a publisher waits for the answer to a message, even
// while it reconnects.
const answerTimeout = 30 * time.Second

// publish publishes one message, and records its fate. It reports whether the
// publisher can continue.
func (c *client) publish(ctx context.Context) bool {
	r := c.runner
	number := r.ledger.next(c.number)
	payload := r.payload(c.number, number)
	if !r.answers {
		err := c.channel.Send(r.Event, payload)
		if err != nil {
			r.ledger.settle(c.number, number, rejected)
		}
		return r.mayGoOn(err)
	}
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	_, err := c.channel.Request(ctx, r.Event, payload)
	switch {
	case err == nil:
		r.ledger.settle(c.number, number, confirmed)
	case errors.Is(err, pondclient.ErrUnknownOutcome):
		r.ledger.settle(c.number, number, unknown)
	default:
		r.ledger.settle(c.number, number, rejected)
	}
	return r.mayGoOn(err)
}

// mayGoOn records the first rejection by the server.
func (r *runner) mayGoOn(err error) bool {
	if e, ok := errors.AsType[*pond.Error](err); ok {
		select {
		case r.rejections <- fmt.Errorf("%d %s", e.Code, e.Message):
		default:
		}
	}
	_, removed := errors.AsType[*pondclient.RemovedError](err)
	return !removed && !errors.Is(err, pondclient.ErrStopped) && !errors.Is(err, pondclient.ErrClosed)
}
