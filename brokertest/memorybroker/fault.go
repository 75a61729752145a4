package memorybroker

import (
	"errors"
	"fmt"
	"hash/fnv"
	"maps"
	"slices"
	"time"
)

// Causes of errors and of gaps.
var (
	errDisconnected = errors.New("memorybroker: disconnected")
	errPartitioned  = errors.New("memorybroker: partitioned")
	errPaused       = errors.New("memorybroker: paused")
	errDropped      = errors.New("memorybroker: a message was dropped")
	errOverflow     = errors.New("memorybroker: too many messages were queued")
	errInjected     = errors.New("memorybroker: injected failure")
	errTimeout      = errors.New("memorybroker: injected timeout")
)

// Faults are random failures, which are the same for the same seed. Probabilities are
// between 0 and 1. The zero value has no faults.
//
// With Duplicate or Silent, a broker breaks the contract of [pond.Broker]. Use them to
// test that nodes tolerate it.
type Faults struct {
	// MinDelay and MaxDelay limit the time that a message takes to each of its
	// subscribers, and a call to the bus and back. The messages of one topic stay in
	// order; those of different topics may overtake each other.
	MinDelay, MaxDelay time.Duration

	// Drop is the probability that a subscriber misses a message. It gets a Gap instead.
	Drop float64

	// Fail is the probability that a call fails and does nothing.
	Fail float64

	// TimeOut is the probability that a call returns an error although it succeeded:
	// the messages are sent, and a batch is stored.
	TimeOut float64

	// Duplicate is the probability that a subscriber receives a message twice.
	Duplicate float64

	// Silent suppresses Gap: losses are not reported.
	Silent bool
}

// SetFaults replaces the faults. It panics if a value is out of range.
func (b *Bus) SetFaults(f Faults) {
	for _, p := range []float64{f.Drop, f.Fail, f.TimeOut, f.Duplicate} {
		if p < 0 || p > 1 {
			panic(fmt.Sprintf("memorybroker: SetFaults: probability %v", p)) //nolint:forbidigo // misuse of a test
		}
	}
	if f.MinDelay < 0 || f.MaxDelay < f.MinDelay {
		panic(fmt.Sprintf("memorybroker: SetFaults: delays from %v to %v", f.MinDelay, f.MaxDelay)) //nolint:forbidigo // misuse of a test
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.faults = f
}

// Pause stops the bus, as SIGSTOP stops a server: calls wait, and no message is
// delivered. It returns false if the bus is already paused.
func (b *Bus) Pause() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.resumed != nil {
		return false
	}
	b.resumed = make(chan struct{})
	return true
}

// Resume ends a pause. It does nothing if there is none.
func (b *Bus) Resume() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.resumed != nil {
		close(b.resumed)
		b.resumed = nil
	}
}

// Partition separates groups of nodes: messages do not pass from one group to another.
// Nodes that are not named belong to the first group, which keeps the logs; calls of
// [pond.BrokerLog] by other nodes fail. A later call replaces the groups.
func (b *Bus) Partition(groups ...[]string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.healLocked()
	b.groups = map[string]int{}
	for i, group := range groups {
		for _, node := range group {
			b.groups[node] = i
		}
	}
}

// Heal ends a partition. Subscribers that missed messages get a Gap, unless they
// already got one.
func (b *Bus) Heal() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.healLocked()
}

func (b *Bus) healLocked() {
	b.groups = nil
	for _, topic := range slices.Sorted(maps.Keys(b.topics)) {
		for _, s := range b.topics[topic] {
			if errors.Is(s.lost, errPartitioned) {
				s.gapLocked()
			}
		}
	}
}

// LoseLogs loses the logs of the topics, or all logs if no topic is given. They start
// again with a new epoch.
func (b *Bus) LoseLogs(topics ...string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(topics) == 0 {
		clear(b.logs)
	}
	for _, topic := range topics {
		delete(b.logs, topic)
	}
}

// Disconnect breaks the connection of the node. Its calls fail and it receives nothing
// until [Broker.Connect].
func (n *Broker) Disconnect() {
	n.bus.mu.Lock()
	defer n.bus.mu.Unlock()
	n.down = true
	for _, s := range n.subs {
		s.lost = errDisconnected
		s.dropLocked()
	}
}

// Connect connects the node again after [Broker.Disconnect]. All subscriptions of the
// node get a Gap. It does nothing if the node is connected.
func (n *Broker) Connect() {
	n.bus.mu.Lock()
	defer n.bus.mu.Unlock()
	if !n.down {
		return
	}
	n.down = false
	for _, topic := range slices.Sorted(maps.Keys(n.subs)) {
		n.subs[topic].gapLocked()
	}
}

// FailAppends makes the next count calls of Append for a topic return an error although
// they store their batch.
func (n *Broker) FailAppends(topic string, calls int) {
	n.bus.mu.Lock()
	defer n.bus.mu.Unlock()
	n.failed[topic] = calls
}

// A call identifies a kind of random event.
type call struct{ node, topic, what string }

// chanceLocked reports whether an event of a probability happens.
func (b *Bus) chanceLocked(p float64, c call) bool {
	return p > 0 && b.randomLocked(c) < p
}

// delayLocked returns a random delay.
func (b *Bus) delayLocked(c call) time.Duration {
	f := &b.faults
	if f.MaxDelay == 0 {
		return 0
	}
	return f.MinDelay + time.Duration(b.randomLocked(c)*float64(f.MaxDelay-f.MinDelay))
}

// instantLocked returns the time of an event: a delay in whole milliseconds, and a
// fraction that depends on the event. It is zero without delays. So in a bubble, two
// events are almost never at the same time: all effects of one end before the next one,
// and equal runs stay equal.
func (b *Bus) instantLocked(c call) time.Time {
	d := b.delayLocked(c)
	if d == 0 {
		return time.Time{}
	}
	c.what += " instant"
	rest := time.Duration(b.randomLocked(c) * float64(time.Millisecond))
	return time.Now().Add(d).Truncate(time.Millisecond).Add(time.Millisecond + rest)
}

// randomLocked returns a number from 0 to 1. It depends on the seed, the event, and the
// number of calls for this event, but not on concurrent calls of other nodes.
func (b *Bus) randomLocked(c call) float64 {
	b.calls[c]++
	h := fnv.New64a()
	_, _ = fmt.Fprintf(h, "%d\x00%s\x00%s\x00%s\x00%d", b.cfg.seed, c.node, c.topic, c.what, b.calls[c])
	return float64(mix(h.Sum64())>>11) / (1 << 53)
}

// mix mixes the bits of x, so that similar numbers have very different results.
func mix(x uint64) uint64 {
	x ^= x >> 30
	x *= 0xbf58476d1ce4e5b9
	x ^= x >> 27
	x *= 0x94d049bb133111eb
	return x ^ x>>31
}
