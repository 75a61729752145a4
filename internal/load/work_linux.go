package load

import (
	"bytes"
	"fmt"
	"hash/maphash"
	"sync"
	"sync/atomic"
	"time"
)

// A room is one channel.
type room struct {
	publishers []*publisher
	full       census // of all clients of the room

	mu   sync.Mutex
	live int // members that read
}

// A key identifies a message in a room: the position of its publisher, and its sequence
// number.
type key struct{ pos, seq uint32 }

// A publisher is a client that publishes, or that sends echo requests.
type publisher struct {
	client   *client
	loop     *loop
	room     *room
	pos      int            // in room.publishers; 0 for echoes
	window   []atomic.Int32 // by sequence number: number of missing receivers; nil at a fixed rate
	inFlight int            // number of incomplete messages
	next     uint32         // sequence number; written under room.mu

	// rejected has a bit for each message that the server rejected; guarded by room.mu.
	rejected []uint64
}

// free reports whether the window has room for another message.
func (p *publisher) free() bool { return p.window[int(p.next)&(len(p.window)-1)].Load() == 0 }

// publish sends the next message of p, which was scheduled for the given time.
func (l *loop) publish(p *publisher, at int64) bool {
	if p.client.state != joined || l.config.Messages > 0 && l.quota.Add(-1) < 0 {
		return false
	}
	as := byte(published)
	if l.config.Scenario == Echo {
		as = echoed
	}
	seq, ok := p.begin(l, as)
	if !ok {
		return false
	}
	l.counters.Messages++
	l.body = stamp{as, uint32(p.client.Number), seq, at, l.id}.append(l.body[:0]) //nolint:gosec // checked: 24 bits
	l.body = append(l.body, l.padding...)
	if as == echoed {
		l.text = l.dialect.AppendEcho(l.text[:0], &p.client.Client, l.body)
	} else {
		l.text = l.dialect.AppendPublish(l.text[:0], &p.client.Client, l.body)
	}
	p.client.send(l, l.text)
	return true
}

// begin returns the next sequence number and counts the expected receivers.
func (p *publisher) begin(l *loop, as byte) (seq uint32, ok bool) {
	p.room.mu.Lock()
	defer p.room.mu.Unlock()
	receivers := p.room.live
	switch {
	case as == echoed:
		receivers = 1
	case l.traits.SenderExcluded:
		receivers--
	}
	if receivers < 1 {
		return 0, false
	}
	seq = p.next
	p.next++
	p.inFlight++
	if p.window != nil {
		p.window[int(seq)&(len(p.window)-1)].Store(int32(receivers))
	}
	l.expected.Add(int64(receivers))
	return seq, true
}

// delivered handles a delivery to c.
func (l *loop) delivered(c *client, body []byte) {
	s, ok := parseStamp(body)
	if ok && s.run != l.id {
		return
	}
	p := l.publisherOf(c, s)
	if !ok || p == nil {
		l.counters.Misdelivered++
		l.counters.setReason("misdelivered: " + string(body[:min(100, len(body))]))
		return
	}
	if c.lags {
		l.deliveredLate(c, s.seq)
		return
	}
	if c.stalled || !l.fresh(c, p, s.seq) {
		return
	}
	l.counters.Deliveries++
	if c.recovering {
		l.counters.Replayed++ // its latency is that of the client
	} else if from := l.from.Load(); s.time >= from {
		l.latency.record(l.now - s.time)
		l.longestGap = max(l.longestGap, l.now-max(c.latest, from))
	}
	c.latest = l.now
	if p.window != nil && p.window[int(s.seq)&(len(p.window)-1)].Add(-1) == 0 {
		l.completed(p)
	}
}

// gap returns the longest time in which a member received nothing, including the time
// until now.
func (l *loop) gap() time.Duration {
	now, from := l.clock(), l.from.Load()
	for _, c := range l.clients {
		if c.state == joined && !c.stalled {
			l.longestGap = max(l.longestGap, now-max(c.latest, from))
		}
	}
	return time.Duration(l.longestGap)
}

// publisherOf returns the publisher of a message that c received, or nil if c must not
// receive it.
func (l *loop) publisherOf(c *client, s stamp) *publisher {
	if int(s.sender) >= len(l.allClients) {
		return nil
	}
	p := l.allClients[s.sender].pub
	switch {
	case p == nil:
		return nil
	case s.as == echoed && p.client == c && l.config.Scenario == Echo:
		return p
	case s.as == published && p.room == c.room && l.config.Scenario != Echo &&
		(p.client != c || !l.traits.SenderExcluded):
		return p
	}
	return nil
}

// maxMissing is the largest number of missing messages per publisher.
const maxMissing = 1 << 20

// fresh records that c received message seq of p, and reports whether the delivery
// counts: whether it was expected and did not arrive before.
func (l *loop) fresh(c *client, p *publisher, seq uint32) bool {
	pos := uint32(p.pos) //nolint:gosec // an index
	next := c.seen[pos]
	if seq == next {
		c.seen[pos]++
		if c.rejected != nil {
			c.skipRejected(pos)
		}
		return true
	}
	if seq > next {
		if seq-next > maxMissing {
			l.counters.Misdelivered++
			l.counters.setReason(fmt.Sprintf("misdelivered: message %d of a client whose next message is %d", seq, next))
			return false
		}
		if l.config.Scenario == Latest { // the server may drop messages for a member that lags
			l.counters.Behind += int64(seq - next)
			l.expected.Add(-int64(seq - next))
			c.seen[pos] = seq + 1
			return true
		}
		l.noticeHole(c)
		if c.missing == nil {
			c.missing = map[key]struct{}{}
		}
		for ; next < seq; next++ {
			if k := (key{pos, next}); !take(c.rejected, k) {
				c.missing[k] = struct{}{}
			}
		}
		expected := !take(c.rejected, key{pos, seq}) // else it is delivered although it was rejected
		c.seen[pos] = seq + 1
		c.skipRejected(pos)
		return expected
	}
	if !take(c.missing, key{pos, seq}) {
		if !p.wasRejected(seq) {
			l.counters.Duplicated++
		}
		return false
	}
	l.counters.Reordered++
	return true
}

// skipRejected advances c.seen over rejected messages.
func (c *client) skipRejected(pos uint32) {
	for take(c.rejected, key{pos, c.seen[pos]}) {
		c.seen[pos]++
	}
}

// take deletes k from set, and reports whether it was there.
func take(set map[key]struct{}, k key) bool {
	_, ok := set[k]
	delete(set, k)
	return ok
}

func (p *publisher) wasRejected(seq uint32) bool {
	p.room.mu.Lock()
	defer p.room.mu.Unlock()
	i := int(seq / 64)
	return i < len(p.rejected) && p.rejected[i]&(1<<(seq%64)) != 0
}

// reject handles the rejection of message seq of p: its deliveries are not expected any
// more.
func (l *loop) reject(p *publisher, seq uint32) {
	if !p.setRejected(seq) {
		return
	}
	for _, other := range l.loops {
		if other == l {
			l.forget(p, seq)
		} else {
			other.do(func() { other.forget(p, seq) })
		}
	}
}

// setRejected marks message seq as rejected. It reports false if it already was, or if
// p did not send it.
func (p *publisher) setRejected(seq uint32) bool {
	if p.wasRejected(seq) {
		return false
	}
	p.room.mu.Lock()
	defer p.room.mu.Unlock()
	if seq >= p.next {
		return false
	}
	for int(seq/64) >= len(p.rejected) {
		p.rejected = append(p.rejected, 0)
	}
	p.rejected[seq/64] |= 1 << (seq % 64)
	return true
}

// forget makes the clients of the loop not expect message seq of p any more, unless they
// received it.
func (l *loop) forget(p *publisher, seq uint32) {
	pos := uint32(p.pos) //nolint:gosec // an index
	clients := l.clients
	if l.config.Scenario == Echo {
		clients = []*client{p.client}
		if p.loop != l {
			return
		}
	}
	for _, c := range clients {
		if c.room != p.room || c.state != joined && !c.recovering || c.stalled || c.lags || p.client == c && l.traits.SenderExcluded && l.config.Scenario != Echo {
			continue
		}
		switch next := c.seen[pos]; {
		case seq == next:
			c.seen[pos]++
			c.skipRejected(pos)
		case seq > next:
			if c.rejected == nil {
				c.rejected = map[key]struct{}{}
			}
			c.rejected[key{pos, seq}] = struct{}{}
		case !take(c.missing, key{pos, seq}):
			continue // received before
		}
		l.expected.Add(-1)
		if p.window != nil && p.window[int(seq)&(len(p.window)-1)].Add(-1) == 0 {
			l.completed(p)
		}
	}
}

// completed handles the last delivery of a message of p, which may belong to another loop.
func (l *loop) completed(p *publisher) {
	if p.loop == l {
		l.again(p)
		return
	}
	p.loop.mu.Lock()
	p.loop.returns = append(p.loop.returns, p)
	p.loop.wakeLocked()
	p.loop.mu.Unlock()
}

// again continues after a message of p is complete.
func (l *loop) again(p *publisher) {
	p.inFlight--
	if l.config.Scenario == Echo {
		l.ask()
	} else {
		l.fill(p)
	}
}

// fill publishes until config.InFlight messages are in flight.
func (l *loop) fill(p *publisher) {
	for l.publishing.Load() && p.inFlight < l.config.InFlight && p.free() && l.publish(p, l.clock()) {
	}
}

// ask makes the next client send an echo request.
func (l *loop) ask() {
	for range l.clients {
		if !l.publishing.Load() {
			return
		}
		c := l.clients[l.turn]
		l.turn = (l.turn + 1) % len(l.clients)
		if c.state == joined && c.pub.free() {
			l.publish(c.pub, l.clock())
			return
		}
	}
}

// release makes the loop expect no further deliveries to c, because it left or stopped
// reading.
func (l *loop) release(c *client) {
	r := c.room
	var complete []*publisher
	r.mu.Lock()
	r.live--
	publishers := r.publishers
	if l.config.Scenario == Echo {
		publishers = []*publisher{c.pub}
	}
	for _, p := range publishers {
		if l.traits.SenderExcluded && p.client == c && l.config.Scenario != Echo {
			continue
		}
		pos := uint32(p.pos) //nolint:gosec // an index
		l.expected.Add(-int64(p.next - c.seen[pos] - c.ahead(pos)))
		if p.window == nil {
			continue
		}
		for seq := c.seen[pos]; seq < p.next; seq++ {
			if _, ok := c.rejected[key{pos, seq}]; !ok && p.window[int(seq)&(len(p.window)-1)].Add(-1) == 0 {
				complete = append(complete, p)
			}
		}
		for k := range c.missing {
			if k.pos == pos && p.window[int(k.seq)&(len(p.window)-1)].Add(-1) == 0 {
				complete = append(complete, p)
			}
		}
	}
	r.mu.Unlock()
	for _, p := range complete {
		l.completed(p)
	}
}

// ahead returns the number of rejected messages of a publisher that c has not reached.
func (c *client) ahead(pos uint32) (n uint32) {
	for k := range c.rejected {
		if k.pos == pos {
			n++
		}
	}
	return n
}

// audit returns the number of deliveries that the clients of the loop still expect.
func (l *loop) audit() (lost int64) {
	for _, c := range l.clients {
		lost += int64(len(c.missing))
		if c.state != joined && !c.recovering || c.stalled || c.lags || c.seen == nil {
			continue
		}
		publishers := c.room.publishers
		if l.config.Scenario == Echo {
			publishers = []*publisher{c.pub}
		}
		for _, p := range publishers {
			if p.client != c || !l.traits.SenderExcluded || l.config.Scenario == Echo {
				lost += int64(p.next - c.seen[p.pos] - c.ahead(uint32(p.pos))) //nolint:gosec // an index
			}
		}
	}
	return lost
}

// joined handles the start of the membership of c.
func (l *loop) joined(c *client) {
	if c.state != open {
		return
	}
	c.state = joined
	l.connecting--
	l.counters.Joined++
	l.counters.Joins++
	if c.recovering {
		return // deliveries to it were expected all the time
	}
	c.room.mu.Lock()
	c.room.live++
	c.room.mu.Unlock()
	if l.churning.Load() {
		c.leave(l)
	}
}

// A listed is the cached census of a list of members. Many clients receive the same list.
type listed struct {
	hash   uint64
	size   int
	census census
}

var listSeed = maphash.MakeSeed()

// present updates the members that c knows.
func (l *loop) present(c *client, ev Event) {
	was := c.census == c.room.full
	switch ev.Kind {
	case PresenceList:
		c.census = l.censusOf(ev.Text)
	case PresenceJoin:
		c.census = c.census.plus(l.censusOf(ev.Text))
	case PresenceLeave:
		c.census = c.census.minus(l.censusOf(ev.Text))
	}
	switch is := c.census == c.room.full; {
	case is && !was:
		l.counters.Complete++
	case was && !is:
		l.counters.Complete--
	}
}

// censusOf is takeCensus for a text that many clients receive.
func (l *loop) censusOf(text []byte) census {
	hash := maphash.Bytes(listSeed, text)
	known := &l.lists[hash%uint64(len(l.lists))]
	if known.hash != hash || known.size != len(text) {
		*known = listed{hash, len(text), takeCensus(text)}
	}
	return known.census
}

// A pacer publishes at fixed times, without waiting for deliveries.
type pacer struct {
	publishers []*publisher
	start      int64
	step       float64 // nanoseconds
	sent       int64
}

// pace publishes the messages that are due. It returns the time until the next one, or -1
// if there is none.
func (l *loop) pace() time.Duration {
	p := &l.pacer
	if len(p.publishers) == 0 || !l.publishing.Load() {
		return -1
	}
	for range 64 { // then read again
		due := p.start + int64(float64(p.sent)*p.step)
		now := l.clock()
		if due > now {
			return time.Duration(due - now)
		}
		if !l.publish(p.publishers[p.sent%int64(len(p.publishers))], due) && l.config.Messages > 0 && l.quota.Load() < 0 {
			return -1
		}
		p.sent++
		if due >= l.from.Load() {
			l.sendLag.record(now - due)
		}
	}
	return 0
}

// padding returns the text that makes a published message size bytes long.
func padding(d Dialect, c *Client, size int) []byte {
	body := stamp{as: published}.append(nil)
	missing := size - len(d.AppendPublish(nil, c, body))
	return bytes.Repeat([]byte("x"), max(0, missing))
}
