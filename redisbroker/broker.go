// Package redisbroker connects the nodes of a cluster through Redis or Valkey, version
// 6.2 or later: a single server, one with Sentinels, or a Redis cluster:
//
//	b, err := redisbroker.New("redis://user:password@host:6379")
//
// Topics have the names of version 1 of the distributed protocol of PondSocket, so that
// servers in other languages can be part of the cluster: see docs/cluster-protocol.md.
// Messages go through pub/sub, with exact names only. Logs are streams.
//
// After an outage, a node holds its messages until a topic has as many subscribers as
// before, at most 2.5 s after the server answers again, because other nodes may reconnect
// later than this one. In a Redis cluster, an outage of one server does not hold the
// messages of topics of the others.
//
// A broker with the default prefix needs a Redis user with these permissions:
//
//	ACL SETUSER pond on >password resetchannels &pondsocket:* ~pondsocket:* +@connection +@pubsub +@scripting +@stream +@hash +del +pexpire +info +time
//
// In a Redis cluster, the user also needs these:
//
//	+cluster|info +cluster|slots +cluster|shards
package redisbroker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pondsocket/pond"
	"github.com/pondsocket/pond/internal/remotebroker"
	"github.com/redis/rueidis"
)

// A Broker connects one node. It is a [pond.BrokerLog].
type Broker struct {
	cfg    config
	option rueidis.ClientOption
	prefix string // of channels: "pondsocket:v1:default:"
	keys   string // of keys: "pondsocket:log1:default:"
	core   *remotebroker.Core
	holder *holder
	look   chan struct{} // has an element if the slots of a cluster may have changed

	client atomic.Pointer[rueidis.Client] // nil until the first connection

	mu      sync.Mutex // guards the following fields, and the dirty topics of servers
	servers []*server  // the only one, or those of a cluster
	slots   *slots     // nil if it is not a cluster
}

var (
	_ pond.BrokerLog    = (*Broker)(nil)
	_ pond.BrokerWaiter = (*Broker)(nil)
)

type config struct {
	prefix, namespace string
	maxBytes          int
	probeInterval     time.Duration
	logger            *slog.Logger
	client            []func(*rueidis.ClientOption)
}

// An Option configures a [Broker].
type Option func(*config)

// WithPrefix sets the beginning of the names of all channels and keys. It must be the
// same on all nodes. The default is "pondsocket", which servers in other languages
// use.
func WithPrefix(prefix string) Option { return func(c *config) { c.prefix = prefix } }

// WithNamespace separates several clusters that share a server and a prefix. The
// default is "default".
func WithNamespace(name string) Option { return func(c *config) { c.namespace = name } }

// WithMaxBytes sets the maximum size of a message, at least 64 KiB. The default is 4
// MiB.
func WithMaxBytes(bytes int) Option {
	if bytes < 64<<10 {
		panic(fmt.Sprintf("redisbroker: WithMaxBytes(%d): must be at least 64 KiB", bytes)) //nolint:forbidigo // misuse at registration
	}
	return func(c *config) { c.maxBytes = bytes }
}

// WithProbeInterval sets the idle time after which the broker checks its subscriptions
// by sending a message to itself. If the message does not arrive within the same time,
// the broker reconnects, so it detects a dead connection within three intervals. In a
// Redis cluster, the broker requests the slots of the servers every two intervals. The
// default is 1.5 s.
func WithProbeInterval(d time.Duration) Option {
	if d <= 0 {
		panic(fmt.Sprintf("redisbroker: WithProbeInterval(%v): must be positive", d)) //nolint:forbidigo // misuse at registration
	}
	return func(c *config) { c.probeInterval = d }
}

// WithLogger sets the logger for lost connections: one record per outage and server. The
// default is [slog.Default].
func WithLogger(l *slog.Logger) Option { return func(c *config) { c.logger = l } }

// WithClientOption changes the options of the Redis client: TLS certificates, changing
// credentials, timeouts. The default is the options in the URL.
func WithClientOption(change func(*rueidis.ClientOption)) Option {
	return func(c *config) { c.client = append(c.client, change) }
}

// errURL does not contain the URL or a part of it, because that may be a password.
var errURL = errors.New(`redisbroker: invalid URL (is the password percent-encoded, for example "%2F" for "/"?)`)

// New returns a broker for a server. The URL has the form
//
//	redis://USER:PASSWORD@HOST:PORT?addr=HOST2:PORT2&master_set=NAME
//
// with rediss for TLS. With several addresses, the servers are a cluster, or, with
// master_set, the Sentinels of the server with that name. The number of a database only
// applies to the keys of logs.
//
// New does not wait for a connection. If the server is not reachable, the broker connects
// later. New returns an error only for an invalid URL. The broker uses goroutines and
// connections until [Broker.Close].
func New(url string, opts ...Option) (*Broker, error) {
	option, err := rueidis.ParseURL(url)
	if err != nil {
		return nil, errURL
	}
	option.DisableCache = true
	option.AlwaysPipelining = true // so that contexts interrupt calls, but do not close connections
	option.Sentinel.TopologyRefreshInterval = 5 * time.Second
	if option.Dialer.Timeout == 0 {
		option.Dialer.Timeout = remotebroker.DialTimeout
	}
	cfg := config{
		prefix: "pondsocket", namespace: "default",
		maxBytes: 4 << 20, probeInterval: 1500 * time.Millisecond, logger: slog.Default(),
	}
	for _, opt := range opts {
		opt(&cfg)
	}
	option.ClusterOption.ShardsRefreshInterval = cfg.slotsInterval()
	for _, change := range cfg.client {
		change(&option)
	}
	b := &Broker{
		cfg:    cfg,
		option: option,
		prefix: cfg.prefix + ":v1:" + cfg.namespace + ":",
		keys:   cfg.prefix + ":log1:" + cfg.namespace + ":",
		look:   make(chan struct{}, 1),
	}
	b.holder = newHolder(b)
	b.core = remotebroker.New("redisbroker",
		func(_ context.Context, s *remotebroker.Subscription) { b.changed(s.Topic) },
		func(s *remotebroker.Subscription) { b.holder.forget(s.Topic); b.changed(s.Topic) })
	b.core.Go(b.run)
	return b, nil
}

// run connects, and keeps the subscriptions connected until the broker is closed.
func (b *Broker) run() {
	var client rueidis.Client
	logged := false
	remotebroker.Retry(b.core.Context(), func() (err error) {
		if client, err = rueidis.NewClient(b.option); err != nil {
			err = b.core.Error(err)
			b.core.SetTrouble(err)
			if !logged {
				logged = true
				b.cfg.logger.Warn("redisbroker: no connection", "server", b.addrs(), "error", err)
			}
		}
		return err
	})
	if client == nil {
		return
	}
	b.client.Store(&client)
	if client.Mode() == rueidis.ClientModeCluster {
		b.followSlots(client)
		return
	}
	s := b.newServer(b.addrs())
	b.mu.Lock()
	b.servers = []*server{s}
	b.core.SetTrouble(nil)
	b.mu.Unlock()
	s.run(client)
}

// addrs returns the addresses in the URL.
func (b *Broker) addrs() string { return strings.Join(b.option.InitAddress, ",") }

// MaxBytes returns the maximum size of a message; see [WithMaxBytes].
func (b *Broker) MaxBytes() int { return b.cfg.maxBytes }

// Health returns nil if the subscriptions are connected, and the last probe arrived. In
// a Redis cluster, this applies to the subscriptions at all of its servers.
func (b *Broker) Health() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := b.core.Health(); err != nil {
		return err
	}
	for _, s := range b.servers {
		if err := s.trouble.Get(); err != nil {
			return err
		}
	}
	return nil
}

// Subscribe implements [pond.Broker].
func (b *Broker) Subscribe(ctx context.Context, topic string, r pond.Receiver) (io.Closer, error) {
	return b.core.Subscribe(ctx, topic, topic, r)
}

// do runs a call that needs the client. The call ends when ctx is done or the broker is
// closed.
func (b *Broker) do(ctx context.Context, f func(ctx context.Context, client rueidis.Client) error) error {
	client := b.client.Load()
	if client == nil {
		return b.Health()
	}
	return b.core.Do(ctx, func(ctx context.Context) error { return f(ctx, *client) })
}

// AwaitSubscribers implements [pond.BrokerWaiter].
func (b *Broker) AwaitSubscribers(ctx context.Context, topic string) error {
	select {
	case <-b.holder.closed:
		return pond.ErrClosed
	default:
	}
	if !b.holder.holding.Load() && ctx.Err() == nil {
		return nil
	}
	return b.core.Do(ctx, func(ctx context.Context) error { return b.holder.await(ctx, topic) })
}

// Publish implements [pond.Broker].
func (b *Broker) Publish(ctx context.Context, topic string, batch [][]byte) error {
	if len(batch) == 0 {
		return nil
	}
	if err := b.checkSizes(batch); err != nil {
		return err
	}
	return b.do(ctx, func(ctx context.Context, client rueidis.Client) error {
		cmds := make(rueidis.Commands, len(batch))
		for i, data := range batch {
			cmds[i] = client.B().Publish().Channel(b.prefix + topic).Message(rueidis.BinaryString(escape(data))).Build()
		}
		if client.Mode() == rueidis.ClientModeCluster {
			// All messages of a topic go through the server that has its log, so that they stay
			// in order.
			slot := b.keysOf(topic)[0]
			for i := range cmds {
				cmds[i] = cmds[i].SetSlot(slot)
			}
		}
		if len(cmds) == 1 {
			return b.published(topic, client.Do(ctx, cmds[0]))
		}
		for _, result := range client.DoMulti(ctx, cmds...) {
			if err := b.published(topic, result); err != nil {
				return err
			}
		}
		return nil
	})
}

// published handles the answer to PUBLISH: the number of subscribers that received the
// message.
func (b *Broker) published(topic string, result rueidis.RedisResult) error {
	count, err := result.AsInt64()
	if err == nil {
		b.holder.record(topic, count)
	} else if _, rejected := rueidis.IsRedisErr(err); !rejected && !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded) {
		b.outage(topic)
	}
	return err
}

// outage records that the server of a topic did not answer.
func (b *Broker) outage(topic string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if s := b.ownerLocked(topic); s != nil {
		b.holder.outage(s)
	}
}

func (b *Broker) checkSizes(batch [][]byte) error {
	for _, data := range batch {
		if len(data) > b.cfg.maxBytes {
			return fmt.Errorf("redisbroker: %d bytes: %w", len(data), pond.ErrTooLarge)
		}
	}
	return nil
}

// Close implements [pond.Broker]. Calls of AwaitSubscribers return [pond.ErrClosed]
// immediately.
func (b *Broker) Close(ctx context.Context) error {
	b.holder.close()
	err := b.core.Close(ctx)
	if client := b.client.Swap(nil); client != nil {
		(*client).Close()
	}
	return err
}

// topicOf returns the topic of a Redis channel.
func (b *Broker) topicOf(channel string) (topic string, ok bool) {
	return strings.CutPrefix(channel, b.prefix)
}
