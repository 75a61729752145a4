package doctor

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// A rest is what happened on a connection that was left alone.
type rest struct {
	beats  int
	silent time.Duration // before the end, or before the last beat
	lived  time.Duration
	end    error // nil if it lived
}

// checkIdle leaves connections alone, and looks who cuts them: proxies do, if
// their timeout is shorter than the server's heartbeat.
func (x *exam) checkIdle(ctx context.Context) {
	if x.Idle <= 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, x.Idle)
	defer cancel()
	var clock, tasks sync.WaitGroup
	var socket, stream rest
	clock.Go(func() { x.countDown(ctx) })
	if x.webSocket {
		tasks.Go(func() { socket = x.restSocket(ctx) })
	}
	if x.stream {
		tasks.Go(func() { stream = x.restStream(ctx) })
	}
	tasks.Wait()
	cancel()
	clock.Wait()
	if x.webSocket {
		x.reportRest(idleWebSocket, socket)
	}
	if x.stream {
		x.reportRest(idleStream, stream)
	}
}

// countDown tells how long it still takes.
func (x *exam) countDown(ctx context.Context) {
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

func (x *exam) restSocket(ctx context.Context) rest {
	w, err := x.upgrade(ctx)
	if err != nil {
		return rest{end: err}
	}
	defer w.close()
	return w.rest(ctx)
}

func (x *exam) restStream(ctx context.Context) rest {
	s, err := x.open(ctx)
	if err != nil {
		return rest{end: err}
	}
	defer s.close()
	return s.rest(ctx)
}

// rest listens until ctx is done or the connection ends.
func (c *conn) rest(ctx context.Context) (r rest) {
	start := time.Now()
	heard := start
	for {
		e, err := c.next(ctx)
		r.lived = time.Since(start)
		if errors.Is(err, errSilence) {
			return r
		}
		r.silent = time.Since(heard)
		if err != nil {
			r.end = err
			return r
		}
		heard = time.Now()
		if e.heartbeat {
			r.beats++
		}
	}
}

func (x *exam) reportRest(check Check, r rest) {
	switch {
	case r.end != nil:
		x.problem(check, fmt.Sprintf("cut after %.0f s, %.0f s after the server was last heard: %v",
			r.lived.Seconds(), r.silent.Seconds(), x.plain(r.end)),
			"give the proxy a timeout above the server's heartbeat of 30 s (75 s, say), or let it beat faster (WithPingInterval)")
	case r.beats == 0:
		x.warn(check, fmt.Sprintf("alive after %v, but no heartbeat came", x.Idle),
			"make -idle longer than the server's heartbeat (30 s if it is a Pond); if it has none, proxies cut sooner or later")
	default:
		x.ok(check, "alive after %v; heartbeats: %d, the last after %.0f s of silence", x.Idle, r.beats, r.silent.Seconds())
	}
}
