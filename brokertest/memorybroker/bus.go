// Package memorybroker connects the nodes of a cluster that run in one process. It is
// for tests of a cluster, and for programs with several Ponds:
//
//	bus := memorybroker.New()
//	a := bus.Broker("a") // for one node
//	b := bus.Broker("b") // for another
//
// A [Bus] is the backend that all brokers share, with a log for each topic, and a
// [Broker] is the connection of one node to it. Tests can make them fail as a network
// and a server do: see [Bus.SetFaults], [Bus.Pause], [Bus.Partition], [Bus.LoseLogs],
// [Broker.Disconnect] and [Broker.FailAppends].
//
// A Bus works in a bubble of [testing/synctest] if it is created there. Goroutines
// exist only while there are messages to deliver.
package memorybroker

import (
	"fmt"
	"slices"
	"sync"
)

// A Bus is a backend in memory. Its methods are safe for concurrent use.
type Bus struct {
	cfg config

	mu        sync.Mutex // guards everything below, and all brokers and subscriptions
	brokers   map[string]*Broker
	topics    map[string][]*subscription // in the order of subscribing
	logs      map[string]*topicLog
	logsSwept int             // number of logs after the last cleanup
	epochs    uint64          // made so far
	faults    Faults          // of SetFaults
	groups    map[string]int  // of Partition, by node
	resumed   chan struct{}   // nil, unless paused; closed by Resume
	calls     map[call]uint64 // counted while there are faults
}

// An Option configures a [Bus].
type Option func(*config)

type config struct {
	seed       uint64
	maxBytes   int
	queueBytes int
	sparse     bool
}

// WithSeed sets the seed of all random events. Two buses with the same seed behave in
// the same way for the same calls. The default is 0.
func WithSeed(seed uint64) Option { return func(c *config) { c.seed = seed } }

// WithMaxBytes sets the maximum size of a message, at least 64 KiB. The default is 4
// MiB.
func WithMaxBytes(bytes int) Option {
	atLeast("WithMaxBytes", bytes, 64<<10)
	return func(c *config) { c.maxBytes = bytes }
}

// WithQueueBytes limits the messages that are queued for one subscription. When its
// receiver is so slow that the limit is reached, the queued messages are dropped, and
// the broker calls Gap. The default is 16 MiB.
func WithQueueBytes(bytes int) Option {
	atLeast("WithQueueBytes", bytes, 1)
	return func(c *config) { c.queueBytes = bytes }
}

// WithSparseOffsets skips random offsets, as a log that several topics share would. By
// default, offsets are consecutive.
func WithSparseOffsets() Option { return func(c *config) { c.sparse = true } }

func atLeast(option string, n, least int) {
	if n < least {
		panic(fmt.Sprintf("memorybroker: %s(%d): must be at least %d", option, n, least)) //nolint:forbidigo // misuse at registration
	}
}

// New returns a bus without brokers.
func New(opts ...Option) *Bus {
	b := &Bus{
		cfg:     config{maxBytes: 4 << 20, queueBytes: 16 << 20},
		brokers: map[string]*Broker{},
		topics:  map[string][]*subscription{},
		logs:    map[string]*topicLog{},
		calls:   map[call]uint64{},
	}
	for _, opt := range opts {
		opt(&b.cfg)
	}
	return b
}

// Broker returns a new broker for the node with this name. It panics if the node
// already has a broker that is not closed.
func (b *Bus) Broker(node string) *Broker {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.brokers[node] != nil {
		panic("memorybroker: node " + node + " already has a broker") //nolint:forbidigo // misuse at registration
	}
	n := &Broker{
		bus:    b,
		name:   node,
		done:   make(chan struct{}),
		subs:   map[string]*subscription{},
		failed: map[string]int{},
	}
	b.brokers[node] = n
	return n
}

// publishLocked queues an entry for all subscribers of a topic.
func (b *Bus) publishLocked(from *Broker, topic string, e entry) {
	for _, s := range b.topics[topic] {
		switch {
		case s.broker.down:
			s.lost = errDisconnected
		case b.groups[s.broker.name] != b.groups[from.name]:
			s.lost = errPartitioned
		default:
			s.receiveLocked(e)
		}
	}
}

// subscribeLocked adds a subscription.
func (b *Bus) subscribeLocked(s *subscription) {
	b.topics[s.topic] = append(b.topics[s.topic], s)
}

// unsubscribeLocked removes a subscription, if it is there.
func (b *Bus) unsubscribeLocked(s *subscription) {
	subs := slices.DeleteFunc(b.topics[s.topic], func(other *subscription) bool { return other == s })
	if len(subs) == 0 {
		delete(b.topics, s.topic)
		return
	}
	b.topics[s.topic] = subs
}
