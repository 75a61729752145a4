package pond

import (
	"cmp"
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pondsocket/pond/internal/cluster"
	"github.com/pondsocket/pond/internal/clusterwire"
	"github.com/pondsocket/pond/internal/transport"
)

// WithBroker makes the Pond a node of a cluster: its channels have members on all
// nodes that are connected to the same backend. All of them must have the same
// endpoints and lobbies. [Pond.Shutdown] closes the broker. The default is none: a
// channel has the members that are connected to this Pond.
//
// The Pond uses the broker from [Pond.Serve], its first request, or the first call of
// [Pond.Degraded] or [Endpoint.Publish]. While the broker has no connection, the Pond is
// degraded: see [Pond.Degraded].
func WithBroker(b Broker) Option { return func(c *config) { c.broker = b } }

// WithNodeTimeout sets how long a node of the cluster may send nothing. After that, the
// other nodes remove its users from their channels until they receive from it again. A
// node sends three heartbeats in that period. The timeout must be the same on all
// nodes. The default is 90 s. It has no effect without [WithBroker].
func WithNodeTimeout(d time.Duration) Option {
	positive("WithNodeTimeout", d)
	return func(c *config) { c.nodeTimeout = d }
}

// Degraded returns nil if the Pond receives the messages of other nodes, as far as it
// knows, and otherwise the reason why it may not receive them. It always returns nil
// without [WithBroker]. While a Pond is degraded,
//
//   - clients can join only channels that have members on this node, or had a few seconds
//     ago; other joins are rejected with [http.StatusServiceUnavailable],
//   - broadcasts reach the members on this node. They reach those on other nodes only
//     if the connections of both are restored within 30 s; [Observer.Lost] counts the lost
//     ones. In
//     lobbies whose history the broker keeps, they reach nobody before they are stored,
//   - members on other nodes remain in the lists of users and of presence.
//
// Nothing needs a restart when the connection is restored. Use Degraded for the
// readiness check of a server, not for its liveness check.
func (p *Pond) Degraded() error {
	if p.node == nil {
		return nil
	}
	p.node.start()
	if err := p.node.broker.Health(); err != nil {
		return err
	}
	p.node.mu.Lock()
	degraded := p.node.degraded
	p.node.mu.Unlock()
	if degraded == nil {
		return nil
	}
	if err := p.node.broker.Health(); err != nil {
		return err // the present reason: degraded may be some seconds old
	}
	return degraded
}

// defaultNodeTimeout is also the default of other servers of the protocol.
const defaultNodeTimeout = 90 * time.Second

const (
	attachTimeout = 5 * time.Second // of a subscription before a join
	attachLimit   = 1000            // channels that are subscribed to at the same time

	laneBytes   = 8 << 20  // queued for the broker in one topic
	lanesBytes  = 64 << 20 // and in all
	sendTimeout = 5 * time.Second
	sendGiveUp  = 30 * time.Second

	inboundBytes  = 16 << 20 // queued from the broker in one topic
	countedTopics = 1 << 18
	countTime     = 5 * time.Minute // after which the count of events in an unused topic may be forgotten; twice this time at most

	stopTimeout  = 5 * time.Second
	abortTimeout = time.Second // of calls of the broker whose context is cancelled
)

// A node is the part of a Pond with a broker that takes part in the cluster.
type node struct {
	// Static after construction.
	pond    *Pond
	broker  Broker
	log     BrokerLog // nil if the broker has none
	id      string    // different after each start
	timeout time.Duration
	created time.Time
	lanes   *cluster.Lanes
	losses  cluster.Losses
	misses  cluster.Misses
	nodes   *cluster.Nodes
	clocks  cluster.Clocks
	forward *forwarding

	attaching atomic.Int64    // channels that are being subscribed to
	tasks     transport.Tasks // goroutines
	started   atomic.Bool
	beating   atomic.Bool   // a heartbeat is being sent
	beatAgain atomic.Bool   // another one follows it
	beatLost  atomic.Bool   // the broker did not accept the last one
	askAgain  atomic.Bool   // which asks the other nodes to answer
	auditing  atomic.Bool   // the logs are being compared
	reads     chan struct{} // has an element for each call that reads a log; made at the start

	mu         sync.Mutex // guards the following fields, and those of topics
	topics     map[string]*topic
	joins      context.Context // cancelled when the shutdown begins; nil until the node starts
	refuse     context.CancelFunc
	run        context.Context // cancelled at the end of the shutdown
	cancel     context.CancelFunc
	closing    bool
	stopped    chan struct{} // closed at the end of the shutdown; nil before it
	heart      *topic        // heartbeats; only watch sets it
	private    *topic        // messages for this node alone; only watch sets it
	echoed     time.Time     // when the node received its own heartbeat
	degraded   error
	judged     bool                     // the observer was called about degraded
	dirty      map[string]*link         // topics in which changes of members were lost; see lostMembers
	pauses     map[string]announcePause // between announcements of these topics
	commands   clusterwire.Recent       // of other nodes
	lost       int                      // messages that are lost, and were not reported yet
	lostReason error
	syncs      []*link // links that will request the state of other nodes
	syncing    bool    // a timer runs for syncs
	unanswered []*link // links that requested the state while the node was degraded

	// Owned by watch.
	nextBeat  time.Time
	audited   time.Time // when the logs were compared
	sampled   time.Time // when some of them were
	announced time.Time // when channels were searched for members to announce
	expired   time.Time // when members of silent nodes were searched for
	troubled  time.Time // when the node was last degraded
	counted   time.Time // when counts of events were forgotten
}

func newNode(p *Pond) *node {
	n := &node{
		pond: p, broker: p.cfg.broker, id: clusterwire.NewID(time.Now()), timeout: p.cfg.nodeTimeout,
		topics: map[string]*topic{}, dirty: map[string]*link{}, pauses: map[string]announcePause{}, created: time.Now(),
		commands: clusterwire.Recent{Age: cluster.RequestAge},
	}
	n.log, _ = n.broker.(BrokerLog)
	if n.timeout == 0 {
		n.timeout = defaultNodeTimeout
	}
	n.nodes = cluster.NewNodes(n.timeout)
	n.forward = newForwarding(n)
	n.degraded = errNotStarted
	n.lanes = cluster.NewLanes(cluster.LanesConfig{
		Number: func(message []byte, seq uint64, events cluster.Count) []byte {
			return clusterwire.AppendSeq(message, seq, events.Events, events.Base)
		},
		Send:      n.send,
		Permanent: func(err error) bool { return errors.Is(err, ErrTooLarge) || errors.Is(err, ErrClosed) },
		GaveUp: func(topic string, events int, numbered cluster.Span, err error) {
			n.losses.Add(topic, numbered) // the other nodes notice that they are missing
			n.gaveUp(topic, events, err)
		},
		Counts: countedTopics, LaneBytes: laneBytes, TotalBytes: lanesBytes, Timeout: sendTimeout, Patience: sendGiveUp,
	})
	return n
}

// boot returns the mark in messages of pond's nodes.
func (n *node) boot() string { return n.id[24:] }

// anyTime is later than all times of a node's clock.
const anyTime = time.Duration(math.MaxInt64)

// clock returns the time since the node was created. It is zero without a node.
func (n *node) clock() time.Duration {
	if n == nil {
		return 0
	}
	return time.Since(n.created)
}

// Reasons why a node is degraded, besides those of its broker.
var (
	errNotStarted = errors.New("pond: the node has not subscribed to its topics yet")
	errDeaf       = errors.New("pond: the node does not receive its own heartbeats")
)

// start starts the node when the Pond is used for the first time, so that a Pond that is
// not used starts no goroutine.
func (n *node) start() {
	if n.started.Load() {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.startLocked()
}

func (n *node) startLocked() {
	if n.started.Load() {
		return
	}
	n.contextsLocked()
	n.started.Store(true)
	n.tasks.Add()
	go n.watch()
}

func (n *node) contextsLocked() {
	n.run, n.cancel = context.WithCancel(context.Background()) //nolint:forbidigo // until Shutdown
	n.joins, n.refuse = context.WithCancel(n.run)
	n.reads = make(chan struct{}, logReads)
}

// watch does the periodic work, until the node stops.
func (n *node) watch() {
	defer n.tasks.Done()
	tick := time.NewTicker(min(max(n.timeout/18, 10*time.Millisecond), time.Second))
	defer tick.Stop()
	for {
		n.tick()
		select {
		case <-tick.C:
		case <-n.run.Done():
			return
		}
	}
}

func (n *node) tick() {
	n.subscribeOwn()
	repeat := n.forward.peers.Asking() || n.beatLost.Load() && !n.beating.Load()
	if now := time.Now(); !now.Before(n.nextBeat) || repeat {
		n.nextBeat = now.Add(n.beat()*9/10 + rand.N(n.beat()/5)) //nolint:gosec // it spreads heartbeats
		n.sendBeat(false)
	}
	health := n.health()
	n.judge(health)
	n.announceDue()
	n.auditLogs()
	if health == nil {
		for e := range n.pond.Endpoints() {
			e.control.repeatDue(time.Now())
		}
	}
	n.reportLost()
	if now := time.Now(); now.Sub(n.counted) >= max(countTime, 2*n.timeout) {
		n.counted = now
		n.lanes.ExpireCounts()
	}
}

// heartbeat returns a heartbeat. The action is empty, askAction or stopAction.
func (n *node) heartbeat(action string) []byte {
	m := n.message(clusterwire.NodeHeartbeat, clusterwire.Heartbeat, clusterwire.Heartbeat)
	m.Node, m.Ext.Key, m.Ext.Action, m.Ext.Clock = n.id, n.forward.announcedKey(), action, n.stamp()
	data, _ := clusterwire.Append(nil, &m) // the message is complete
	return data
}

// sendBeat sends a heartbeat. With ask, the other nodes answer with one.
func (n *node) sendBeat(ask bool) {
	action := ""
	if ask || n.forward.peers.Asking() {
		action = askAction
	}
	data := n.heartbeat(action)
	if n.run.Err() != nil {
		return
	}
	if !n.beating.CompareAndSwap(false, true) {
		if ask {
			n.askAgain.Store(true)
		}
		n.beatAgain.Store(true) // the broker still has the one before
		return
	}
	n.tasks.Add()
	go func() { // not in a lane: an old heartbeat is worth nothing
		defer n.tasks.Done()
		defer func() {
			n.beating.Store(false)
			if n.beatAgain.Swap(false) {
				n.sendBeat(n.askAgain.Swap(false))
			}
		}()
		ctx, cancel := context.WithTimeout(n.run, n.beat())
		defer cancel()
		err := n.broker.Publish(ctx, clusterwire.Heartbeat, [][]byte{data})
		n.beatLost.Store(err != nil) // then the next one follows soon: the broker may work again
	}()
}

// subscribeOwn subscribes to heartbeats, to messages for this node and to requests to
// disconnect clients, if earlier attempts failed.
func (n *node) subscribeOwn() {
	ctx, cancel := context.WithTimeout(n.run, attachTimeout)
	defer cancel()
	if n.heart == nil {
		if t, err := n.subscribe(ctx, clusterwire.Heartbeat, heartbeats{n}); err == nil {
			n.mu.Lock()
			n.heart, n.echoed = t, time.Now()
			n.mu.Unlock()
		}
	}
	if n.private == nil {
		if t, err := n.subscribe(ctx, clusterwire.NodeTopic(n.id), n.forward); err == nil {
			n.mu.Lock()
			n.private = t
			n.mu.Unlock()
			n.forward.reachable.Store(true)
			n.nextBeat = time.Time{} // the other nodes need the key at once
		}
	}
	for e := range n.pond.Endpoints() {
		c := e.control
		if c.subscribed {
			continue
		}
		if _, err := n.subscribe(ctx, clusterwire.Topic(c.name, controlChannel), c); err == nil {
			c.subscribed = true
			if e.Len() > 0 {
				c.lost()
			}
		}
	}
}

// echo records that the node receives its own messages.
func (n *node) echo(now time.Time) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.echoed = now
}

// send sends a batch to the broker.
func (n *node) send(ctx context.Context, topic string, keep any, first uint64, batch [][]byte) error {
	switch keep := keep.(type) {
	case nil:
		if err := n.awaitSubscribers(ctx, topic); err != nil {
			return err
		}
		return n.broker.Publish(ctx, topic, batch)
	case endLog:
		if err := n.awaitSubscribers(ctx, topic); err != nil {
			return err
		}
		if err := n.end(ctx, topic, keep); err != nil {
			return err
		}
		return n.broker.Publish(ctx, topic, batch)
	}
	pos, err := n.log.Append(ctx, topic, Batch{Producer: n.id, First: first, Data: batch, Keep: keep.(Retention)})
	if err == nil {
		n.appended(topic, pos)
	}
	return err
}

// awaitSubscribers waits until the broker takes the other nodes for subscribed.
func (n *node) awaitSubscribers(ctx context.Context, topic string) error {
	if w, ok := n.broker.(BrokerWaiter); ok {
		return w.AwaitSubscribers(ctx, topic)
	}
	return nil
}

// gaveUp records that messages did not reach the broker, and how many of them were for
// clients. A lock of a channel may be held.
func (n *node) gaveUp(topic string, messages int, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if _, known := n.dirty[topic]; !known {
		n.dirty[topic] = nil
	}
	if messages > 0 {
		n.lost += messages
		n.lostReason = err
	}
}

// lostMembers records that the other nodes may show members that left. The channel may
// end before the nodes can be notified, so a copy of its link without the channel is kept.
func (n *node) lostMembers(l *link) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.dirty[l.name] == nil {
		n.dirty[l.name] = &link{node: n, name: l.name, endpoint: l.endpoint, channel: l.channel}
	}
}

// isNewCommand reports whether a request of another node to end memberships or
// connections did not arrive before. A topic recognizes repetitions only while it is
// subscribed to, and a channel that is closed ends the subscription.
func (n *node) isNewCommand(m *clusterwire.Message) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.commands.Add(m, time.Now())
}

// reportLost reports the messages that were lost, and those that did not arrive, since the
// last report.
func (n *node) reportLost() {
	missed, reports := n.misses.Take()
	for _, r := range reports {
		data, err := n.forward.encode(r.Node, missedEvent, newRequestID(), r)
		if err == nil {
			_ = n.push(clusterwire.NodeTopic(r.Node), cluster.Item{Data: data}) // this node reports the loss, too
		}
	}
	n.mu.Lock()
	lost, reason := n.lost, n.lostReason
	n.lost = 0
	n.mu.Unlock()
	if f := n.pond.cfg.observer.Lost; f != nil && lost > 0 {
		n.pond.observe("Lost", func() { f(n.pond, lost, reason) })
	}
	if f := n.pond.cfg.observer.Missed; f != nil && missed > 0 {
		n.pond.observe("Missed", func() { f(n.pond, int(min(missed, math.MaxInt))) })
	}
}

// push queues a message for the broker. Messages that do not fit are lost.
func (n *node) push(topic string, it cluster.Item) error {
	err := n.lanes.Push(topic, it)
	switch {
	case errors.Is(err, cluster.ErrFull):
		err = ErrOverloaded
	case err != nil:
		err = ErrClosed
	}
	return err
}

// refuseJoins ends the calls of Subscribe that joins wait for.
func (n *node) refuseJoins() {
	n.mu.Lock()
	if !n.started.Load() {
		n.contextsLocked()
		n.started.Store(true) // without watch: the node was not used
	}
	n.mu.Unlock()
	n.refuse()
}

// stop sends the queued messages, ends all subscriptions and closes the broker. It does
// not wait longer than ctx allows. A second call waits in the same way.
func (n *node) stop(ctx context.Context) error {
	n.mu.Lock()
	if n.stopped != nil {
		stopped := n.stopped
		n.mu.Unlock()
		select {
		case <-stopped:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	n.stopped = make(chan struct{})
	n.mu.Unlock()
	defer close(n.stopped)

	flush, done := context.WithTimeout(ctx, stopTimeout)
	_ = n.forward.calling.Wait(flush) // the rest is answered with 504
	n.reportLost()
	_ = n.lanes.Flush(flush) // the rest is reported as lost
	done()
	n.mu.Lock()
	n.closing = true
	n.mu.Unlock()
	n.cancel()
	abort, done := context.WithTimeout(context.WithoutCancel(ctx), abortTimeout)
	_ = n.lanes.Close(abort) // it ends with the broker's calls
	done()
	n.reportLost()
	err := n.tasks.Wait(ctx)
	n.forward.stop(ctx)
	err = errors.Join(err, n.broker.Close(ctx))
	n.mu.Lock()
	topics := n.topics
	n.topics = map[string]*topic{}
	n.mu.Unlock()
	for _, t := range topics {
		t.in.Stop()
	}
	for _, t := range topics {
		err = cmp.Or(err, t.in.Close(ctx))
	}
	return err
}
