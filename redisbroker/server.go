package redisbroker

import (
	"context"
	"errors"
	"sync/atomic"

	"github.com/pondsocket/pond/internal/remotebroker"
	"github.com/redis/rueidis"
)

// A server is a Redis server from which the broker receives messages: the only server,
// the master that Sentinels report, or one of the servers that share the slots of a
// Redis cluster.
type server struct {
	broker *Broker
	addr   string // in the log, and in a cluster also where to connect
	probe  string // the topic of the probes
	lost   bool   // the current outage was logged; owned by run

	ctx     context.Context // ends when the broker is closed, or when the server has no slots any more
	cancel  context.CancelFunc
	trouble remotebroker.Trouble           // why the subscriptions do not work; nil if they do
	wake    chan struct{}                  // has an element if dirty is not empty
	client  atomic.Pointer[rueidis.Client] // sends to this server; nil while there is none

	dirty map[string]bool // topics that may have to be subscribed to or unsubscribed; guarded by broker.mu
}

func (b *Broker) newServer(addr string) *server {
	s := &server{
		broker: b, addr: addr, probe: "__probe__:" + randomText(),
		wake: make(chan struct{}, 1), dirty: map[string]bool{},
	}
	s.ctx, s.cancel = context.WithCancel(b.core.Context())
	s.trouble.Set(errConnecting)
	return s
}

// run keeps the subscriptions connected until the context of the server ends.
func (s *server) run(client rueidis.Client) {
	s.client.Store(&client)
	remotebroker.Retry(s.ctx, func() error {
		err := newLink(s, client).serve()
		if s.ctx.Err() == nil {
			s.fail(err)
		}
		return err
	})
}

// runAlone is run for a server of a cluster, with its own client: the client of the
// broker does not select a particular server.
func (s *server) runAlone() {
	b := s.broker
	option := b.option
	option.InitAddress = []string{s.addr}
	option.ForceSingleClient = true
	option.PipelineMultiplex = -1 // one connection
	remotebroker.Retry(s.ctx, func() error {
		client, err := rueidis.NewClient(option)
		if err == nil {
			s.client.Store(&client)
			err = newLink(s, client).serve()
			s.client.Store(nil)
			client.Close()
		}
		if s.ctx.Err() == nil {
			s.fail(err)
			b.lookAgain()
		}
		return err
	})
}

// work records that the subscriptions work.
func (s *server) work() {
	if s.lost {
		s.broker.holder.outage(s) // it ends now
	}
	s.trouble.Set(nil)
	s.lost = false
}

// fail records that the connection to the server was lost, or that an attempt to restore
// it failed. It logs the first error of each outage.
func (s *server) fail(err error) {
	if !s.lost {
		s.broker.holder.outage(s)
	}
	s.trouble.Set(err)
	if !s.lost {
		s.lost = true
		s.broker.cfg.logger.Warn("redisbroker: connection lost", "server", s.addr, "error", err)
	}
}

// changedLocked records that a topic was added or removed. It needs the broker's lock.
func (s *server) changedLocked(topic string) {
	s.dirty[topic] = true
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// ownsLocked reports whether the topic's messages go through the server. It needs the
// broker's lock.
func (s *server) ownsLocked(topic string) bool { return s.broker.ownerLocked(topic) == s }

// owns is ownsLocked with the lock.
func (s *server) owns(topic string) bool {
	s.broker.mu.Lock()
	defer s.broker.mu.Unlock()
	return s.ownsLocked(topic)
}

var errConnecting = errors.New("redisbroker: not connected yet")
