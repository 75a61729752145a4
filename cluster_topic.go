package pond

import (
	"context"
	"errors"
	"io"
	"slices"
	"time"

	"github.com/pondsocket/pond/internal/cluster"
	"github.com/pondsocket/pond/internal/clusterwire"
	"github.com/pondsocket/pond/internal/pattern"
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
// missed is the number of events of the node that were lost before this message.
func (t *topic) isNew(m *clusterwire.Message) (ok bool, missed uint64) {
	if m.Ext.Seq == 0 { // of another implementation
		return t.recent.Add(m, time.Now()), 0
	}
	if t.last == nil || len(t.last) >= maxSources {
		t.last = map[string]progress{}
	}
	last, known := t.last[m.Source]
	if m.Ext.Seq <= last.seq {
		return false, 0
	}
	next := progress{m.Ext.Seq, last.events}
	if m.Ext.Events > 0 {
		next.events = m.Ext.Events
	}
	t.last[m.Source] = next
	if before := m.EventsBefore(); known && before > last.events {
		missed = before - last.events
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
		t.in.Close()
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
	_ = t.closer.Close() // the subscription ended in any case
	t.in.Close()
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
		h.node.forward.meet(&m)
	}
}

// gap asks the other nodes for their keys. This is a heartbeat, so the node and the others
// know at once that it is connected again. Nothing else depends on a single heartbeat: a
// node may miss two consecutive ones of another node, and it detects on its own if it
// misses more.
func (h heartbeats) gap(error) { h.node.forward.ask() }

// controlChannel replaces the channel in messages about connections.
const controlChannel = "__control__"

// disconnect is the action of a request to disconnect clients.
const disconnectAction = "DISCONNECT"

// A control receives requests of other nodes to disconnect clients of an endpoint.
type control struct {
	endpoint *Endpoint
	name     string // of the endpoint, as in messages
}

func (c *control) receive(_ *topic, e Entry) {
	m, err := clusterwire.Decode(e.Data, c.name, controlChannel, clusterwire.DefaultLimits)
	if err != nil || m.Source == c.endpoint.pond.node.id || m.Ext.Action != disconnectAction ||
		!c.endpoint.pond.node.isNewCommand(&m) {
		return
	}
	if m.Ext.Identities == "" {
		_ = c.endpoint.disconnect(m.User, m.Ext.Code, m.Reason) // it may be connected to any node
		return
	}
	identities, _ := clusterwire.Strings(m.Ext.Identities) // none, if a node is broken
	for _, identity := range identities {
		_ = c.endpoint.disconnectIdentity(identity, m.Ext.Code, m.Reason) // the same
	}
}

func (c *control) gap(error) {}

// disconnect asks the other nodes to disconnect a client, or all that have an identity.
func (n *node) disconnect(e *Endpoint, user, identity string, code int, reason string) error {
	n.start()
	now := time.Now()
	name := clusterwire.EndpointName(e.Path())
	m := clusterwire.Message{
		Type: clusterwire.EvictUser, ID: clusterwire.NewID(now), Source: n.id, Endpoint: name, Channel: controlChannel,
		Timestamp: now.UnixMilli(), User: user, Reason: reason,
		Ext: clusterwire.Ext{Boot: n.boot(), Action: disconnectAction, Code: ws.CloseCode(code)},
	}
	if identity != "" {
		m.User, m.Ext.Identities = clusterwire.Nobody, stringArray([]string{identity})
	}
	data, err := clusterwire.Append(nil, &m)
	if err != nil {
		return err
	}
	return n.push(clusterwire.Topic(name, controlChannel), cluster.Item{Data: data, Event: true}) // if it is lost, the Observer is notified
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

// publish is [Endpoint.Publish] in a cluster.
func (e *Endpoint) publish(ctx context.Context, l *Lobby, name string, params pattern.Params, event string, payload any) error {
	stored := make(chan error, 1)
	to := Audience{except: true, stored: func(err error) { stored <- err }}
	err := ErrClosed
	for errors.Is(err, ErrClosed) && !e.isClosing() {
		err = e.publishOnce(ctx, l, name, params, event, payload, to)
	}
	if err != nil {
		return err
	}
	select {
	case err := <-stored:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// publishOnce returns [ErrClosed] if the channel has just ended.
func (e *Endpoint) publishOnce(
	ctx context.Context, l *Lobby, name string, params pattern.Params, event string, payload any, to Audience,
) error {
	n := e.pond.node
	ch := e.registry.find(name)
	if l.cfg.history != nil && n.log == nil { // which this node also keeps
		ch = e.registry.acquire(l, name, params)
		defer e.registry.release(ch)
		if err := ch.link.attach(ctx); err != nil {
			return unavailableError(err)
		}
	}
	if ch != nil {
		return ch.send(event, newRequestID(), payload, to)
	}
	body, err := wire.View(payload)
	if err != nil {
		return err
	}
	n.start()
	endpoint := clusterwire.EndpointName(e.Path())
	bare := &link{node: n, endpoint: endpoint, channel: name, name: clusterwire.Topic(endpoint, name)}
	if l.cfg.history != nil {
		bare.log = &remoteLog{keep: l.cfg.history.retention()}
	}
	it, err := bare.outgoing(event, newRequestID(), body, to)
	if err != nil {
		return err
	}
	return n.push(bare.name, *it)
}
