package doctor

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// An idleResult describes what happened on an idle connection.
type idleResult struct {
	heartbeats int
	silent     time.Duration // time without data before the end, or before the last heartbeat
	lifetime   time.Duration
	end        error // nil if it stayed open
}

// checkIdle keeps connections idle, and checks whether they stay open. A proxy closes
// them if its timeout is shorter than the server's heartbeat interval.
func (x *checker) checkIdle(ctx context.Context) {
	if x.Idle <= 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, x.Idle)
	defer cancel()
	var clock, tasks sync.WaitGroup
	var socket, stream idleResult
	clock.Go(func() { x.countDown(ctx) })
	if x.webSocket {
		tasks.Go(func() { socket = x.idleSocket(ctx) })
	}
	if x.stream {
		tasks.Go(func() { stream = x.idleEventStream(ctx) })
	}
	tasks.Wait()
	cancel()
	clock.Wait()
	if x.webSocket {
		x.reportIdle(idleWebSocket, socket)
	}
	if x.stream {
		x.reportIdle(idleStream, stream)
	}
}

// countDown reports the remaining time.
func (x *checker) countDown(ctx context.Context) {
	if x.Waiting == nil {
		return
	}
	defer x.Waiting(0)
	second := time.NewTicker(time.Second)
	defer second.Stop()
	for left := x.Idle; left > 0; left -= time.Second {
		x.Waiting(left)
		select {
		case <-second.C:
		case <-ctx.Done():
			return
		}
	}
}

func (x *checker) idleSocket(ctx context.Context) idleResult {
	w, err := x.upgrade(ctx)
	if err != nil {
		return idleResult{end: err}
	}
	defer w.close()
	return w.idle(ctx)
}

func (x *checker) idleEventStream(ctx context.Context) idleResult {
	s, err := x.open(ctx)
	if err != nil {
		return idleResult{end: err}
	}
	defer s.close()
	return s.idle(ctx)
}

// idle reads until ctx is done or the connection ends.
func (c *conn) idle(ctx context.Context) (r idleResult) {
	start := time.Now()
	received := start
	for {
		e, err := c.next(ctx)
		r.lifetime = time.Since(start)
		if errors.Is(err, errSilence) {
			return r
		}
		r.silent = time.Since(received)
		if err != nil {
			r.end = err
			return r
		}
		received = time.Now()
		if e.heartbeat {
			r.heartbeats++
		}
	}
}

func (x *checker) reportIdle(check Check, r idleResult) {
	switch {
	case r.end != nil:
		x.problem(check, fmt.Sprintf("closed after %.0f s, %.0f s after the last data from the server: %v",
			r.lifetime.Seconds(), r.silent.Seconds(), x.withoutURL(r.end)),
			"set the proxy's timeout above the server's heartbeat interval of 30 s (for example 75 s), or shorten the interval (WithPingInterval)")
	case r.heartbeats == 0:
		x.warn(check, fmt.Sprintf("open after %v, but no heartbeat arrived", x.Idle),
			"make -idle longer than the server's heartbeat interval (30 s for a Pond); without heartbeats, proxies close idle connections")
	default:
		x.ok(check, "open after %v; heartbeats: %d, the last after %.0f s without data", x.Idle, r.heartbeats, r.silent.Seconds())
	}
}
