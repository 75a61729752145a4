package redisbroker

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pondsocket/pond/internal/remotebroker"
	"github.com/redis/rueidis"
)

// Times of an outage.
const (
	holdTime   = 2500 * time.Millisecond // since Redis answers again; more than a node needs to reconnect
	holdCheck  = 20 * time.Millisecond   // between two counts of subscribers
	holdIdle   = 100 * time.Millisecond  // the same, while no message is held, or Redis does not answer
	holdRecent = 5 * time.Second         // how long the largest number of subscribers counts
	holdTopics = 1 << 16                 // topics whose number is known
	holdCap    = 10 * time.Second        // since the outage, if all connections work but Redis does not answer in time
)

// A holder holds messages after an outage. When Redis was away, the nodes reconnect at
// different times, and a message that is published before the others subscribed again is
// lost for them. So the broker remembers how many subscribers a topic had. After the
// connection was lost, it publishes nothing to a topic before there are as many again, or
// before holdTime passed since Redis answers. Without an outage, nothing is held.
type holder struct {
	broker  *Broker
	holding atomic.Bool
	wake    chan struct{} // has an element when an outage began
	limit   time.Duration // holdTime, except in tests; static

	mu       sync.Mutex         // guards the following fields
	reached  map[string]reached // by topic
	began    time.Time          // when outage was called
	answered time.Time          // when Redis answered first after that
	held     map[*heldMessage]struct{}
}

// A reached is the largest number of subscribers that recently received a message of a
// topic.
type reached struct {
	count int64
	at    time.Time
}

// A heldMessage is a call of Publish that waits.
type heldMessage struct {
	topic string
	want  int64         // subscribers
	found bool          // the last count was sufficient
	done  chan struct{} // closed when the message may be sent
}

func newHolder(b *Broker) *holder {
	return &holder{
		broker: b, wake: make(chan struct{}, 1), limit: holdTime,
		reached: map[string]reached{}, held: map[*heldMessage]struct{}{},
	}
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

// outage records that connections were lost, and perhaps those of other nodes, too, or that
// this node has just connected again.
func (h *holder) outage() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.began, h.answered = time.Now(), time.Time{}
	h.holding.Store(true)
	select {
	case h.wake <- struct{}{}:
	default:
	}
}

// await waits after an outage until the topic has its subscribers again. It leaves a quarter
// of the time until the deadline of ctx for sending the message.
func (h *holder) await(ctx context.Context, topic string) error {
	h.mu.Lock()
	m := &heldMessage{topic: topic, want: h.reached[topic].count, done: make(chan struct{})}
	if m.want == 0 || !h.holding.Load() {
		h.mu.Unlock()
		return nil
	}
	h.held[m] = struct{}{}
	h.mu.Unlock()
	defer func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		delete(h.held, m)
	}()
	var limit <-chan time.Time
	if deadline, ok := ctx.Deadline(); ok {
		timer := time.NewTimer(time.Until(deadline) / 4 * 3)
		defer timer.Stop()
		limit = timer.C
	}
	select {
	case <-m.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-limit:
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.answered.IsZero() {
		return errNoAnswer
	}
	return nil
}

var errNoAnswer = errors.New("the server does not answer after an outage")

// run counts subscribers after each outage, until the broker is closed.
func (h *holder) run() {
	ctx := h.broker.core.Context()
	for {
		select {
		case <-h.wake:
		case <-ctx.Done():
			return
		}
		for pause := holdCheck; h.holding.Load(); {
			timer := time.NewTimer(pause)
			select {
			case <-timer.C:
			case <-ctx.Done():
				timer.Stop()
				return
			}
			pause = h.check(ctx)
		}
	}
}

// check counts the subscribers of the topics of held messages. It returns the time until
// the next check.
func (h *holder) check(ctx context.Context) time.Duration {
	h.mu.Lock()
	held := make([]*heldMessage, 0, len(h.held))
	for m := range h.held {
		held = append(held, m)
	}
	h.mu.Unlock()
	counts, answered := h.broker.countSubscribers(ctx, held)
	works := h.broker.Health() == nil
	h.mu.Lock()
	defer h.mu.Unlock()
	now := time.Now()
	if answered && h.answered.IsZero() {
		h.answered = now
	}
	over := !h.answered.IsZero() && now.Sub(h.answered) >= h.limit || works && now.Sub(h.began) >= max(holdCap, h.limit)
	if !answered && !over {
		return holdIdle
	}
	if over {
		h.holding.Store(false)
	}
	for i, m := range held {
		// Two counts, because Redis may not have noticed the end of connections yet.
		if enough := counts[i] >= m.want; over || enough && m.found {
			h.releaseLocked(m)
		} else {
			m.found = enough
		}
	}
	if over {
		for m := range h.held { // which began to wait in the meantime
			h.releaseLocked(m)
		}
	}
	if len(h.held) == 0 {
		return holdIdle
	}
	return max(holdCheck, time.Duration(len(h.held))*50*time.Microsecond)
}

// releaseLocked ends the wait of a message, if it still waits.
func (h *holder) releaseLocked(m *heldMessage) {
	if _, waits := h.held[m]; waits {
		delete(h.held, m)
		close(m.done)
	}
}

// countSubscribers returns the number of subscribers of the topic of each message, or -1 if
// the server of the topic did not answer. answered reports whether any server did.
func (b *Broker) countSubscribers(ctx context.Context, held []*heldMessage) (counts []int64, answered bool) {
	counts = make([]int64, len(held))
	client := b.client.Load()
	if client == nil {
		return counts, false
	}
	limit := remotebroker.DialTimeout
	if (*client).Mode() == rueidis.ClientModeCluster {
		limit = time.Second // topics of servers that work must not wait for the others
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	if len(held) == 0 {
		return counts, (*client).Do(ctx, (*client).B().PubsubNumsub().Build()).Error() == nil
	}
	cmds := make(rueidis.Commands, len(held))
	for i, m := range held {
		cmds[i] = (*client).B().PubsubNumsub().Channel(b.prefix + m.topic).Build().SetSlot(b.keysOf(m.topic)[0])
	}
	for i, result := range (*client).DoMulti(ctx, cmds...) {
		count, err := result.AsIntMap()
		if err != nil {
			counts[i] = -1
			continue
		}
		counts[i] = count[b.prefix+held[i].topic]
		answered = true
	}
	return counts, answered
}
