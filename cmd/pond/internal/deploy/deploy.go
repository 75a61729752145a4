// Package deploy measures what clients notice when their server is replaced: how
// many reconnect at a time, how long this takes, and how many messages they miss.
package deploy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/pondsocket/pond/pondclient"
)

// A Server is one server. It sends an event "tick" to all channels every [Config.Every],
// with a payload {"n":N}, where N is the number of intervals since 1970. Servers that
// run at the same time send the same numbers.
type Server interface {
	// Dial connects to the server.
	Dial(ctx context.Context) (net.Conn, error)

	// Drain shuts down the server gracefully, and waits until it is done.
	Drain() error
}

// A Config describes one run.
type Config struct {
	Clients   int
	Rooms     int // channels that the clients are spread over: /chat/0, /chat/1 and so on
	Transport pondclient.Transport

	// Ignore makes clients ignore the server's RECONNECT. They use their own random
	// delays.
	Ignore bool

	Every  time.Duration // between two ticks
	Warmup time.Duration // before the server is replaced
	Limit  time.Duration // for all clients to reconnect

	// Start starts a server.
	Start func(ctx context.Context) (Server, error)

	// Progress is called several times per second. It may be nil.
	Progress func(phase string, clients int)
}

// A Result contains the measurements of a run. In JSON, durations are in
// nanoseconds.
type Result struct {
	Ignored    bool          `json:"ignored"`    // whether clients ignored RECONNECT
	Clients    int           `json:"clients"`    // that connected to the first server
	Back       int           `json:"back"`       // that were members again within [Config.Limit]
	Failed     int64         `json:"failed"`     // attempts to connect
	PeakSecond int           `json:"peakSecond"` // the most connections in one second
	Peak       int           `json:"peak"`       // the most connections in a tenth of a second
	AllBack    time.Duration `json:"allBack"`    // from the start of the shutdown
	Drained    time.Duration `json:"drained"`    // how long the old server took to end
	Missed     int64         `json:"missed"`     // messages that clients did not get, with a gap
	Lost       int64         `json:"lost"`       // messages that clients did not get, without a gap
}

// Err returns an error if clients did not reconnect or lost messages silently.
func (r *Result) Err() error {
	switch {
	case r.Back < r.Clients:
		return fmt.Errorf("%d of %d clients did not reconnect", r.Clients-r.Back, r.Clients)
	case r.Lost > 0:
		return fmt.Errorf("%d messages were lost silently", r.Lost)
	default:
		return nil
	}
}

// A runner is one run.
type runner struct {
	Config
	http *http.Client

	mu      sync.Mutex // guards the following fields
	server  Server     // gets new connections
	drained time.Time  // when the first server began to shut down; zero before
	opened  []time.Duration
	back    int
	last    time.Duration // when the last client was a member again
	failed  int64
	missed  int64
	lost    int64
	changed chan struct{} // has a value after back changed; its capacity is one
}

// Run makes clients connect to one server, starts another one, and drains the first.
func Run(ctx context.Context, cfg Config) (res *Result, err error) {
	r := &runner{Config: cfg, changed: make(chan struct{}, 1)}
	transport := &http.Transport{DialContext: r.dial, MaxIdleConnsPerHost: 1}
	r.http = &http.Client{Transport: transport}
	defer transport.CloseIdleConnections()
	first, err := cfg.Start(ctx)
	if err != nil {
		return nil, err
	}
	r.server = first
	clients, err := r.connect(ctx)
	defer closeAll(clients)
	if err != nil {
		return nil, errors.Join(err, first.Drain())
	}
	r.progress("run", len(clients))
	if err := pause(ctx, cfg.Warmup); err != nil {
		return nil, errors.Join(err, first.Drain())
	}
	second, err := cfg.Start(ctx)
	if err != nil {
		return nil, errors.Join(err, first.Drain())
	}
	defer func() { err = errors.Join(err, second.Drain()) }()
	defer closeAll(clients)

	r.mu.Lock()
	r.server, r.drained = second, time.Now()
	r.mu.Unlock()
	draining := make(chan error, 1)
	var drained time.Duration
	go func() {
		err := first.Drain()
		drained = time.Since(r.drained)
		draining <- err
	}()
	r.await(ctx, len(clients))
	if err := errors.Join(<-draining, ctx.Err()); err != nil {
		return nil, err
	}
	if err := pause(ctx, 2*cfg.Every); err != nil { // another tick shows whether earlier ones are missing
		return nil, err
	}
	closeAll(clients)
	res = r.result(len(clients))
	res.Drained = drained
	return res, nil
}

// pause waits for d, or until ctx is done.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// dial connects to the server that takes new clients, as a load balancer does.
func (r *runner) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	r.mu.Lock()
	server := r.server
	r.mu.Unlock()
	return server.Dial(ctx)
}

func (r *runner) progress(phase string, clients int) {
	if r.Progress != nil {
		r.Progress(phase, clients)
	}
}

// joinLimit is the number of clients that connect at a time.
const joinLimit = 100

// connect connects all clients.
func (r *runner) connect(ctx context.Context) ([]*pondclient.Client, error) {
	clients := make([]*pondclient.Client, r.Clients)
	for first := 0; first < r.Clients; first += joinLimit {
		var tasks sync.WaitGroup
		failures := make([]error, min(joinLimit, r.Clients-first))
		for i := range failures {
			tasks.Go(func() { clients[first+i], failures[i] = r.join(ctx, first+i) })
		}
		tasks.Wait()
		if err := errors.Join(failures...); err != nil {
			return clients, err
		}
		r.progress("connect", first+len(failures))
	}
	return clients, nil
}

func closeAll(clients []*pondclient.Client) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel() // nothing is queued
	var tasks sync.WaitGroup
	for _, c := range clients {
		if c != nil {
			tasks.Go(func() { _ = c.Close(ctx) })
		}
	}
	tasks.Wait()
}

// join creates one client, and joins its channel.
func (r *runner) join(ctx context.Context, number int) (*pondclient.Client, error) {
	c, err := pondclient.Dial(ctx, "http://pond.invalid/socket",
		pondclient.WithHTTPClient(r.http),
		pondclient.WithTransport(r.Transport),
		pondclient.WithoutCompression(),
		pondclient.WithLogger(slog.New(slog.DiscardHandler)),
		pondclient.WithPolicy(func(e *pondclient.ConnectionError) pondclient.Action {
			if r.Ignore {
				e.RetryAfter = 0
			}
			return pondclient.Retry
		}),
		pondclient.WithObserver(&pondclient.Observer{
			Connected:    func(string, pondclient.Transport) { r.connected() },
			Disconnected: r.disconnected,
		}))
	if err != nil {
		return nil, fmt.Errorf("client %d: %w", number, err)
	}
	ch, err := c.Join(ctx, fmt.Sprintf("/chat/%d", number%r.Rooms), pondclient.WithBuffer(256, 1<<20))
	if err != nil {
		closeAll([]*pondclient.Client{c})
		return nil, fmt.Errorf("client %d: %w", number, err)
	}
	go r.listen(ch) //nolint:gosec // it listens until the client is closed
	return c, nil
}

func (r *runner) connected() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.drained.IsZero() {
		r.opened = append(r.opened, time.Since(r.drained))
	}
}

// disconnected counts attempts that failed.
func (r *runner) disconnected(e *pondclient.ConnectionError, _ pondclient.Action, _ time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.drained.IsZero() && !e.Established() {
		r.failed++
	}
}

// listen checks the ticks of a client.
func (r *runner) listen(ch *pondclient.Channel) {
	var last int64
	gap := false
	for ev, err := range ch.Events(context.Background()) {
		if err != nil {
			return
		}
		switch ev := ev.(type) {
		case *pondclient.Message:
			var tick struct {
				N int64 `json:"n"`
			}
			if ev.Event != "tick" || ev.Bind(&tick) != nil {
				continue
			}
			if last > 0 && tick.N > last+1 {
				r.missing(tick.N-last-1, gap)
			}
			last, gap = max(last, tick.N), false
		case *pondclient.Gap:
			gap = true
			r.returned()
		case *pondclient.Recovered:
			r.returned()
		}
	}
}

func (r *runner) missing(n int64, told bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if told {
		r.missed += n
	} else {
		r.lost += n
	}
}

// returned records that a client is a member again.
func (r *runner) returned() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.back++
	r.last = time.Since(r.drained)
	select {
	case r.changed <- struct{}{}:
	default:
	}
}

// await waits until all clients are members again.
func (r *runner) await(ctx context.Context, clients int) {
	ctx, cancel := context.WithTimeout(ctx, r.Limit)
	defer cancel()
	shown := time.Now()
	for {
		r.mu.Lock()
		back := r.back
		r.mu.Unlock()
		if now := time.Now(); now.Sub(shown) > 100*time.Millisecond {
			shown = now
			r.progress("return", back)
		}
		if back >= clients {
			return
		}
		select {
		case <-r.changed:
		case <-ctx.Done():
			return
		}
	}
}

func (r *runner) result(clients int) *Result {
	r.mu.Lock()
	defer r.mu.Unlock()
	return &Result{
		Ignored: r.Ignore, Clients: clients, Back: r.back, AllBack: r.last, Failed: r.failed, Missed: r.missed, Lost: r.lost,
		PeakSecond: peak(r.opened, time.Second), Peak: peak(r.opened, 100*time.Millisecond),
	}
}

// peak returns the maximum number of times within a span. The times must be in
// order.
func peak(times []time.Duration, span time.Duration) (most int) {
	first := 0
	for i, t := range times {
		for t-times[first] >= span {
			first++
		}
		most = max(most, i-first+1)
	}
	return most
}
