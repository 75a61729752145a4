// Package natsbroker connects the nodes of a cluster through NATS:
//
//	b, err := natsbroker.New("nats://user:password@host:4222")
//
// It uses core NATS, which does not store messages, so the broker has no log. Each
// topic is one exact subject, below PREFIX.NAMESPACE, which is "pond.default" by
// default. Other PondSocket servers do not use NATS, so all nodes must be pond nodes.
//
// After an outage, nodes reconnect at different times, at most about two seconds apart. A
// message that is published before another node is connected again does not reach that
// node, because a NATS server does not report the number of subscribers. That node gets a
// Gap.
//
// In a cluster of NATS servers, messages may be lost without a Gap, which the contract of
// [pond.Broker] does not allow: a server confirms a new subscription before the other
// servers know it, and while two servers are not connected, neither forwards messages to
// the other. The broker cannot detect this, because it is connected to one server.
package natsbroker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	neturl "net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/pondsocket/pond"
	"github.com/pondsocket/pond/internal/remotebroker"
)

// callTimeout limits calls whose context has no deadline.
const callTimeout = 30 * time.Second

// defaultMaxBytes is the limit of a server that is not configured otherwise.
const defaultMaxBytes = 1 << 20

// A Broker connects one node. It is a [pond.Broker].
type Broker struct {
	cfg     config
	url     string
	subject string // of all subjects: "pond.default."
	core    *remotebroker.Core

	maxBytes atomic.Int64
	lost     bool // the current outage was logged; owned by run

	mu    sync.Mutex // guards the following fields
	link  *link      // nil if not connected
	named []string   // other servers of the cluster, as reported by the last server
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

// WithPrefix sets the prefix of all subjects. It may have several tokens, such as
// "acme.pond". The default is "pond".
func WithPrefix(prefix string) Option { return func(c *config) { c.prefix = prefix } }

// WithNamespace separates several clusters that share a server. The default is
// "default".
func WithNamespace(name string) Option { return func(c *config) { c.namespace = name } }

// WithProbeInterval sets the interval of pings to the server. If two pings are not
// answered, the broker reconnects. The default is 1.5 s.
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

// WithLogger sets the logger for lost connections, one record per outage, and for errors
// that the server reports. The default is [slog.Default].
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
// later. New returns an error only for an invalid URL, prefix or option. The broker uses
// goroutines and a connection until [Broker.Close].
func New(url string, opts ...Option) (*Broker, error) {
	cfg := config{
		prefix: "pond", namespace: "default",
		probeInterval: 1500 * time.Millisecond, queue: 64 << 10, logger: slog.Default(),
	}
	for _, opt := range opts {
		opt(&cfg)
	}
	urls, err := parseURLs(url)
	if err := errors.Join(err, checkPrefix(cfg.prefix)); err != nil {
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
		url:     urls,
		subject: cfg.prefix + "." + token(cfg.namespace) + ".",
	}
	b.maxBytes.Store(defaultMaxBytes)
	b.core = remotebroker.New("natsbroker", b.added, b.removed)
	b.core.Go(b.run)
	return b, nil
}

// errURL does not contain the URL or a part of it, because that may be a password.
var errURL = errors.New(`natsbroker: invalid URL (is the password percent-encoded, for example "%2F" for "/"?)`)

// parseURLs returns URLs that are separated by commas, with the scheme that each may lack.
func parseURLs(text string) (string, error) {
	urls := strings.Split(text, ",")
	for i, u := range urls {
		u = strings.TrimSpace(u)
		if !strings.Contains(u, "://") {
			u = "nats://" + u
		}
		if parsed, err := neturl.Parse(u); err != nil || parsed.Hostname() == "" {
			return "", errURL
		}
		urls[i] = u
	}
	return strings.Join(urls, ","), nil
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
	ctx := b.core.Context()
	remotebroker.Retry(ctx, func() error {
		err := b.connect()
		if ctx.Err() == nil {
			b.core.SetTrouble(err)
			if !b.lost {
				b.lost = true
				b.cfg.logger.Warn("natsbroker: connection lost", "server", b.hosts(), "error", err)
			}
		}
		return err
	})
}

// MaxBytes returns max_payload, the limit of the server of the last connection.
func (b *Broker) MaxBytes() int { return int(b.maxBytes.Load()) }

// Health returns nil if the broker is connected.
func (b *Broker) Health() error { return b.core.Health() }

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
	return b.core.Do(ctx, func(ctx context.Context) error {
		l := b.current()
		if l == nil {
			return errNotConnected
		}
		ctx, cancel := context.WithTimeout(ctx, callTimeout)
		defer cancel()
		// The client waits without a context when its buffer is full.
		done := make(chan error, 1)
		go func() { done <- l.publish(ctx, b.subject+token(topic), batch) }()
		select {
		case err := <-done:
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
	})
}

var errNotConnected = errors.New("not connected")

// current returns the connection, or nil.
func (b *Broker) current() *link {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.link
}

// Subscribe implements [pond.Broker].
func (b *Broker) Subscribe(ctx context.Context, topic string, r pond.Receiver) (io.Closer, error) {
	return b.core.Subscribe(ctx, topic, b.subject+token(topic), r)
}

// added subscribes on the connection, if there is one. If this fails, the next
// connection subscribes.
func (b *Broker) added(ctx context.Context, s *remotebroker.Subscription) {
	l := b.current()
	if l == nil {
		return
	}
	call, cancel := context.WithTimeout(ctx, callTimeout)
	done := make(chan struct{})
	stop := context.AfterFunc(b.core.Context(), cancel)
	go func() {
		defer close(done)
		defer cancel()
		defer stop()
		_ = l.add(call, s)
	}()
	select {
	case <-done:
	case <-call.Done(): // the client waits without a context when its buffer is full
	}
}

// removed unsubscribes on the connection, if there is one.
func (b *Broker) removed(s *remotebroker.Subscription) {
	if l := b.current(); l != nil {
		l.remove(s.Key)
	}
}

// Close implements [pond.Broker].
func (b *Broker) Close(ctx context.Context) error { return b.core.Close(ctx) }
