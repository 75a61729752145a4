package load

import (
	"encoding/binary"
	"fmt"
	"io"

	"github.com/pondsocket/pond/internal/ws"
)

// A client is a Client with its connection.
type client struct {
	Client
	conn      *conn
	room      *room
	pub       *publisher // nil if it does not publish
	assembler assembler
	chunks    *chunks // nil unless the stream is chunked
	done      int     // number of decoded bytes of an incomplete event

	seen     []uint32         // next expected sequence number, by publisher of the room
	missing  map[key]struct{} // sequence numbers below seen that did not arrive
	rejected map[key]struct{} // sequence numbers above seen of rejected messages
	census   census           // the clients that are present
	latest   int64            // time of the last delivery
	state    clientState
	stalled  bool

	recovering bool  // was reset, and has not received all missed messages yet
	returns    int64 // time to reconnect after the last reset
	told       bool  // was told that messages are missing, and did not notice which
	holed      bool  // missed messages during the recovery
	claimed    bool  // was told that it received all, and noticed no hole since

	lags    bool   // read again after it was stalled
	resumed int64  // when
	newest  uint32 // next sequence number of the publisher at that time
}

type clientState uint8

const (
	away    clientState = iota // not connected
	opening                    // the request was sent
	open                       // the request was accepted
	joined
	leaving
)

// advance connects waiting clients, a limited number at a time.
func (l *loop) advance() {
	for len(l.waiting) > 0 && l.connecting < connectAtOnce {
		c := l.waiting[0]
		l.waiting = l.waiting[1:]
		l.connecting++
		c.enter(l)
	}
}

// connectAtOnce is the number of clients of a loop that connect at the same time. It is
// below the usual backlog of a listener.
const connectAtOnce = 64

func (c *client) enter(l *loop) {
	c.ID, c.Step = "", 0
	c.assembler, c.chunks, c.done = assembler{}, nil, 0
	c.state = opening
	l.counters.Present++
	receiveBuffer := 0
	if l.config.Stalled > 0 && l.stalls(c) {
		receiveBuffer = 16 << 10 // small, so that it is full soon
	}
	var err error
	if c.conn, err = l.dial(c, l.targetOf(c), c.Number, receiveBuffer); err != nil {
		c.closed(l, err)
		return
	}
	c.conn.out = appendOpening(c.conn.out, c.Transport, l.config.Host, l.dialect.Open(&c.Client))
}

// leave closes the connection gracefully.
func (c *client) leave(l *loop) {
	if c.state == away || c.state == leaving {
		return
	}
	l.left(c)
	if c.state = leaving; c.Transport == SSE || c.stalled {
		l.closeConn(c.conn, nil)
		return
	}
	c.conn.out = ws.AppendMasked(c.conn.out, ws.Close, true, false, maskKey,
		binary.BigEndian.AppendUint16(nil, ws.CloseNormal))
	c.conn.ending = true
	l.markDirty(c.conn)
}

// maskKey masks all frames. It need not be random, because there are no proxies to
// protect.
var maskKey = [4]byte{0x5a, 0xa5, 0x3c, 0xc3}

// send sends one text message.
func (c *client) send(l *loop, message []byte) {
	if c.conn == nil || c.conn.fd < 0 {
		return
	}
	if c.Transport == SSE {
		l.posters[c.Number%len(l.posters)].post(l, c, message)
		return
	}
	c.conn.out = ws.AppendMasked(c.conn.out, ws.Text, true, false, maskKey, message)
	l.markDirty(c.conn)
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
			message, err := c.assembler.message(f)
			if err != nil {
				return nil, err
			}
			if message != nil {
				c.receive(l, message)
			}
		case ws.Ping:
			c.conn.out = ws.AppendMasked(c.conn.out, ws.Pong, true, false, maskKey, f.payload)
			l.markDirty(c.conn)
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
	return append(decoded, raw...), nil // raw is after decoded in the same buffer
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
		case Recovered:
			l.recovered(c)
		case Unrecovered:
			l.unrecovered(c, ev.Text)
		case Rejected:
			l.counters.Rejected++
			l.counters.setReason("rejected: " + excerpt(ev.Text))
			if seq, ok := parseRequestStamp(ev.Stamp); ok && c.pub != nil {
				l.reject(c.pub, seq)
			}
		}
	}
}

// excerpt returns text, truncated if it is very long.
func excerpt(text []byte) string {
	const limit = 2000
	if len(text) <= limit {
		return string(text)
	}
	return fmt.Sprintf("%s... (%d bytes)", text[:limit], len(text))
}

// stall makes c stop reading.
func (c *client) stall(l *loop) {
	if c.state != joined {
		return
	}
	l.release(c)
	c.stalled, c.conn.stalled = true, true
	if err := l.interest(c.conn); err != nil {
		l.closeConn(c.conn, err)
	}
}

// closed implements owner.
func (c *client) closed(l *loop, err error) {
	state := c.state
	l.left(c)
	c.state = away
	l.counters.Present--
	switch {
	case state == leaving:
	case state == opening, state == open:
		l.connecting--
		l.counters.Failed++
		l.counters.setReason(fmt.Sprintf("client %d: %v", c.Number, err))
		if c.recovering {
			l.settle(c)
			l.release(c)
		}
	case c.stalled && l.config.Scenario != Latest:
		l.counters.StalledClosed++
	default:
		l.counters.Closed++
		l.counters.setReason(fmt.Sprintf("client %d was closed: %v", c.Number, err))
	}
	if state == leaving && l.churning.Load() {
		l.waiting = append(l.waiting, c)
	}
}

// left handles the end of the membership of c.
func (l *loop) left(c *client) {
	if c.state != joined {
		return
	}
	l.counters.Joined--
	if c.Track && c.census == c.room.full {
		l.counters.Complete--
	}
	c.census = census{}
	if c.recovering {
		l.settle(c)
	}
	if c.lagging() {
		l.counters.Lagging--
	}
	if !c.stalled && !c.lags {
		l.release(c)
	}
}

// A poster is a connection that carries the messages of SSE clients, in order, as
// pipelined requests.
type poster struct {
	conn    *conn
	number  int
	pending []posted // requests without a response
}

// A posted is a request without a response. If ok, it published message seq of pub.
type posted struct {
	pub *publisher
	seq uint32
	ok  bool
}

func (p *poster) post(l *loop, c *client, message []byte) {
	r := l.dialect.Post(&c.Client)
	if p.conn == nil {
		conn, err := l.dial(p, l.targets[0], p.number, 0)
		if err != nil {
			p.closed(l, err)
			return
		}
		p.conn = conn
	}
	p.conn.out = appendPost(p.conn.out, l.config.Host, r, message)
	s, ok := parseStamp(message)
	p.pending = append(p.pending, posted{c.pub, s.seq, ok && c.pub != nil})
	l.markDirty(p.conn)
}

// feed implements owner.
func (p *poster) feed(l *loop, b []byte) ([]byte, error) {
	for len(b) > 0 {
		h, n, err := nextResponse(b)
		if n == 0 || err != nil {
			return b, err
		}
		b = b[n:]
		if len(p.pending) == 0 {
			return nil, errHead
		}
		request := p.pending[0]
		p.pending = p.pending[1:]
		if h.status >= 300 {
			l.counters.Rejected++
			l.counters.setReason(fmt.Sprintf("response to POST: %q", h.line))
			if request.ok {
				l.reject(request.pub, request.seq)
			}
		}
	}
	return nil, nil
}

// closed implements owner. A server may close an idle connection.
func (p *poster) closed(l *loop, err error) {
	if len(p.pending) > 0 || p.conn == nil {
		l.counters.Rejected += int64(max(1, len(p.pending)))
		l.counters.setReason(fmt.Sprintf("the connection for POST requests was closed: %v", err))
	}
	p.conn, p.pending = nil, nil
}
