package redisbroker

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pondsocket/pond"
	"github.com/pondsocket/pond/internal/remotebroker"
)

// Times of an outage.
const (
	holdTime   = 2500 * time.Millisecond // since the server answers again; more than a node needs to reconnect
	holdCheck  = 20 * time.Millisecond   // between two counts of subscribers
	holdIdle   = 100 * time.Millisecond  // the same, while no message is held, or the server does not answer
	holdRecent = 5 * time.Second         // how long the largest number of subscribers counts
	holdTopics = 1 << 16                 // topics whose number is known
	holdCap    = 10 * time.Second        // since the outage, if the connection works but Redis does not answer in time
)

// A holder holds messages after an outage of a server. When Redis was away, the nodes
// reconnect at different times, and a message that is published before the others
// subscribed again is lost for them. So the broker remembers how many subscribers a topic
// had. After the connection to a server was lost, it publishes nothing to a topic of that
// server before there are as many again, or before holdTime passed since the server answers.
// Without an outage, nothing is held, and neither are topics of other servers.
type holder struct {
	broker  *Broker
	holding atomic.Bool   // holds is not empty
	closed  chan struct{} // closed by close
	close   func()
	limit   time.Duration // holdTime, except in tests; static

	mu      sync.Mutex         // guards the following fields; needed after Broker.mu
	reached map[string]reached // by topic
	holds   map[*server]*hold
}

// A reached is the largest number of subscribers that recently received a message of a
// topic.
type reached struct {
	count int64
	at    time.Time
}

// A hold holds the messages of one server, from an outage until the nodes may have
// subscribed again. Its goroutine counts subscribers.
type hold struct {
	holder *holder
	server *server

	began    time.Time                 // when outage was called last; guarded by holder.mu, like the others
	answered time.Time                 // when the server answered first after that
	messages map[*heldMessage]struct{} // which wait
}

// A heldMessage is a call of AwaitSubscribers that waits.
type heldMessage struct {
	topic string
	want  int64         // subscribers
	found bool          // the last count was sufficient
	moved bool          // the topic has another server; written before done is closed
	done  chan struct{} // closed when the message may be sent, or moved
}

func newHolder(b *Broker) *holder {
	h := &holder{
		broker: b, limit: holdTime, closed: make(chan struct{}),
		reached: map[string]reached{}, holds: map[*server]*hold{},
	}
	h.close = sync.OnceFunc(func() { close(h.closed) })
	return h
}

// record records how many subscribers received a message. A smaller number than before
// counts only after a while, because the connections of all nodes may be about to end.
func (h *holder) record(topic string, count int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	old, known := h.reached[topic]
	now := time.Now()
	if count < old.count && now.Sub(old.at) < holdRecent {
		return
	}
	if !known && len(h.reached) >= holdTopics {
		for other := range h.reached {
			delete(h.reached, other)
			break
		}
	}
	h.reached[topic] = reached{count, now}
}

// forget forgets the number of subscribers, because this node does not subscribe to the
// topic any more.
func (h *holder) forget(topic string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.reached, topic)
}

// outage records that connections to a server were lost, and perhaps those of other nodes,
// too, or that this node has just connected to it again. Only calls that Close waits for,
// and goroutines of the broker, may call it.
func (h *holder) outage(s *server) {
	h.mu.Lock()
	defer h.mu.Unlock()
	o := h.holds[s]
	if o == nil {
		o = &hold{holder: h, server: s, messages: map[*heldMessage]struct{}{}}
		h.holds[s] = o
		h.holding.Store(true)
		h.broker.core.Go(o.run)
	}
	o.began, o.answered = time.Now(), time.Time{}
}

// await waits after an outage of the topic's server until the topic has its subscribers
// again. It leaves a quarter of the time until the deadline of ctx for sending the message.
func (h *holder) await(ctx context.Context, topic string) error {
	var limit <-chan time.Time
	if deadline, ok := ctx.Deadline(); ok {
		timer := time.NewTimer(time.Until(deadline) / 4 * 3)
		defer timer.Stop()
		limit = timer.C
	}
	for {
		select {
		case <-h.closed:
			return pond.ErrClosed
		default:
		}
		o, m := h.add(topic)
		if m == nil {
			return nil
		}
		if moved, err := o.wait(ctx, m, limit); err != nil || !moved {
			return err
		}
	}
}

// add adds a message to the hold of the topic's server. It returns nil if the message may
// be sent.
func (h *holder) add(topic string) (*hold, *heldMessage) {
	b := h.broker
	b.mu.Lock()
	defer b.mu.Unlock()
	h.mu.Lock()
	defer h.mu.Unlock()
	o, want := h.holds[b.ownerLocked(topic)], h.reached[topic].count
	if o == nil || want == 0 {
		return nil, nil
	}
	m := &heldMessage{topic: topic, want: want, done: make(chan struct{})}
	o.messages[m] = struct{}{}
	return o, m
}

// wait waits until a message is released or limit passed. It reports whether the topic has
// another server now.
func (o *hold) wait(ctx context.Context, m *heldMessage, limit <-chan time.Time) (moved bool, err error) {
	h := o.holder
	defer func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		delete(o.messages, m)
	}()
	select {
	case <-m.done:
		return m.moved, nil
	case <-ctx.Done():
		return false, ctx.Err()
	case <-h.closed:
		return false, pond.ErrClosed
	case <-limit:
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if o.answered.IsZero() {
		return false, errNoAnswer
	}
	return false, nil
}

var errNoAnswer = errors.New("the server does not answer after an outage")

// run counts subscribers until the hold ends, or the server has no slots any more, or the
// broker is closed.
func (o *hold) run() {
	ctx := o.server.ctx
	for pause := holdCheck; ; {
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			o.holder.mu.Lock()
			defer o.holder.mu.Unlock()
			o.endLocked(true)
			return
		}
		var over bool
		if pause, over = o.check(ctx); over {
			return
		}
	}
}

// check counts the subscribers of the topics of held messages, and releases those that may
// be sent. It returns the time until the next check, or over if the hold ended.
func (o *hold) check(ctx context.Context) (pause time.Duration, over bool) {
	h := o.holder
	held := o.held()
	counts, answered := o.count(ctx, held)
	moved := o.moved(held)
	works := o.server.trouble.Get() == nil
	h.mu.Lock()
	defer h.mu.Unlock()
	now := time.Now()
	if answered && o.answered.IsZero() {
		o.answered = now
	}
	if !o.answered.IsZero() && now.Sub(o.answered) >= h.limit || works && now.Sub(o.began) >= max(holdCap, h.limit) {
		o.endLocked(false)
		return 0, true
	}
	for i, m := range held {
		// Two counts, because Redis may not have noticed the end of connections yet.
		enough := answered && counts[i] >= m.want
		switch {
		case moved[i] || enough && m.found:
			o.releaseLocked(m, moved[i])
		case answered:
			m.found = enough
		}
	}
	if !answered || len(o.messages) == 0 {
		return holdIdle, false
	}
	return max(holdCheck, time.Duration(len(o.messages))*50*time.Microsecond), false
}

// held returns the messages that wait.
func (o *hold) held() []*heldMessage {
	o.holder.mu.Lock()
	defer o.holder.mu.Unlock()
	return slices.Collect(maps.Keys(o.messages))
}

// moved reports which messages belong to another server now.
func (o *hold) moved(held []*heldMessage) []bool {
	b := o.holder.broker
	b.mu.Lock()
	defer b.mu.Unlock()
	moved := make([]bool, len(held))
	for i, m := range held {
		moved[i] = !o.server.ownsLocked(m.topic)
	}
	return moved
}

// endLocked ends the hold. Its messages may be sent, or have another server.
func (o *hold) endLocked(moved bool) {
	h := o.holder
	delete(h.holds, o.server)
	h.holding.Store(len(h.holds) > 0)
	for m := range o.messages {
		o.releaseLocked(m, moved)
	}
}

// releaseLocked ends the wait of a message, if it still waits.
func (o *hold) releaseLocked(m *heldMessage, moved bool) {
	if _, waits := o.messages[m]; waits {
		delete(o.messages, m)
		m.moved = moved
		close(m.done)
	}
}

// count asks the server for the number of subscribers of the topic of each message. It
// reports whether the server answered.
func (o *hold) count(ctx context.Context, held []*heldMessage) (counts []int64, answered bool) {
	client := o.server.client.Load()
	if client == nil {
		return nil, false
	}
	ctx, cancel := context.WithTimeout(ctx, remotebroker.DialTimeout)
	defer cancel()
	prefix := o.holder.broker.prefix
	channels := make([]string, len(held))
	for i, m := range held {
		channels[i] = prefix + m.topic
	}
	byChannel, err := (*client).Do(ctx, (*client).B().PubsubNumsub().Channel(channels...).Build()).AsIntMap()
	if err != nil {
		return nil, false
	}
	counts = make([]int64, len(held))
	for i := range held {
		counts[i] = byChannel[channels[i]]
	}
	return counts, true
}
