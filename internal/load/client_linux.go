package load

import (
	"encoding/binary"
	"fmt"
	"io"

	"github.com/pondsocket/pond/internal/ws"
)

// A client is a Client and its connection.
type client struct {
	Client
	conn   *conn
	room   *room
	pub    *publisher // nil unless it publishes
	joiner joiner
	chunks *chunks // nil unless the stream is chunked
	done   int     // of what has arrived in part: how much is decoded

	seen    []uint32            // of each publisher in the room: the next expected
	missing map[uint64]struct{} // passed over: publisher and sequence number
	census  census              // who is present
	latest  int64               // when it got its last delivery
	state   clientState
	stalled bool
}

type clientState uint8

const (
	away    clientState = iota // not connected
	opening                    // the request is sent
	open                       // it is accepted
	joined
	leaving
)

// advance connects the clients that wait for it, some at a time.
func (l *loop) advance() {
	for len(l.waiting) > 0 && l.connecting < connectAtOnce {
		c := l.waiting[0]
		l.waiting = l.waiting[1:]
		l.connecting++
		c.enter(l)
	}
}

// connectAtOnce is how many clients of a loop are on their way in at a time. The
// queue of a listener has room for more.
const connectAtOnce = 64

func (c *client) enter(l *loop) {
	c.ID, c.Step = "", 0
	c.joiner, c.chunks, c.done = joiner{}, nil, 0
	c.state = opening
	l.counters.Present++
	receiveBuffer := 0
	if l.config.Stalled > 0 && l.stalls(c) {
		receiveBuffer = 16 << 10 // so that it is full soon
	}
	var err error
	if c.conn, err = l.dial(c, c.Number, receiveBuffer); err != nil {
		c.lost(l, err)
		return
	}
	c.conn.out = appendOpening(c.conn.out, c.Transport, l.config.Host, l.dialect.Open(&c.Client))
}

// leave ends the connection as a client does that has all it wants.
func (c *client) leave(l *loop) {
	if c.state == away || c.state == leaving {
		return
	}
	l.left(c)
	if c.state = leaving; c.Transport == SSE || c.stalled {
		l.lose(c.conn, nil)
		return
	}
	c.conn.out = ws.AppendMasked(c.conn.out, ws.Close, true, false, maskKey,
		binary.BigEndian.AppendUint16(nil, ws.CloseNormal))
	c.conn.ending = true
	l.soil(c.conn)
}

// maskKey masks all frames. That nobody can guess it protects proxies, and here
// are none.
var maskKey = [4]byte{0x5a, 0xa5, 0x3c, 0xc3}

// send sends one text message.
func (c *client) send(l *loop, message []byte) {
	if c.conn == nil || c.conn.fd < 0 {
		return
	}
	if c.Transport == SSE {
		l.posters[c.Number%len(l.posters)].post(l, l.dialect.Post(&c.Client), message)
		return
	}
	c.conn.out = ws.AppendMasked(c.conn.out, ws.Text, true, false, maskKey, message)
	l.soil(c.conn)
}

func (c *client) sendAll(l *loop) {
	start := 0
	for _, end := range l.outgoing.ends {
		c.send(l, l.outgoing.text[start:end])
		start = end
	}
	l.outgoing.reset()
}

// feed implements owner.
func (c *client) feed(l *loop, b []byte) ([]byte, error) {
	if c.state == opening {
		h, n, err := nextHead(b)
		if err == nil && n > 0 {
			err = h.accepts(c.Transport)
		}
		if n == 0 || err != nil {
			return b, err
		}
		b = b[n:]
		c.state = open
		if h.chunked() {
			c.chunks = new(chunks)
		}
		l.dialect.Opened(&c.Client, &l.outgoing)
		c.sendAll(l)
	}
	if c.Transport == SSE {
		return c.feedStream(l, b)
	}
	return c.feedFrames(l, b)
}

func (c *client) feedFrames(l *loop, b []byte) ([]byte, error) {
	for {
		f, n, err := nextFrame(b)
		if n == 0 || err != nil {
			return b, err
		}
		b = b[n:]
		switch f.op {
		case ws.Text, ws.Binary, ws.Continuation:
			message, err := c.joiner.message(f)
			if err != nil {
				return nil, err
			}
			if message != nil {
				c.receive(l, message)
			}
		case ws.Ping:
			c.conn.out = ws.AppendMasked(c.conn.out, ws.Pong, true, false, maskKey, f.payload)
			l.soil(c.conn)
		case ws.Close:
			return nil, closeReason(f.payload)
		}
		if c.conn.fd < 0 {
			return nil, nil
		}
	}
}

func closeReason(payload []byte) error {
	if len(payload) < 2 {
		return io.EOF
	}
	return fmt.Errorf("the server closed with %d %q", binary.BigEndian.Uint16(payload), payload[2:])
}

func (c *client) feedStream(l *loop, b []byte) ([]byte, error) {
	end, raw := len(b), []byte(nil)
	if c.chunks != nil {
		var err error
		if end, raw, err = c.chunks.decode(b, c.done); err != nil {
			return nil, err
		}
	}
	decoded := b[:end]
	for {
		data, n := nextEvent(decoded)
		if n == 0 {
			break
		}
		decoded = decoded[n:]
		if data != nil {
			c.receive(l, data)
		}
		if c.conn.fd < 0 {
			return nil, nil
		}
	}
	if c.chunks != nil && c.chunks.last {
		return nil, io.EOF
	}
	c.done = len(decoded)
	if c.chunks == nil {
		c.done = 0
	}
	return append(decoded, raw...), nil // raw lies behind it
}

// receive handles one message.
func (c *client) receive(l *loop, message []byte) {
	l.events = l.dialect.Receive(&c.Client, message, l.events[:0], &l.outgoing)
	if len(l.outgoing.ends) > 0 {
		c.sendAll(l)
	}
	for _, ev := range l.events {
		switch ev.Kind {
		case Delivery:
			l.delivered(c, ev.Text)
		case Joined:
			l.joined(c)
		case PresenceList, PresenceJoin, PresenceLeave:
			l.present(c, ev)
		case Refused:
			l.counters.Refused++
			l.counters.blame("refused: " + string(ev.Text[:min(200, len(ev.Text))]))
		}
	}
}

// stall stops to read.
func (c *client) stall(l *loop) {
	if c.state != joined {
		return
	}
	l.release(c)
	c.stalled, c.conn.deaf = true, true
	if err := l.interest(c.conn); err != nil {
		l.lose(c.conn, err)
	}
}

// lost implements owner.
func (c *client) lost(l *loop, err error) {
	state := c.state
	l.left(c)
	c.state = away
	l.counters.Present--
	switch {
	case state == leaving:
	case state == opening, state == open:
		l.connecting--
		l.counters.Failed++
		l.counters.blame(fmt.Sprintf("client %d: %v", c.Number, err))
	case c.stalled:
		l.counters.StalledClosed++
	default:
		l.counters.Closed++
		l.counters.blame(fmt.Sprintf("client %d was closed: %v", c.Number, err))
	}
	if state == leaving && l.churning.Load() {
		l.waiting = append(l.waiting, c)
	}
}

// left notes that c is no member any more.
func (l *loop) left(c *client) {
	if c.state != joined {
		return
	}
	l.counters.Joined--
	if c.Track && c.census == l.everybody {
		l.counters.Complete--
	}
	c.census = census{}
	if !c.stalled {
		l.release(c)
	}
}

// A poster is a connection that carries the messages of clients with event
// streams, in their order: one request behind the other.
type poster struct {
	conn    *conn
	number  int
	pending int // requests without a response
}

func (p *poster) post(l *loop, r Request, message []byte) {
	if p.conn == nil {
		c, err := l.dial(p, p.number, 0)
		if err != nil {
			p.lost(l, err)
			return
		}
		p.conn = c
	}
	p.conn.out = appendPost(p.conn.out, l.config.Host, r, message)
	p.pending++
	l.soil(p.conn)
}

// feed implements owner.
func (p *poster) feed(l *loop, b []byte) ([]byte, error) {
	for len(b) > 0 {
		h, n, err := nextResponse(b)
		if n == 0 || err != nil {
			return b, err
		}
		b = b[n:]
		p.pending--
		if h.status >= 300 {
			l.counters.Refused++
			l.counters.blame(fmt.Sprintf("a POST was answered %q", h.line))
		}
	}
	return nil, nil
}

// lost implements owner. A server may close a connection that nobody uses.
func (p *poster) lost(l *loop, err error) {
	if p.pending > 0 || p.conn == nil {
		l.counters.Refused += int64(max(1, p.pending))
		l.counters.blame(fmt.Sprintf("the connection for POST was closed: %v", err))
	}
	p.conn, p.pending = nil, 0
}
