package verify

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/pondsocket/pond"
	"github.com/pondsocket/pond/pondclient"
)

func (r *runner) payload(publisher, number int) json.RawMessage {
	return r.Payload.Append(nil, publisher, 0, r.ledger.text(publisher, number))
}

// rehearsal limits the time in which the first message must reach all members.
const rehearsal = 10 * time.Second

// rehearse publishes a first message of each publisher. All members must get it. If a
// connection was lost in the meantime, the next message counts.
func (r *runner) rehearse(ctx context.Context) error {
	within, cancel := context.WithTimeout(ctx, rehearsal)
	defer cancel()
	numbers := make([]int, r.Publishers)
	for within.Err() == nil {
		for i, c := range r.clients[:r.Publishers] {
			if err := r.publishFirst(within, c); err != nil {
				return err
			}
			numbers[i] = r.ledger.last(i)
		}
		short, cancel := context.WithTimeout(within, rehearsal/5)
		err := r.await(short, numbers)
		cancel()
		if err == nil {
			return nil
		}
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	for i := range numbers {
		numbers[i] = 1 // any message
	}
	var without []*client
	for _, c := range r.clients {
		if !c.account.reached(numbers) {
			without = append(without, c)
		}
	}
	if len(without) == len(r.clients) {
		return fmt.Errorf("no member got the first message: the handler of the event %q must send its payload to all members", r.Event)
	}
	c := without[0]
	return fmt.Errorf("%d of %d members did not get the first message, such as client %d at %s over %s: "+
		"the handler must send it to all members, and all addresses must belong to one cluster",
		len(without), len(r.clients), c.number, address(c.url), c.transport)
}

// publishFirst publishes a message of a publisher. It finds out whether the server
// answers messages, and returns an error if it rejects them.
func (r *runner) publishFirst(ctx context.Context, c *client) error {
	number := r.ledger.next(c.number)
	ctx, cancel := context.WithTimeout(ctx, rehearsal/5)
	defer cancel()
	_, err := c.channel.Request(ctx, r.Event, r.payload(c.number, number))
	if e, ok := errors.AsType[*pond.Error](err); ok {
		return fmt.Errorf("the server rejects the event %q: %d %s; use the -event and -payload that its handler expects", r.Event, e.Code, e.Message)
	}
	switch {
	case err == nil:
		r.answers = true
		r.ledger.settle(c.number, number, confirmed)
	case errors.Is(err, errors.ErrUnsupported):
		r.ledger.settle(c.number, number, rejected)
	case errors.Is(err, pondclient.ErrUnknownOutcome):
		r.ledger.settle(c.number, number, unknown)
	case ctx.Err() != nil:
		r.ledger.settle(c.number, number, rejected) // it was not sent
	default:
		return fmt.Errorf("cannot publish the first message: %w", err)
	}
	return nil
}

// await waits until all clients got messages with these numbers, or were removed by the
// server.
func (r *runner) await(ctx context.Context, numbers []int) error {
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for {
		ready := true
		for _, c := range r.clients {
			select {
			case <-c.done:
			default:
				ready = ready && c.account.reached(numbers)
			}
		}
		if ready {
			return nil
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// publish publishes and breaks connections for the duration of the run.
func (r *runner) publish(ctx context.Context) {
	ending, cancel := context.WithCancel(ctx)
	defer cancel()
	publishing := pace{ctx, ending.Done()}
	var tasks sync.WaitGroup
	defer tasks.Wait()
	for _, c := range r.clients[:r.Publishers] {
		tasks.Go(func() { r.keepPublishing(publishing, c) })
	}
	if r.Cut > 0 && r.Clients > 0 {
		tasks.Go(func() { r.keepCutting(ending) })
	}
	timer := time.NewTimer(r.Duration)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
	if r.Wait != nil && ctx.Err() == nil {
		r.enter(Waiting)
		select {
		case <-r.Wait:
		case <-ctx.Done():
		}
	}
	cancel()
}

// A pace determines when to publish the next message. A message that is in flight
// when the time is over is completed, unless ctx is done.
type pace struct {
	ctx context.Context
	end <-chan struct{}
}

// keepPublishing publishes at the pace of one publisher.
func (r *runner) keepPublishing(p pace, c *client) {
	every := time.Duration(float64(r.Publishers) / r.Rate * float64(time.Second))
	ticker := time.NewTicker(max(every, time.Microsecond))
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			if !c.publish(p.ctx) {
				return
			}
		case <-p.end:
			return
		}
	}
}

// keepCutting breaks the connections of random clients. Event streams are only
// reset: a server detects a silent one too late for a short run.
func (r *runner) keepCutting(ctx context.Context) {
	for {
		pause := time.Duration(rand.ExpFloat64() * float64(r.Cut)) //nolint:gosec // it chooses who is cut off
		timer := time.NewTimer(min(pause, 10*r.Cut))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return
		}
		c := r.clients[r.Publishers+rand.IntN(r.Clients)] //nolint:gosec // the same
		f := reset
		if c.transport == pondclient.WebSocket && rand.IntN(4) == 0 { //nolint:gosec // the same
			f = silent
		}
		if c.network.cut(f) {
			r.mu.Lock()
			r.cuts++
			r.mu.Unlock()
		}
	}
}

// settle waits until all clients are members again, which is when they get a
// message that is published now. Another one follows, so that messages that arrive right
// behind the first one do not count as lost. It returns false if ctx is done first.
func (r *runner) settle(ctx context.Context) bool {
	r.ledger.finish()
	for probes := 2; ctx.Err() == nil; {
		numbers := make([]int, r.Publishers)
		var tasks sync.WaitGroup
		for i, c := range r.clients[:r.Publishers] {
			numbers[i] = r.ledger.last(i) + 1
			tasks.Go(func() {
				if !c.publish(ctx) {
					numbers[i] = 0 // it was removed
				}
			})
		}
		tasks.Wait()
		short, cancel := context.WithTimeout(ctx, time.Second)
		done := r.await(short, numbers) == nil
		cancel()
		if done {
			probes--
		}
		if probes == 0 {
			return true
		}
	}
	return false
}
