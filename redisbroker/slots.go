package redisbroker

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/pondsocket/pond/internal/remotebroker"
	"github.com/redis/rueidis"
)

// slotCount is the number of slots of a Redis cluster.
const slotCount = 16384

// slotsRetryAfter is the time between two requests for the slots of a cluster while the
// broker does not know the servers of all slots.
const slotsRetryAfter = 500 * time.Millisecond

// slotsInterval is the time between two requests otherwise.
func (c *config) slotsInterval() time.Duration { return 2 * c.probeInterval }

// slots maps topics to the servers of a Redis cluster.
//
// The servers of a cluster forward published messages to each other, but lose them
// silently while two of them are not connected. So all brokers publish and subscribe to
// a topic at the server that has its log.
type slots struct {
	client rueidis.Client
	owners [slotCount]*server // nil if unknown; guarded by Broker.mu
}

// of returns the slot of a topic.
func (t *slots) of(b *Broker, topic string) uint16 {
	cmd := t.client.B().Get().Key(b.keysOf(topic)[0]).Build()
	return cmd.Slot()
}

// ownerLocked returns the server of a topic, or nil if it is unknown. It needs the
// broker's lock.
func (b *Broker) ownerLocked(topic string) *server {
	if b.slots != nil {
		return b.slots.owners[b.slots.of(b, topic)]
	}
	if len(b.servers) == 1 {
		return b.servers[0]
	}
	return nil
}

// changed records that a topic was added or removed.
func (b *Broker) changed(topic string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if s := b.ownerLocked(topic); s != nil {
		s.changedLocked(topic)
	}
}

// followSlots connects to all servers of a cluster that have slots, until the broker is
// closed.
func (b *Broker) followSlots(client rueidis.Client) {
	var running sync.WaitGroup
	defer running.Wait()
	b.mu.Lock()
	b.slots = &slots{client: client}
	b.mu.Unlock()
	for {
		wait := b.cfg.slotsInterval()
		addrs, err := askSlots(b.core.Context(), client)
		if err == nil {
			err = b.assign(addrs, func(s *server) { running.Go(s.runAlone) })
		}
		b.core.SetTrouble(err)
		if err != nil {
			wait = slotsRetryAfter
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-b.look:
			timer.Stop()
		case <-b.core.Context().Done():
			timer.Stop()
			return
		}
	}
}

// lookAgain requests the servers of a cluster immediately.
func (b *Broker) lookAgain() {
	select {
	case b.look <- struct{}{}:
	default:
	}
}

// assign stores the addresses of all slots, and moves the subscriptions whose server
// changed. A slot without an address keeps its server, because a failover may be in
// progress.
func (b *Broker) assign(addrs *[slotCount]string, start func(*server)) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	known := map[string]*server{}
	for _, s := range b.servers {
		known[s.addr] = s
	}
	old, uncovered := b.slots.owners, 0
	used := map[*server]bool{}
	for slot, addr := range addrs {
		switch s := known[addr]; {
		case addr == "" && old[slot] == nil:
			uncovered++
			continue
		case addr == "":
			used[old[slot]] = true
			continue
		case s == nil:
			s = b.newServer(addr)
			known[addr] = s
			b.servers = append(b.servers, s)
			start(s)
			fallthrough
		default:
			b.slots.owners[slot] = known[addr]
			used[known[addr]] = true
		}
	}
	for _, sub := range b.core.Subscriptions() {
		slot := b.slots.of(b, sub.Topic)
		from, to := old[slot], b.slots.owners[slot]
		if from == to {
			continue
		}
		if from != nil {
			from.changedLocked(sub.Topic)
			b.holder.outage(to) // the other nodes may move their subscriptions later
		}
		to.changedLocked(sub.Topic)
	}
	b.servers = slices.DeleteFunc(b.servers, func(s *server) bool {
		if !used[s] {
			s.cancel()
		}
		return !used[s]
	})
	if uncovered > 0 {
		return fmt.Errorf("redisbroker: %d slots of the cluster have no server", uncovered)
	}
	return nil
}

var errNoSlots = errors.New("redisbroker: no server of the cluster reports its slots")

// askSlots asks the servers of a cluster, in random order, for the address of each slot.
// It prefers a server that reports a complete cluster: a server that lost the others
// does not know that a replica may have replaced it.
func askSlots(ctx context.Context, client rueidis.Client) (addrs *[slotCount]string, err error) {
	nodes := client.Nodes()
	order := make([]string, 0, len(nodes))
	for addr := range nodes {
		order = append(order, addr)
	}
	rand.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] }) //nolint:gosec // not a secret
	err = errNoSlots
	for _, addr := range order {
		view, complete, failure := askServer(ctx, nodes[addr], addr)
		switch {
		case failure != nil:
			err = fmt.Errorf("redisbroker: the slots of the cluster: %w", failure)
		case complete:
			return view, nil
		case addrs == nil:
			addrs = view
		}
	}
	if addrs != nil {
		return addrs, nil
	}
	return nil, err
}

// askServer asks one server for the address of each slot, and whether the cluster is
// complete.
func askServer(ctx context.Context, node rueidis.Client, addr string) (addrs *[slotCount]string, complete bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, remotebroker.DialTimeout)
	defer cancel()
	results := node.DoMulti(ctx, node.B().ClusterInfo().Build(), node.B().ClusterSlots().Build())
	info, _ := results[0].ToString() // some services do not have it
	ranges, err := results[1].ToArray()
	if err != nil {
		return nil, false, err
	}
	addrs = new([slotCount]string)
	for _, r := range ranges {
		first, last, owner, err := slotRange(r, addr)
		if err != nil {
			return nil, false, err
		}
		for slot := first; slot <= last; slot++ {
			addrs[slot] = owner
		}
	}
	return addrs, strings.Contains(info, "cluster_state:ok"), nil
}

// slotRange decodes an element of the answer to CLUSTER SLOTS: the first and the last
// slot, and host and port of the master before those of its replicas. If the host is
// empty, it is the host of the request.
func slotRange(r rueidis.RedisMessage, asked string) (first, last int64, addr string, err error) {
	fields, err := r.ToArray()
	if err != nil {
		return 0, 0, "", err
	}
	if len(fields) < 3 {
		return 0, 0, "", errNoSlots
	}
	if first, err = fields[0].AsInt64(); err != nil {
		return 0, 0, "", err
	}
	if last, err = fields[1].AsInt64(); err != nil {
		return 0, 0, "", err
	}
	master, err := fields[2].ToArray()
	if err != nil {
		return 0, 0, "", err
	}
	if len(master) < 2 || first < 0 || last >= slotCount {
		return 0, 0, "", errNoSlots
	}
	host, _ := master[0].ToString() // null if it is unknown
	port, err := master[1].AsInt64()
	if err != nil {
		return 0, 0, "", err
	}
	if host == "" || host == "?" {
		host, _, _ = net.SplitHostPort(asked)
	}
	return first, last, net.JoinHostPort(host, strconv.FormatInt(port, 10)), nil
}
