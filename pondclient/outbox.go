package pondclient

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pondsocket/pond"
	"github.com/pondsocket/pond/internal/wire"
)

// An outgoing is a message to the server. Fields without a comment are static.
type outgoing struct {
	m          *membership // nil for joins and leaves
	join       *membership // of a join
	id         string
	number     uint64
	event      string
	payload    []byte
	data       []byte // the whole message
	queued     time.Time
	idempotent bool
	reply      string        // the event that answers the request, or empty for any
	answer     chan response // of a request, with capacity one; nil if no caller waits

	// Guarded by client.mu.
	state progress
	maybe bool // it was sent once, and may have arrived
}

// unsent returns the error of a message that is not sent (again).
func (o *outgoing) unsent(err error) error {
	if o.maybe {
		return bothErrors(err, ErrUnknownOutcome)
	}
	return err
}

// A response is the end of a request.
type response struct {
	message *Message
	err     error
}

// progress is the state of a message.
type progress int

const (
	waiting progress = iota // for a join
	ready                   // in a connection's list
	writing                 // in a call of link.write
	written                 // written; there may be an answer
	settled                 // finished
)

// A verdict is the result of sending a message.
type verdict struct {
	result result
	err    *pond.Error // why it was rejected
}

type result int

const (
	unsent result = iota // not written to the network, or not accepted by the server
	sent
	unknown // it may have arrived
	refused // rejected by the server
)

// An outbox counts and finds messages that are not settled. It is part of the client,
// whose mutex guards it.
type outbox struct {
	requests map[string]*outgoing // requests without an answer
	serial   uint64               // of request IDs
	count    int                  // messages that wait for a join
	bytes    int                  // of messages that are not written
	pending  int                  // messages that are not written
	idle     chan struct{}        // closed when pending is zero; nil if no goroutine waits for this
	recent   [64]struct {
		number uint64
		event  string
		m      *membership
	} // the last messages, for errors that contain only an ID
}

// enqueueLocked queues a message, or returns an error.
func (c *Client) enqueueLocked(o *outgoing) error {
	q := c.cfg.queue
	m := o.m
	direct := m.phase == member && c.conn != nil && len(m.queue) == 0
	switch {
	case c.bytes+len(o.data) > q.Bytes:
		return ErrQueueFull
	case !direct && c.count >= q.Messages:
		return ErrQueueFull
	}
	c.bytes += len(o.data)
	c.pending++
	m.pending++
	r := &c.recent[o.number%uint64(len(c.recent))]
	r.number, r.event, r.m = o.number, o.event, m
	if o.answer != nil {
		c.requests[o.id] = o
	}
	if direct {
		o.state = ready
		c.conn.out = append(c.conn.out, o)
		c.conn.writeSoon()
		return nil
	}
	m.queue = append(m.queue, o)
	c.count++
	return nil
}

// releaseLocked moves the messages that wait for the join of m to the connection.
func (c *Client) releaseLocked(m *membership) {
	for _, o := range m.queue {
		o.state = ready
	}
	c.conn.out = append(c.conn.out, m.queue...)
	c.count -= len(m.queue)
	m.queue = nil
	c.conn.writeSoon()
}

// controlLocked sends a join or a leave.
func (c *Client) controlLocked(o *outgoing) {
	o.state = ready
	c.conn.out = append(c.conn.out, o)
	c.conn.writeSoon()
}

// takeBatch returns the messages that the connection writes next.
func (c *Client) takeBatch(n *connection) []*outgoing {
	c.mu.Lock()
	defer c.unlock()
	size, count := 0, 0
	for _, o := range n.out {
		if count > 0 && size+len(o.data) > maxBody {
			break
		}
		o.state = writing
		size += len(o.data)
		count++
		if len(o.data) > n.largestSize {
			n.largest, n.largestSize = o, len(o.data)
		}
	}
	batch := slices.Clone(n.out[:count])
	if n.out = n.out[count:]; len(n.out) == 0 {
		n.out = nil
	}
	n.writing = batch
	return batch
}

// settle handles the results of a batch.
func (c *Client) settle(n *connection, batch []*outgoing, verdicts []verdict) {
	c.mu.Lock()
	defer c.unlock()
	n.writing = nil
	var again []*outgoing
	for i, o := range batch {
		v := verdict{}
		if i < len(verdicts) {
			v = verdicts[i]
		}
		switch {
		case o.m == nil:
			switch {
			case v.result == refused && o.join != nil:
				c.refusedLocked(o.join, o.id, v.err)
			case v.result == refused:
				c.warnLocked("the server rejected a leave", slog.Any("error", v.err))
			}
		case o.state == settled: // meanwhile
			c.writtenLocked(o)
		case v.result == sent:
			c.writtenLocked(o)
			o.state, o.maybe = written, true
			if o.answer == nil { // only its size is of interest from now on
				o.data, o.payload = nil, nil
			}
		case v.result == unsent, v.result == unknown && o.idempotent:
			o.state = ready
			o.maybe = o.maybe || v.result == unknown
			again = append(again, o)
		case v.result == refused:
			c.writtenLocked(o)
			c.failLocked(o, v.err)
		default:
			c.writtenLocked(o)
			c.failLocked(o, c.lostLocked())
		}
	}
	n.out = append(again, n.out...) // again is empty, unless the connection ends now
}

// writtenLocked removes a message from the counts of unwritten messages.
func (c *Client) writtenLocked(o *outgoing) {
	c.bytes -= len(o.data)
	c.pending--
	o.m.pending--
	if o.m.pending == 0 && o.m.idle != nil {
		close(o.m.idle)
		o.m.idle = nil
	}
	c.drainedLocked()
}

// drainedLocked wakes the goroutines that wait until no message is pending, if none is,
// or if no message can be sent any more.
func (c *Client) drainedLocked() {
	if c.idle != nil && (c.pending == 0 || c.stopped != nil) {
		close(c.idle)
		c.idle = nil
	}
	if c.stopped == nil {
		return
	}
	for _, m := range c.channels {
		if m.idle != nil {
			close(m.idle)
			m.idle = nil
		}
	}
}

// failLocked settles a message that will not be answered.
func (c *Client) failLocked(o *outgoing, err error) {
	if o.state == settled {
		return
	}
	o.state = settled
	if o.answer != nil {
		delete(c.requests, o.id)
		o.answer <- response{err: err}
		return
	}
	o.m.deliver(&Failure{Event: o.event, Payload: o.payload, RequestID: o.id, Err: err})
}

// tooLargeLocked fails the largest message of a connection that the server closed
// because one was too large, so that it is not sent again.
func (c *Client) tooLargeLocked(o *outgoing, reason *ConnectionError) {
	err := &pond.Error{Code: http.StatusRequestEntityTooLarge, Message: "the message is too large", Err: reason}
	switch {
	case o.join != nil:
		c.refusedLocked(o.join, o.id, err)
	case o.m != nil && o.m.phase != over:
		c.removeLocked(o) // if it is to be sent again
		c.failLocked(o, err)
	}
}

// lostLocked returns the error of a message that may have arrived.
func (c *Client) lostLocked() error {
	if c.ctx.Err() != nil {
		return bothErrors(ErrClosed, ErrUnknownOutcome)
	}
	return ErrUnknownOutcome
}

// requeueLocked returns the unwritten messages of a connection to the queues of their
// channels. Messages that were written and must not be sent again fail.
func (c *Client) requeueLocked(n *connection) {
	back := n.out
	n.out = nil
	for _, o := range c.requests {
		switch {
		case o.state == written && o.idempotent:
			c.bytes += len(o.data)
			c.pending++
			o.m.pending++
			o.queued = time.Now()
			back = append(back, o)
		case o.state == written:
			c.failLocked(o, c.lostLocked())
		}
	}
	slices.SortStableFunc(back, func(a, b *outgoing) int { return cmp.Compare(b.number, a.number) })
	for _, o := range back { // the newest first
		if o.m == nil {
			continue
		}
		o.state = waiting
		o.m.queue = slices.Insert(o.m.queue, 0, o)
		c.count++
	}
}

// removeLocked removes a message from its queue. It returns false if the message was
// written, or is being written.
func (c *Client) removeLocked(o *outgoing) bool {
	list := &o.m.queue
	switch o.state {
	case waiting:
		c.count--
	case ready:
		list = &c.conn.out
	default:
		return false
	}
	if i := slices.Index(*list, o); i >= 0 {
		*list = slices.Delete(*list, i, i+1)
	}
	c.writtenLocked(o)
	return true
}

// expireLocked fails messages that were queued for too long. A client that is closing
// reports them when it returns from Close.
func (c *Client) expireLocked(now time.Time) {
	if c.closing {
		return
	}
	for _, m := range c.channels {
		late := func(o *outgoing) bool { return now.Sub(o.queued) >= c.cfg.queue.Age }
		if slices.ContainsFunc(m.queue, late) {
			for _, o := range c.takeLocked(&m.queue, late) {
				c.failLocked(o, o.unsent(ErrExpired))
			}
		}
	}
}

// takeLocked removes messages from a list, so that they are not written.
func (c *Client) takeLocked(list *[]*outgoing, which func(*outgoing) bool) (taken []*outgoing) {
	*list = slices.DeleteFunc(*list, func(o *outgoing) bool {
		if o.m == nil || !which(o) {
			return false
		}
		taken = append(taken, o)
		return true
	})
	for _, o := range taken {
		if o.state == waiting {
			c.count--
		}
		c.writtenLocked(o)
	}
	return taken
}

// discardLocked removes all unwritten messages of one channel, or of all channels.
// Requests among them fail with err; the other messages are returned. If all is true,
// it also returns the messages that are being written.
func (c *Client) discardLocked(only *membership, all bool, err error) (list []Unsent) {
	which := func(o *outgoing) bool { return only == nil || o.m == only }
	var taken []*outgoing
	for _, m := range c.membershipsLocked() {
		taken = append(taken, c.takeLocked(&m.queue, which)...)
	}
	if c.conn != nil {
		taken = append(taken, c.takeLocked(&c.conn.out, which)...)
	}
	if c.conn != nil && all {
		for _, o := range c.conn.writing {
			if o.m != nil && which(o) && o.state == writing {
				o.maybe = true
				taken = append(taken, o)
			}
		}
	}
	slices.SortFunc(taken, func(a, b *outgoing) int { return cmp.Compare(a.number, b.number) })
	for _, o := range taken {
		if o.answer == nil {
			o.state = settled
			list = append(list, Unsent{o.m.name, o.event, o.payload, o.maybe})
		} else {
			c.failLocked(o, o.unsent(err))
		}
	}
	return list
}

// flush waits until all messages of one channel, or of all channels, are written.
func (c *Client) flush(ctx context.Context, m *membership) error {
	for {
		c.mu.Lock()
		pending, idle := &c.pending, &c.idle
		if m != nil {
			pending, idle = &m.pending, &m.idle
		}
		if *pending == 0 {
			c.mu.Unlock()
			return nil
		}
		if c.stopped != nil {
			defer c.unlock()
			return c.stopped
		}
		if *idle == nil {
			*idle = make(chan struct{})
		}
		wait := *idle
		c.mu.Unlock()
		select {
		case <-wait:
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-c.ctx.Done():
			return ErrClosed
		}
	}
}

// originLocked returns the event and the membership of a recent message with an ID, if
// it is one of the last.
func (c *Client) originLocked(id string) (m *membership, event string) {
	rest, ok := strings.CutPrefix(id, c.prefix)
	if !ok {
		return nil, ""
	}
	number, err := strconv.ParseUint(rest, 36, 64)
	if err != nil {
		return nil, ""
	}
	if r := c.recent[number%uint64(len(c.recent))]; r.number == number {
		return r.m, r.event
	}
	return nil, ""
}

// prepare encodes a message.
func (c *Client) prepare(m *membership, event string, payload any, opts []SendOption) (*outgoing, error) {
	body, err := wire.Object(payload)
	if err != nil {
		return nil, errors.New("pondclient: payload of " + strconv.Quote(event) + ": " + strings.TrimPrefix(err.Error(), "wire: "))
	}
	var cfg sendConfig
	for _, opt := range opts {
		opt(&cfg)
	}
	c.mu.Lock()
	id, number := c.nextIDLocked(), c.serial
	c.mu.Unlock()
	return &outgoing{
		m: m, id: id, number: number, event: event, payload: body,
		data:       wireMessage(wire.Broadcast, event, m.name, id, body),
		queued:     time.Now(),
		idempotent: cfg.idempotent, reply: cfg.reply,
	}, nil
}
