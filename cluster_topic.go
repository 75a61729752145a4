package pond

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"time"

	"github.com/pondsocket/pond/internal/cluster"
	"github.com/pondsocket/pond/internal/clusterwire"
	"github.com/pondsocket/pond/internal/wire"
	"github.com/pondsocket/pond/internal/ws"
)

// A topic is a subscription of the node. It usually has one subscriber, but channels of
// different endpoints may have the same topic.
type topic struct {
	// Static after construction.
	node *node
	name string
	in   cluster.Queue[topicEvent]

	// Guarded by node.mu.
	subscribers []subscriber
	change      *attempt // a call of Subscribe or of Close in progress; nil if the topic is subscribed
	closer      io.Closer
	expected    Position // if this entry does not arrive, the log is read
	expecting   bool     // a timer runs for it

	// Owned by the goroutine of in.
	recent clusterwire.Recent
	last   map[string]progress // of each of pond's nodes
}

// A progress is what arrived last from a node of pond: the number of the message, and how
// many events there were.
type progress struct{ seq, events uint64 }

// isNew reports whether a message is neither a repetition nor older than one that
// arrived. A node sends a batch again if it does not know whether it arrived. So
// messages may arrive twice, and messages that were lost at first may arrive after
// later ones; these are dropped too.
//
// missed contains the events of the node that were lost before this message.
func (t *topic) isNew(m *clusterwire.Message) (ok bool, missed cluster.Span) {
	if m.Ext.Seq == 0 { // of another implementation
		return t.recent.Add(m, time.Now()), missed
	}
	if t.last == nil || len(t.last) >= maxSources {
		t.last = map[string]progress{}
	}
	last, known := t.last[m.Source]
	if m.Ext.Seq <= last.seq {
		return false, missed
	}
	next := progress{m.Ext.Seq, last.events}
	if m.Ext.Events > 0 {
		next.events = m.Ext.Events
	}
	t.last[m.Source] = next
	after := max(last.events, m.Ext.Base) // the node may have forgotten an earlier count
	if before := m.EventsBefore(); known && before > after {
		missed = cluster.Span{After: after, Upto: before}
	}
	return true, missed
}

// maxSources is how many nodes a topic knows the latest number of.
const maxSources = 1 << 12

// A subscriber receives the messages of a topic, on the goroutine of the topic.
type subscriber interface {
	receive(t *topic, e Entry)
	gap(reason error)
}

// A topicEvent is one call of a [Receiver].
type topicEvent struct {
	entry Entry
	gap   error  // not nil: the call is Gap
	do    func() // not nil: not a call, but a function to run on the goroutine of the topic
}

// An attempt is something that one goroutine does and others wait for.
type attempt struct {
	done chan struct{}
	err  error // the result, if it applies to the waiting goroutines
}

func newAttempt() *attempt { return &attempt{done: make(chan struct{})} }

func (a *attempt) finish(err error) {
	a.err = err
	close(a.done)
}

// wait waits for the attempt. ok is false if ctx was done first.
func (a *attempt) wait(ctx context.Context) (ok bool) {
	select {
	case <-a.done:
		return true
	case <-ctx.Done():
		return false
	}
}

// Receive queues a message. Of the messages of this node, only stored ones and
// heartbeats matter. The others are not queued, because many channels have messages of
// this node only.
func (t *topic) Receive(e Entry) {
	if e.Pos == (Position{}) && t.name != clusterwire.Heartbeat && clusterwire.IsFrom(e.Data, t.node.id) {
		return
	}
	t.in.Push(topicEvent{entry: e}, len(e.Data)+1)
}

// Gap queues the report of a loss.
func (t *topic) Gap(reason error) { t.in.Push(topicEvent{gap: reason}, 0) }

var errOverflow = errors.New("pond: too many messages of other nodes were queued")

// handle handles one call of the broker.
func (t *topic) handle(ev topicEvent) {
	if ev.do != nil {
		ev.do()
		return
	}
	t.node.mu.Lock()
	subscribers := slices.Clip(t.subscribers)
	t.node.mu.Unlock()
	for _, s := range subscribers {
		if ev.gap != nil {
			s.gap(ev.gap)
		} else {
			s.receive(t, ev.entry)
		}
	}
}

// subscribe adds a subscriber of a topic. Calls for one topic share a subscription of the
// broker.
func (n *node) subscribe(ctx context.Context, name string, s subscriber) (*topic, error) {
	for {
		n.mu.Lock()
		if n.closing {
			n.mu.Unlock()
			return nil, ErrClosed
		}
		t := n.topics[name]
		if t != nil && t.change == nil {
			t.subscribers = append(slices.Clip(t.subscribers), s)
			n.mu.Unlock()
			return t, nil
		}
		if t != nil {
			change := t.change
			n.mu.Unlock()
			if !change.wait(ctx) {
				return nil, context.Cause(ctx)
			}
			if change.err != nil {
				return nil, change.err
			}
			continue
		}
		t = &topic{node: n, name: name, change: newAttempt()}
		t.in.Init(inboundBytes, t.handle, func() topicEvent { return topicEvent{gap: errOverflow} })
		n.topics[name] = t
		n.mu.Unlock()
		if err := t.open(ctx); err != nil {
			return nil, err
		}
	}
}

// open subscribes to a new topic.
func (t *topic) open(ctx context.Context) error {
	n := t.node
	closer, err := n.broker.Subscribe(ctx, t.name, t)
	n.mu.Lock()
	change := t.change
	t.change = nil
	if err == nil {
		t.closer = closer
	} else {
		delete(n.topics, t.name)
	}
	n.mu.Unlock()
	if err != nil {
		t.in.Stop()
	}
	if errors.Is(err, context.Canceled) {
		change.finish(nil) // this client left: another may try
	} else {
		change.finish(err)
	}
	return err
}

// unsubscribe removes a subscriber of a topic. With the last one, the subscription
// ends, on a separate goroutine.
func (n *node) unsubscribe(t *topic, s subscriber) {
	n.mu.Lock()
	defer n.mu.Unlock()
	t.subscribers = slices.DeleteFunc(slices.Clone(t.subscribers), func(other subscriber) bool { return other == s })
	if len(t.subscribers) > 0 || n.closing {
		return
	}
	t.change = newAttempt()
	n.tasks.Add()
	go t.close()
}

// close ends the subscription of a topic without subscribers.
func (t *topic) close() {
	n := t.node
	defer n.tasks.Done()
	_ = t.closer.Close()                         // the subscription ended in any case
	_ = t.in.Close(context.WithoutCancel(n.run)) // stop waits for this goroutine only as long as it may
	n.mu.Lock()
	delete(n.topics, t.name)
	change := t.change
	n.mu.Unlock()
	change.finish(nil)
}

// heartbeats receives the heartbeats of all nodes.
type heartbeats struct{ node *node }

func (h heartbeats) receive(_ *topic, e Entry) {
	m, err := clusterwire.Decode(e.Data, clusterwire.Heartbeat, clusterwire.Heartbeat, clusterwire.DefaultLimits)
	switch {
	case err != nil:
	case m.Source == h.node.id:
		h.node.echo(time.Now())
		h.node.forward.echo(&m)
	case h.node.saw(&m):
		h.node.clocks.Local(m.Source, sentAt(&m), h.node.clock())
		h.node.forward.receiveHeartbeat(&m)
	}
}

// gap asks the other nodes for their keys. This is a heartbeat, so the node and the others
// know at once that it is connected again. Nothing else depends on a single heartbeat: a
// node may miss two consecutive ones of another node, and it detects on its own if it
// misses more.
func (h heartbeats) gap(error) { h.node.forward.askForKeys() }

// controlChannel replaces the channel in messages about connections. No channel of a cluster
// can have this name.
const controlChannel = "__control__"

// disconnect is the action of a request to disconnect clients.
const disconnectAction = "DISCONNECT"

// A control receives requests of other nodes to disconnect clients of an endpoint. It also
// repeats the requests of this node, and receives repeated ones. These are requests to
// disconnect clients, to evict members and to close channels: a node that misses one would
// keep a person that the application does not want.
type control struct {
	// Static after construction.
	endpoint *Endpoint
	name     string // of the endpoint, as in messages

	sent cluster.Requests // of this node

	subscribed bool // owned by node.watch
}

func newControl(e *Endpoint) *control {
	return &control{endpoint: e, name: clusterwire.EndpointName(e.Path())}
}

func (c *control) receive(t *topic, e Entry) {
	n := c.endpoint.pond.node
	m, err := clusterwire.Decode(e.Data, c.name, controlChannel, clusterwire.DefaultLimits)
	if err != nil || m.Source == n.id {
		return
	}
	if _, missed := t.isNew(&m); missed != (cluster.Span{}) {
		n.misses.Add(m.Source, t.name, missed)
		c.lost()
	}
	switch {
	case m.Ext.Action == clusterwire.RepeatAction:
		c.repeated(&m)
	case m.Ext.Action != disconnectAction, !n.isNewCommand(&m):
	case m.Ext.Identities == "":
		_ = c.endpoint.disconnect(m.User, m.Ext.Code, m.Reason) // it may be connected to any node
	default:
		identities, _ := clusterwire.Strings(m.Ext.Identities) // none, if a node is broken
		until := n.until(&m)
		for _, identity := range identities {
			_ = c.endpoint.disconnectIdentity(identity, m.Ext.Code, m.Reason, until) // the same
		}
	}
}

func (c *control) gap(error) { c.lost() }

// lost records that requests of other nodes may not have arrived. This node may not have
// received that others ask for its requests, either, so it repeats them.
func (c *control) lost() { c.sent.RepeatSoon(true) }

// givenUp repeats the requests of this node if the broker did not accept one of them for a
// long time. The other nodes may not notice that it is missing.
func (c *control) givenUp(err error) {
	if err != nil && !errors.Is(err, ErrTooLarge) {
		c.sent.RepeatSoon(false)
	}
}

// repeatBytes is about how many bytes of requests a message has.
const repeatBytes = 64 << 10

// A repetition is the payload of a message with requests that were made before.
type repetition struct {
	Ask      bool              `json:"ask,omitempty"` // the other nodes must repeat theirs
	Requests []cluster.Request `json:"requests,omitempty"`
}

// repeatDue repeats the requests of this node if another node asks for them, or may have done
// so. The node is connected.
func (c *control) repeatDue(now time.Time) {
	n := c.endpoint.pond.node
	pages, ask := c.sent.Due(now, min(repeatBytes, n.maxBytes()/2))
	for i, page := range pages {
		p := repetition{Ask: ask && i == 0, Requests: page}
		payload, _ := json.Marshal(p) // never fails
		m := n.message(clusterwire.UserMessage, c.name, controlChannel)
		m.Event, m.RequestID, m.Payload, m.From = clusterwire.RepeatAction, newRequestID(), payload, clusterwire.FromChannel
		m.Ext.Action, m.Ext.Clock = clusterwire.RepeatAction, n.stamp()
		m.Recipients = clusterwire.Recipients{To: clusterwire.Listed, IDs: []string{clusterwire.Nobody}}
		it, err := n.encode(&m)
		if err == nil {
			it.Done = func(err error) {
				if err != nil && !errors.Is(err, ErrTooLarge) {
					c.sent.RepeatSoon(p.Ask)
				}
			}
			err = n.push(clusterwire.Topic(c.name, controlChannel), *it)
		}
		if err != nil && !errors.Is(err, ErrTooLarge) {
			c.sent.RepeatSoon(p.Ask)
		}
	}
}

// repeated executes the requests of another node that did not arrive when they were made.
// They are only for the memberships and connections that began before.
func (c *control) repeated(m *clusterwire.Message) {
	var p repetition
	if err := json.Unmarshal(m.Payload, &p); err != nil {
		return
	}
	if p.Ask {
		c.sent.RepeatSoon(false)
	}
	n := c.endpoint.pond.node
	sent := sentAt(m)
	arrived := n.clocks.Local(m.Source, sent, n.clock())
	for i := range p.Requests {
		r := &p.Requests[i]
		if len(r.ID) <= clusterwire.MaxID && n.isNewCommand(&clusterwire.Message{ID: r.ID, Source: m.Source}) {
			c.execute(r, arrived-max(0, sent-time.Duration(r.Clock)*time.Microsecond))
		}
	}
}

// execute executes a request for what began until a time of the node's clock.
func (c *control) execute(r *cluster.Request, until time.Duration) {
	if r.Action == disconnectAction {
		if r.Identity == "" {
			_ = c.endpoint.disconnect(r.User, r.Code, r.Reason) // it may be connected to any node
		} else {
			_ = c.endpoint.disconnectIdentity(r.Identity, r.Code, r.Reason, until) // the same
		}
		return
	}
	ch := c.endpoint.registry.find(r.Channel)
	switch {
	case ch == nil:
	case r.Action == closeAction:
		if ch.began <= until {
			ch.closeHere(r.Reason)
		}
	case r.Action != "":
	case r.Identity != "":
		ch.evictIdentityHere(r.Identity, r.Reason, until)
	default:
		if member, err := ch.member(r.User); err == nil && member.began <= until {
			_ = member.evict(r.Reason) // it has just left
		}
	}
}

// disconnect asks the other nodes to disconnect a client, or all that have an identity.
func (n *node) disconnect(e *Endpoint, user, identity string, code int, reason string) error {
	n.start()
	m := n.message(clusterwire.EvictUser, e.control.name, controlChannel)
	m.User, m.Reason, m.Ext.Action, m.Ext.Code, m.Ext.Clock = user, reason, disconnectAction, ws.CloseCode(code), n.stamp()
	if identity != "" {
		m.User, m.Ext.Identities = clusterwire.Nobody, stringArray([]string{identity})
	}
	it, err := n.encode(&m)
	if err != nil {
		return err
	}
	it.Event, it.Done = true, e.control.givenUp // if it is lost, the Observer is notified
	if err := n.push(clusterwire.Topic(e.control.name, controlChannel), *it); err != nil {
		return err
	}
	e.control.sent.Add(cluster.Request{
		ID: m.ID, Clock: m.Ext.Clock, Action: m.Ext.Action, User: user, Identity: identity, Code: m.Ext.Code, Reason: reason,
	}, time.Now())
	return nil
}

// stamp returns the clock of this node for [clusterwire.Ext].
func (n *node) stamp() int64 { return n.clock().Microseconds() + 1 } // what began before is not later

// sentAt returns when a message was made, by the clock of its node.
func sentAt(m *clusterwire.Message) time.Duration {
	return time.Duration(m.Ext.Clock) * time.Microsecond
}

// until returns the time of this node's clock until which the members and connections must
// have begun that a request of another node is for. A request that was delayed for longer
// than usual is not for those that began after it was made, like one that is repeated.
func (n *node) until(m *clusterwire.Message) time.Duration {
	now := n.clock()
	if m.Ext.Clock == 0 {
		return anyTime
	}
	made := n.clocks.Local(m.Source, sentAt(m), now)
	if now-made <= usualDelay {
		return anyTime
	}
	return made
}

// usualDelay is the time that a request may take to be for all clients.
const usualDelay = time.Second

// message returns a message of this node, without the members of its type.
func (n *node) message(t clusterwire.Type, endpoint, channel string) clusterwire.Message {
	now := time.Now()
	return clusterwire.Message{
		Type: t, ID: clusterwire.NewID(now), Source: n.id, Endpoint: endpoint, Channel: channel,
		Timestamp: now.UnixMilli(), Ext: clusterwire.Ext{Boot: n.boot()},
	}
}

// maxBytes returns the limit of a message.
func (n *node) maxBytes() int { return min(n.broker.MaxBytes(), clusterwire.DefaultLimits.Bytes) }

// encode encodes a message for the broker.
func (n *node) encode(m *clusterwire.Message) (*cluster.Item, error) {
	data, err := clusterwire.Append(nil, m)
	if err != nil {
		return nil, err
	}
	if len(data) > n.maxBytes() {
		return nil, ErrTooLarge
	}
	return &cluster.Item{Data: data}, nil
}

// stringArray returns texts as a JSON array.
func stringArray(list []string) string {
	array := []byte{'['}
	for i, s := range list {
		if i > 0 {
			array = append(array, ',')
		}
		array = wire.AppendString(array, s)
	}
	return string(append(array, ']'))
}
