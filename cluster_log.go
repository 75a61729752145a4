package pond

import (
	"context"
	"errors"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/pondsocket/pond/internal/cluster"
	"github.com/pondsocket/pond/internal/clusterwire"
	"github.com/pondsocket/pond/internal/transport"
	"github.com/pondsocket/pond/internal/wire"
)

// A remoteLog keeps the history of a channel in line with the log that the broker keeps
// for the channel on all nodes. The log is the authority: a broadcast is appended to it
// first, and each node, including the sender's, sends its members the entries that it
// receives from the log.
//
// All fields except the static and atomic ones are owned by the goroutine of the topic, the
// only one that adds to the channel's history.
type remoteLog struct {
	link *link     // static
	keep Retention // static

	opened atomic.Bool // a client was accepted: the log exists, and is kept while there are members

	cursor  cluster.Cursor
	retry   time.Time   // when the log may be read again; zero if the last read succeeded
	renewed time.Time   // when the log was opened
	renewal *time.Timer // calls renew; nil if the audit calls it often enough
}

const (
	logPage      = 512             // entries that one read returns
	logTimeout   = 5 * time.Second // of one call of the broker
	logRetry     = time.Second     // after a failure
	logPatience  = time.Second     // for an appended entry to arrive
	auditTopics  = 512             // whose tops one call requests
	sampleTopics = 8               // whose tops are compared more often
	sampleTime   = 2 * time.Second // between these comparisons
	logReads     = 16              // concurrent calls
	messageSpace = 512             // approximate size of a message between nodes without its payload
)

// retention returns the limits of the log for a history.
func (h History) retention() Retention {
	return Retention{Messages: h.Messages, Bytes: h.Bytes + min(h.Messages, 1<<20)*messageSpace, Age: h.Age}
}

// stores reports whether a message to an audience is appended to the log.
func (l *link) stores(to Audience) bool { return l.log != nil && to.except }

// storedOrAnswered returns the function that is called when the broker stored a message
// or failed to. After a failure, the client whose message caused it, if any, receives
// an error as the answer.
func (a Audience) storedOrAnswered(channel, request string) func(error) {
	sender, stored := a.sender, a.stored
	return func(err error) {
		if stored != nil {
			stored(err)
		}
		if err != nil && sender != nil {
			sender.conn.failHandler(&wire.Message{Channel: channel, RequestID: request}, &Error{
				Code: http.StatusServiceUnavailable, Message: "the message could not be stored; it may still appear",
			})
		}
	}
}

// on runs f on the goroutine of the topic, and waits for it. It returns an error if ctx is
// done first; f may still run then.
func (t *topic) on(ctx context.Context, f func() error) error {
	done := make(chan error, 1)
	t.in.Push(topicEvent{do: func() { done <- f() }}, 0)
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// load reads the log, if there is one, before the first client joins.
func (r *remoteLog) load(ctx context.Context, t *topic) error {
	return t.on(ctx, func() error {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return r.catchUp()
	})
}

// open creates the log if there is none, when the first client is accepted. Requests to join
// that are declined must not leave anything behind.
func (r *remoteLog) open(ctx context.Context) error {
	if r == nil || r.opened.Load() {
		return nil
	}
	r.link.mu.Lock()
	t := r.link.topic
	r.link.mu.Unlock()
	if t == nil {
		return ErrClosed // the channel was closed just now
	}
	ctx, cancel := context.WithTimeout(ctx, logTimeout)
	defer cancel()
	err := t.on(ctx, func() error {
		if r.opened.Load() {
			return nil
		}
		at, err := r.keepOpen()
		if err == nil && at.Epoch != r.cursor.At().Epoch {
			err = r.begin("")
		}
		r.opened.Store(err == nil)
		return err
	})
	if err != nil {
		return unavailableError(err)
	}
	return nil
}

// keepOpen prevents the log from ending, and creates it if there is none.
func (r *remoteLog) keepOpen() (at Position, err error) {
	err = r.call(func(ctx context.Context) (err error) {
		at, err = r.link.node.log.Open(ctx, r.link.name, r.keep)
		return err
	})
	if err == nil {
		r.renewed = time.Now()
	}
	r.renewInTime()
	return at, err
}

// call runs calls of the broker. After an outage all channels read their logs, so the
// number of concurrent calls is limited.
func (r *remoteLog) call(f func(ctx context.Context) error) error {
	n := r.link.node
	select {
	case n.reads <- struct{}{}:
	case <-n.run.Done():
		return ErrClosed
	}
	defer func() { <-n.reads }()
	ctx, cancel := context.WithTimeout(n.run, logTimeout)
	defer cancel()
	return f(ctx)
}

// begin starts at the first entry of the log. If there are members, it creates the log if
// there is none, and reason says why they miss messages.
func (r *remoteLog) begin(reason GapReason) error {
	if r.opened.Load() {
		if _, err := r.keepOpen(); err != nil {
			return err
		}
	}
	var page Page
	err := r.call(func(ctx context.Context) (err error) {
		page, err = r.link.node.log.Since(ctx, r.link.name, Position{}, logPage)
		return err
	})
	if err != nil {
		return err
	}
	if page.Top == (Position{}) {
		return errNoLog
	}
	start := page.Top
	if len(page.Entries) > 0 {
		start = Position{page.Top.Epoch, page.Entries[0].Prev}
	}
	r.jump(start, reason)
	for _, e := range page.Entries {
		r.deliver(e, false)
	}
	return nil
}

// errNoLog is the error for a log that ended between two calls.
var errNoLog = errors.New("pond: the log of the channel ended just now")

// jump moves the channel to a position, without the messages before it.
func (r *remoteLog) jump(to Position, reason GapReason) {
	r.cursor.Set(cluster.Position(to))
	_ = r.link.ch.commit(func(tx *tx) error { // a closed channel has no history
		tx.jump(to, reason)
		return nil
	})
}

// jump sets the position of the channel, and notifies the members that asked for
// recovery that they miss the messages before it.
func (tx *tx) jump(to Position, reason GapReason) {
	log := tx.ch.log
	log.drop(len(log.kept()))
	log.epoch, log.top, log.lost = to.Epoch, to.Offset, to.Offset
	for _, m := range tx.ch.members {
		if m.feeding == nil {
			if m.recovers {
				tx.queue(m, tx.gapNotice(reason), false)
			}
			continue
		}
		c := m.feeding
		c.cursor = to.Offset
		for i := range c.held {
			c.held[i].top = min(c.held[i].top, to.Offset)
		}
		if !c.notified {
			c.to = to.Offset
		}
		tx.queue(m, tx.gapNotice(reason), false)
	}
}

// gapNotice encodes the message that notifies a client that it misses messages before
// the position of the channel.
func (tx *tx) gapNotice(reason GapReason) *transport.Frame {
	log := tx.ch.log
	return tx.numberedNotice(wire.Gap, newRequestID(), positionBody(log.position(), reason), log.top)
}

// receive handles an entry of the log from the broker.
func (r *remoteLog) receive(e Entry) {
	switch r.cursor.Judge(cluster.Position(e.Pos), e.Prev) {
	case cluster.Deliver:
		r.deliver(e, true)
	case cluster.Known:
	default:
		_ = r.catchUp() // or later
	}
}

// catchUp reads the log up to its top. If that fails, it is repeated later.
func (r *remoteLog) catchUp() error {
	if time.Now().Before(r.retry) {
		return errRetry // a timer runs
	}
	err := r.read()
	if err == nil {
		r.retry = time.Time{}
		return nil
	}
	r.retry = time.Now().Add(logRetry)
	time.AfterFunc(logRetry, func() { r.soon() })
	return err
}

// errRetry is the error for a log that cannot be read at present.
var errRetry = errors.New("pond: the log of the channel cannot be read at present")

// soon makes the goroutine of the topic read the log.
func (r *remoteLog) soon() {
	r.link.mu.Lock()
	t := r.link.topic
	r.link.mu.Unlock()
	if t != nil {
		t.in.Push(topicEvent{do: func() { _ = r.catchUp() }}, 0) // or later
	}
}

func (r *remoteLog) read() error {
	for {
		from := Position(r.cursor.At())
		var page Page
		err := r.call(func(ctx context.Context) (err error) {
			page, err = r.link.node.log.Since(ctx, r.link.name, from, logPage)
			return err
		})
		switch {
		case err != nil:
			return err
		case page.Top == Position{} && !r.opened.Load():
			if from != (Position{}) { // it ended
				r.jump(Position{Epoch: newEpoch()}, GapEpoch)
				r.cursor.Set(cluster.Position{})
			}
			return nil
		case page.Top.Epoch != from.Epoch:
			if err := r.begin(GapEpoch); err != nil {
				return err
			}
			continue
		case !page.Complete && len(page.Entries) == 0: // the log never reached the position
			r.jump(page.Top, GapEpoch)
			return nil
		case !page.Complete:
			r.jump(Position{page.Top.Epoch, page.Entries[0].Prev}, GapExpired)
		}
		for _, e := range page.Entries {
			r.deliver(e, false)
		}
		if len(page.Entries) == 0 || !r.cursor.IsBehind(cluster.Position(page.Top)) {
			return nil
		}
	}
}

// deliver sends an entry of the log to the members on this node, and keeps it. Entries
// for another channel only move the position. fresh says that the entry was sent just
// now, which proves that its node is alive.
func (r *remoteLog) deliver(e Entry, fresh bool) {
	ch := r.link.ch
	r.cursor.Set(cluster.Position(e.Pos))
	m, err := clusterwire.Decode(e.Data, r.link.endpoint, ch.name, clusterwire.DefaultLimits)
	to, ok := ch.audience(&m)
	if err != nil || m.Type != clusterwire.UserMessage || !ok || !to.except {
		_ = ch.commit(func(tx *tx) error { // a closed channel has no history
			ch.log.top = e.Pos.Offset
			return nil
		})
		return
	}
	if fresh && m.Source != r.link.node.id {
		r.link.node.saw(&m)
	}
	endpoint := ch.lobby.endpoint
	endpoint.hub.Pace()
	if m.RequestID == "" {
		m.RequestID = newRequestID()
	}
	d := ch.draft(wire.Broadcast, m.Event, m.RequestID, m.Payload)
	endpoint.makeHistoryRoom(d.size())
	at := min(now(), m.Timestamp*int64(time.Millisecond))
	_ = ch.commit(func(tx *tx) error {
		tx.publish(&d, to, e.Pos.Offset, at)
		return nil
	})
}

// reach makes sure that the channel has all entries up to a position that a client had
// on another node. It returns false if that is not possible at present.
func (r *remoteLog) reach(ctx context.Context, p Position) bool {
	if !r.missing(p) {
		return true
	}
	r.link.mu.Lock()
	t := r.link.topic
	r.link.mu.Unlock()
	if t == nil {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, logTimeout)
	defer cancel()
	return t.on(ctx, func() error {
		if !r.missing(p) {
			return nil // an earlier call read it
		}
		return r.catchUp()
	}) == nil
}

// missing reports whether the channel has not reached a position.
func (r *remoteLog) missing(p Position) bool {
	ch := r.link.ch
	ch.mu.Lock()
	defer ch.mu.Unlock()
	return p != Position{} && (p.Epoch != ch.log.epoch || p.Offset > ch.log.top)
}

// appended records that an entry is in the log. If the entry does not arrive soon, the
// log is read.
func (n *node) appended(topic string, p Position) {
	n.mu.Lock()
	defer n.mu.Unlock()
	t := n.topics[topic]
	if t == nil || t.change != nil {
		return // no channel here
	}
	t.expected = p
	if !t.expecting {
		t.expecting = true
		time.AfterFunc(logPatience, t.check)
	}
}

// check reads the log if an appended entry has not arrived.
func (t *topic) check() {
	t.node.mu.Lock()
	p := t.expected
	t.expecting = false
	t.node.mu.Unlock()
	for _, l := range t.logged() {
		if l.log.missing(p) {
			l.log.soon()
		}
	}
}

// logged returns the channels of the topic whose history the broker keeps.
func (t *topic) logged() (links []*link) {
	t.node.mu.Lock()
	defer t.node.mu.Unlock()
	for _, s := range t.subscribers {
		if l, ok := s.(*link); ok && l.log != nil {
			links = append(links, l)
		}
	}
	return links
}

// renew prevents the log from ending.
func (r *remoteLog) renew() {
	r.link.mu.Lock()
	t := r.link.topic
	r.link.mu.Unlock()
	if t == nil {
		return
	}
	t.in.Push(topicEvent{do: func() {
		if time.Since(r.renewed) >= r.keep.Age/renewals {
			_, _ = r.keepOpen() // or the next time
		}
	}}, 0)
}

// renewals is how often a log is renewed while it would otherwise end once.
const renewals = 3

// renewInTime plans the next renewal of a log that could end before the next audit.
func (r *remoteLog) renewInTime() {
	switch pause := r.keep.Age / renewals; {
	case pause >= r.link.node.beat():
	case r.renewal == nil:
		r.renewal = time.AfterFunc(pause, r.renew)
	default:
		r.renewal.Reset(pause)
	}
}

// endLog replaces the [Retention] for the message that closes a channel: its log ends
// before the message is published, and after all messages that were sent earlier.
type endLog struct {
	made time.Time
	upto Position // of the channel at that time
}

// close queues the message that closes the channel on other nodes, and remembers it.
func (tx *tx) close(it *cluster.Item, r cluster.Request) {
	l := tx.ch.link
	if l.log != nil {
		end := endLog{time.Now(), tx.ch.log.position()}
		it.Log, it.Done = end, func(err error) { l.retryEnd(end, *it, err) }
	}
	tx.relay(it)
	l.remember(r)
}

// retryEnd queues the message that ends a log again if the broker did not accept it for a long
// time. Otherwise, members of a later channel would receive the history of the closed one.
func (l *link) retryEnd(end endLog, it cluster.Item, err error) {
	l.ch.lobby.endpoint.control.givenUp(err)
	if err == nil || errors.Is(err, ErrTooLarge) || time.Since(end.made) >= cluster.RequestAge {
		return
	}
	it.Event = false            // the loss is already reported
	_ = l.node.push(l.name, it) // fails if the node stops, or too much is queued
}

// end ends a log. If that is late, another channel with the same name may have begun.
// Therefore, a log remains if it has messages that other nodes appended since.
func (n *node) end(ctx context.Context, topic string, end endLog) error {
	from := end.upto
	for late := time.Since(end.made) > usualDelay; late; {
		page, err := n.log.Since(ctx, topic, from, logPage)
		if err != nil {
			return err
		}
		if page.Top.Epoch != from.Epoch || len(page.Entries) == 0 && !page.Complete {
			return nil // another log
		}
		for _, e := range page.Entries {
			if !clusterwire.IsFrom(e.Data, n.id) { // those of this node were queued before
				return nil
			}
			from = e.Pos
		}
		late = from.Offset < page.Top.Offset && len(page.Entries) > 0
	}
	return n.log.Drop(ctx, topic)
}
