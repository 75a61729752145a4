// Package verify finds out whether a server loses messages. It joins a channel with
// many clients over all transports and addresses, publishes numbered messages, breaks
// connections at random, and compares the published messages with those that each
// client got.
//
// A message that a client did not get is announced as lost if the client was told that
// messages may be missing (a [pondclient.Gap]), and lost silently otherwise.
package verify

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/pondsocket/pond/internal/load"
	"github.com/pondsocket/pond/pondclient"
)

// A Config describes one run.
type Config struct {
	// URLs are those of one endpoint, such as one for each server of a cluster.
	// Clients are spread over them evenly.
	URLs []string

	// Transports are those of the clients, in turn.
	Transports []pondclient.Transport

	Header   http.Header     // of all requests
	Channel  string          // that all clients join
	Join     json.RawMessage // the payload of joins; empty is {}
	Event    string          // that the publishers send
	Payload  load.Payload    // of messages
	Insecure bool            // accept any certificate

	Clients    int // clients that only listen, and whose connections are broken
	Publishers int // clients that publish, and listen as well

	Rate     float64       // messages per second, of all publishers
	Cut      time.Duration // average time between two broken connections; 0 breaks none
	Duration time.Duration // of publishing

	// Wait prolongs publishing until it is closed. It may be nil.
	Wait <-chan struct{}

	// Settle limits the time in which clients must get the last messages at the end.
	Settle time.Duration

	// Progress is called every Interval, one call at a time. It may be nil.
	Progress func(Progress)
	Interval time.Duration

	// Dial opens network connections. If nil, the network is used.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
}

// The phases of a run.
const (
	Connecting = "connect"
	Publishing = "publish"
	Waiting    = "wait"
	Settling   = "settle"
)

// A Progress is the state of a run.
type Progress struct {
	Phase     string
	Elapsed   time.Duration // of the phase
	Clients   int           // joined so far
	Connected int           // at present
	Published int64
	Delivered int64
	Cuts      int64
	Lost      int64 // lost silently, so far
}

// A runner is one run.
type runner struct {
	Config
	ledger     *ledger
	clients    []*client // the publishers first
	latency    load.Recorder
	recovery   load.Recorder
	rejections chan error // of messages; never closed
	answers    bool       // the server answers messages with their IDs

	mu     sync.Mutex // guards the following fields
	phase  string
	since  time.Time
	joined int
	cuts   int64
}

// Run verifies a server. It returns an error if it cannot: the server is not
// reachable, rejects the clients, or does not send the messages to all members. If
// ctx is done, Run ends early and returns its results so far.
func Run(ctx context.Context, cfg Config) (*Result, error) {
	r := &runner{Config: cfg, rejections: make(chan error, 1)}
	r.ledger = newLedger("v"+strings.ToLower(rand.Text()[:8]), cfg.Publishers)
	r.enter(Connecting)
	stop := r.report()
	defer stop()
	defer r.close()
	if err := r.connect(ctx); err != nil {
		return nil, err
	}
	if err := r.rehearse(ctx); err != nil {
		return nil, err
	}
	r.enter(Publishing)
	began := time.Now()
	r.publish(ctx)
	elapsed := time.Since(began)
	r.enter(Settling)
	interrupted := ctx.Err() != nil
	settling, cancel := context.WithTimeout(ctx, r.Settle)
	if interrupted { // messages in transit must not count as lost
		settling, cancel = context.WithTimeout(context.WithoutCancel(ctx), min(r.Settle, interruptedSettle))
	}
	defer cancel()
	settled := r.settle(settling)
	res := r.result(settled || !interrupted)
	res.Elapsed = elapsed
	res.Interrupted = interrupted || ctx.Err() != nil
	return res, nil
}

// interruptedSettle limits the time in which clients must get the last messages of an
// interrupted run.
const interruptedSettle = 2 * time.Second

func (r *runner) enter(phase string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.phase, r.since = phase, time.Now()
}

// report shows the progress until the returned function is called.
func (r *runner) report() (stop func()) {
	if r.Progress == nil {
		return func() {}
	}
	done := make(chan struct{})
	var task sync.WaitGroup
	task.Go(func() {
		ticker := time.NewTicker(r.Interval)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				r.Progress(r.progress())
			case <-done:
				return
			}
		}
	})
	return func() {
		close(done)
		task.Wait()
	}
}

func (r *runner) progress() Progress {
	r.mu.Lock()
	p := Progress{Phase: r.phase, Elapsed: time.Since(r.since), Clients: r.joined, Cuts: r.cuts}
	clients := r.clients[:r.joined]
	r.mu.Unlock()
	p.Published = r.ledger.count()
	for _, c := range clients {
		if c.Client.Transport() != "" {
			p.Connected++
		}
		delivered, lost := c.account.sums(r.ledger)
		p.Delivered += delivered
		p.Lost += lost
	}
	return p
}

const (
	// joinLimit is the number of clients that connect at a time.
	joinLimit = 16

	// dialTimeout limits the time that one client takes to connect.
	dialTimeout = 15 * time.Second
)

// connect connects all clients and joins the channel.
func (r *runner) connect(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, time.Minute, errors.New("it took longer than a minute"))
	defer cancel()
	total := r.Publishers + r.Clients
	r.mu.Lock()
	r.clients = make([]*client, 0, total)
	r.mu.Unlock()
	for first := 0; first < total; first += joinLimit {
		batch := make([]*client, min(joinLimit, total-first))
		failures := make([]error, len(batch))
		var tasks sync.WaitGroup
		for i := range batch {
			tasks.Go(func() { batch[i], failures[i] = r.join(ctx, first+i) })
		}
		tasks.Wait()
		r.mu.Lock()
		for _, c := range batch {
			if c != nil {
				r.clients = append(r.clients, c)
			}
		}
		r.joined = len(r.clients)
		r.mu.Unlock()
		for _, err := range failures {
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// join creates one client. Clients use the combinations of addresses and transports
// in turn; the transport changes first.
func (r *runner) join(ctx context.Context, number int) (*client, error) {
	c := &client{
		runner:    r,
		number:    number,
		url:       r.URLs[number/len(r.Transports)%len(r.URLs)],
		transport: r.Transports[number%len(r.Transports)],
		account:   newAccount(r.Publishers),
		done:      make(chan struct{}),
	}
	c.network.dial = r.Dial
	if c.network.dial == nil {
		c.network.dial = (&net.Dialer{Timeout: 10 * time.Second}).DialContext
	}
	opts := []pondclient.Option{
		pondclient.WithTransport(c.transport),
		pondclient.WithHeader(r.Header),
		pondclient.WithDialContext(c.network.Dial),
		pondclient.WithLogger(slog.New(slog.DiscardHandler)),
		pondclient.WithBackoff(pondclient.Backoff{First: 200 * time.Millisecond, Max: 3 * time.Second, Healthy: 10 * time.Second}),
		pondclient.WithHeartbeat(3*time.Second, 2*time.Second),
		pondclient.WithConnectTimeout(10 * time.Second),
		pondclient.WithPolicy(func(e *pondclient.ConnectionError) pondclient.Action {
			if c.wasConnected() { // any response of a server or proxy that restarts
				return pondclient.Retry
			}
			return pondclient.DefaultAction(e)
		}),
		pondclient.WithObserver(&pondclient.Observer{
			Connected:    func(string, pondclient.Transport) { c.connected() },
			Disconnected: func(*pondclient.ConnectionError, pondclient.Action, time.Duration) { c.disconnected() },
		}),
	}
	if r.Insecure {
		opts = append(opts, pondclient.WithTLSConfig(&tls.Config{InsecureSkipVerify: true})) //nolint:gosec // the user asked for that
	}
	dialing, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	var err error
	if c.Client, err = pondclient.Dial(dialing, c.url, opts...); err != nil {
		return nil, fmt.Errorf("client %d cannot connect to %s: %w", number, address(c.url), err)
	}
	var params any
	if len(r.Join) > 0 {
		params = r.Join
	}
	c.channel, err = c.Client.Join(ctx, r.Channel, pondclient.WithParams(params), pondclient.WithBuffer(1<<16, 64<<20))
	if err != nil {
		c.close()
		return nil, fmt.Errorf("client %d cannot join %s: %w", number, r.Channel, err)
	}
	go c.listen() //nolint:gosec // it listens until the client is closed
	return c, nil
}

// address returns a URL without its query, which may contain a secret.
func address(u string) string {
	u, _, _ = strings.Cut(u, "?")
	return u
}

func (r *runner) close() {
	var tasks sync.WaitGroup
	for _, c := range r.clients {
		tasks.Go(func() {
			c.close()
			<-c.done
		})
	}
	tasks.Wait()
}
