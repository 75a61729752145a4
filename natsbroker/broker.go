// Package natsbroker connects the nodes of a cluster by NATS:
//
//	b, err := natsbroker.New("nats://user:password@host:4222")
//
// It uses core NATS, which keeps no messages: the broker has no log. Each topic is one
// exact subject, below PREFIX.NAMESPACE, which is "pond.default" by default. Other
// PondSocket servers do not use NATS, so all nodes are of pond.
//
// If several NATS servers form a cluster, they tell each other about a new subscription
// after they have confirmed it. For this moment, messages that are published at another
// server may not arrive, which is more than the contract of [pond.Broker] allows.
package natsbroker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/pondsocket/pond"
)

const (
	dialTimeout  = 5 * time.Second
	callTimeout  = 30 * time.Second // of calls whose context has no deadline
	firstBackoff = 100 * time.Millisecond
	maxBackoff   = 5 * time.Second
)

// defaultMaxBytes is the limit of a server that is not configured otherwise.
const defaultMaxBytes = 1 << 20

var errConnecting = errors.New("natsbroker: not connected yet")

// A Broker connects one node. It is a [pond.Broker].
type Broker struct {
	cfg     config
	url     string
	subject string // of all topics: "pond.default."
	ended   chan struct{}

	ctx    context.Context // ends when Close does not wait any longer
	cancel context.CancelFunc

	maxBytes atomic.Int64
	trouble  atomic.Pointer[error] // why Health is not nil

	mu      sync.Mutex // guards the following fields
	link    *link      // nil: not connected
	named   []string   // other servers of a cluster, that the last server has named
	subs    map[string]*subscription
	closing bool
	active  int           // calls that Close waits for
	quiet   chan struct{} // closed when active is zero, while Close waits
}

var _ pond.Broker = (*Broker)(nil)

type config struct {
	prefix, namespace string
	probeInterval     time.Duration
	queue             int
	logger            *slog.Logger
	client            []nats.Option
}

// An Option configures a [Broker].
type Option func(*config)

// WithPrefix sets what the subjects begin with. It may have several tokens, such as
// "acme.pond". The default is "pond".
func WithPrefix(prefix string) Option { return func(c *config) { c.prefix = prefix } }

// WithNamespace separates several clusters that share a server. The default is
// "default".
func WithNamespace(name string) Option { return func(c *config) { c.namespace = name } }

// WithProbeInterval sets how often the broker asks whether the server still answers. If
// it leaves two questions open, the broker reconnects. The default is 1.5 s.
func WithProbeInterval(d time.Duration) Option {
	if d <= 0 {
		panic(fmt.Sprintf("natsbroker: WithProbeInterval(%v): must be positive", d)) //nolint:forbidigo // misuse at registration
	}
	return func(c *config) { c.probeInterval = d }
}

// WithQueue limits the messages that are queued for the receivers of the node. When it
// is full, the broker reconnects, and all receivers get a Gap. The default is 65,536.
func WithQueue(messages int) Option {
	if messages <= 0 {
		panic(fmt.Sprintf("natsbroker: WithQueue(%d): must be positive", messages)) //nolint:forbidigo // misuse at registration
	}
	return func(c *config) { c.queue = messages }
}

// WithLogger sets where lost connections are logged. The default is [slog.Default].
func WithLogger(l *slog.Logger) Option { return func(c *config) { c.logger = l } }

// WithClientOption adds options of the NATS client: credentials, TLS certificates, a
// name. Options about reconnecting have no effect. The default is none.
func WithClientOption(opts ...nats.Option) Option {
	return func(c *config) { c.client = append(c.client, opts...) }
}

// New returns a broker for a server, or for several whose URLs are separated by commas,
// such as "nats://a:4222,nats://b:4222" or, for TLS, "tls://a:4222".
//
// New does not wait for a connection. If the server is not reachable, the broker connects
// later. New returns an error for an invalid prefix or option only.
// The broker uses goroutines and a connection until [Broker.Close].
func New(url string, opts ...Option) (*Broker, error) {
	cfg := config{
		prefix: "pond", namespace: "default",
		probeInterval: 1500 * time.Millisecond, queue: 64 << 10, logger: slog.Default(),
	}
	for _, opt := range opts {
		opt(&cfg)
	}
	if err := checkPrefix(cfg.prefix); err != nil {
		return nil, err
	}
	options := nats.GetDefaultOptions()
	for _, opt := range cfg.client {
		if err := opt(&options); err != nil {
			return nil, fmt.Errorf("natsbroker: invalid option: %w", err)
		}
	}
	b := &Broker{
		cfg:     cfg,
		url:     url,
		subject: cfg.prefix + "." + token(cfg.namespace) + ".",
		ended:   make(chan struct{}),
		subs:    map[string]*subscription{},
	}
	b.maxBytes.Store(defaultMaxBytes)
	b.ctx, b.cancel = context.WithCancel(context.Background()) //nolint:forbidigo // the broker's own life
	b.setTrouble(errConnecting)
	go b.run()
	return b, nil
}

// checkPrefix returns an error if prefix is not a subject.
func checkPrefix(prefix string) error {
	for t := range strings.SplitSeq(prefix, ".") {
		if t == "" || strings.ContainsAny(t, " \t\r\n*>") {
			return fmt.Errorf("natsbroker: invalid prefix %q", prefix)
		}
	}
	return nil
}

// run keeps the broker connected until it is closed.
func (b *Broker) run() {
	defer close(b.ended)
	backoff := firstBackoff
	for b.ctx.Err() == nil {
		began := time.Now()
		err := b.connect()
		if b.ctx.Err() != nil {
			return
		}
		b.setTrouble(err)
		b.cfg.logger.Warn("natsbroker: connection lost", "error", err)
		if time.Since(began) > maxBackoff {
			backoff = firstBackoff // it worked for a while
		}
		b.sleep(rand.N(backoff)) //nolint:gosec // not a secret
		backoff = min(2*backoff, maxBackoff)
	}
}

// sleep waits, but not longer than the broker lives.
func (b *Broker) sleep(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-b.ctx.Done():
	}
}

// MaxBytes returns the limit of the server, max_payload, as of the last connection.
func (b *Broker) MaxBytes() int { return int(b.maxBytes.Load()) }

// Health returns nil if the broker is connected.
func (b *Broker) Health() error {
	b.mu.Lock()
	closing := b.closing
	b.mu.Unlock()
	if closing {
		return pond.ErrClosed
	}
	if err := b.trouble.Load(); err != nil {
		return *err
	}
	return nil
}

func (b *Broker) setTrouble(err error) {
	if err == nil {
		b.trouble.Store(nil)
		return
	}
	b.trouble.Store(&err)
}

// Publish implements [pond.Broker].
func (b *Broker) Publish(ctx context.Context, topic string, batch [][]byte) error {
	if len(batch) == 0 {
		return nil
	}
	for _, data := range batch {
		if len(data) > b.MaxBytes() {
			return fmt.Errorf("natsbroker: %d bytes: %w", len(data), pond.ErrTooLarge)
		}
	}
	l, err := b.begin()
	if err != nil {
		return err
	}
	defer b.finish()
	if ctx.Err() != nil {
		return fmt.Errorf("natsbroker: %w", context.Cause(ctx))
	}
	call, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	defer context.AfterFunc(b.ctx, cancel)()
	// The client waits without a context when its buffer is full.
	done := make(chan error, 1)
	go func() { done <- l.publish(call, b.subject+token(topic), batch) }()
	select {
	case err = <-done:
	case <-call.Done():
		err = call.Err()
	}
	return b.failure(ctx, err)
}

// failure returns the error of a call, in the form of the contract.
func (b *Broker) failure(ctx context.Context, err error) error {
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return fmt.Errorf("natsbroker: %w", context.Cause(ctx))
	case b.ctx.Err() != nil:
		return pond.ErrClosed
	}
	return fmt.Errorf("natsbroker: %w", err)
}

// begin begins a call that Close waits for, and returns the connection.
func (b *Broker) begin() (*link, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closing {
		return nil, pond.ErrClosed
	}
	if b.link == nil {
		if err := b.trouble.Load(); err != nil {
			return nil, *err
		}
		return nil, errConnecting
	}
	b.active++
	return b.link, nil
}

// finish ends a call.
func (b *Broker) finish() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.active--
	if b.active == 0 && b.quiet != nil {
		close(b.quiet)
		b.quiet = nil
	}
}

// Close implements [pond.Broker].
func (b *Broker) Close(ctx context.Context) error {
	err := b.awaitCalls(ctx)
	b.cancel()
	<-b.ended
	b.mu.Lock()
	var subs []*subscription
	for _, s := range b.subs {
		subs = append(subs, s)
	}
	clear(b.subs)
	b.mu.Unlock()
	for _, s := range subs {
		s.end()
	}
	return err
}

// awaitCalls refuses new calls and waits for those in progress.
func (b *Broker) awaitCalls(ctx context.Context) error {
	b.mu.Lock()
	b.closing = true
	if b.active > 0 && b.quiet == nil {
		b.quiet = make(chan struct{})
	}
	quiet := b.quiet
	b.mu.Unlock()
	if quiet == nil {
		return nil
	}
	select {
	case <-quiet:
		return nil
	case <-ctx.Done():
	}
	b.cancel()
	<-quiet
	return fmt.Errorf("natsbroker: calls were interrupted: %w", context.Cause(ctx))
}
