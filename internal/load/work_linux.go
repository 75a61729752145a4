package load

import (
	"bytes"
	"fmt"
	"hash/maphash"
	"sync"
	"sync/atomic"
	"time"
)

// A room is one channel, as far as the engine has to know it.
type room struct {
	publishers []*publisher

	mu   sync.Mutex
	live int // members that read
}

// A publisher is a client that publishes, or asks for echoes.
type publisher struct {
	client *client
	loop   *loop
	room   *room
	pos    int            // in room.publishers; 0 for echoes
	window []atomic.Int32 // by sequence number: receivers that are missing; nil if paced
	flying int            // messages that are not complete
	next   uint32         // sequence number; written under room.mu
}

// free reports whether the window has room for another message.
func (p *publisher) free() bool { return p.window[int(p.next)&(len(p.window)-1)].Load() == 0 }

// publish sends the next message of p, which was meant to be sent at a time.
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
	l.body = stamp{as, uint32(p.client.Number), seq, at}.append(l.body[:0]) //nolint:gosec // checked: 24 bits
	l.body = append(l.body, l.padding...)
	if as == echoed {
		l.text = l.dialect.AppendEcho(l.text[:0], &p.client.Client, l.body)
	} else {
		l.text = l.dialect.AppendPublish(l.text[:0], &p.client.Client, l.body)
	}
	p.client.send(l, l.text)
	return true
}

// begin takes the next sequence number and notes who has to receive it.
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
	p.flying++
	if p.window != nil {
		p.window[int(seq)&(len(p.window)-1)].Store(int32(receivers))
	}
	l.expected.Add(int64(receivers))
	return seq, true
}

// delivered handles a body that came back.
func (l *loop) delivered(c *client, body []byte) {
	s, ok := parseStamp(body)
	p := l.publisherOf(c, s)
	if !ok || p == nil {
		l.counters.Stray++
		l.counters.blame("stray: " + string(body[:min(100, len(body))]))
		return
	}
	if c.stalled || !l.fresh(c, p.pos, s.seq) {
		return
	}
	l.counters.Deliveries++
	if from := l.from.Load(); s.time >= from {
		l.latency.record(l.now - s.time)
		l.longestGap = max(l.longestGap, l.now-max(c.latest, from))
	}
	c.latest = l.now
	if p.window != nil && p.window[int(s.seq)&(len(p.window)-1)].Add(-1) == 0 {
		l.completed(p)
	}
}

// gap returns the longest time in which a member got nothing, until now.
func (l *loop) gap() time.Duration {
	now, from := l.clock(), l.from.Load()
	for _, c := range l.clients {
		if c.state == joined && !c.stalled {
			l.longestGap = max(l.longestGap, now-max(c.latest, from))
		}
	}
	return time.Duration(l.longestGap)
}

// publisherOf returns who has sent what c received, or nil if it is not for c.
func (l *loop) publisherOf(c *client, s stamp) *publisher {
	if int(s.sender) >= len(l.everyone) {
		return nil
	}
	p := l.everyone[s.sender].pub
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

// tooFar is how many messages of a sender may be missing at once.
const tooFar = 1 << 20

// fresh notes that c has a message, and reports whether it is new.
func (l *loop) fresh(c *client, pos int, seq uint32) bool {
	next := c.seen[pos]
	if seq == next {
		c.seen[pos]++
		return true
	}
	if seq > next {
		if seq-next > tooFar {
			l.counters.Stray++
			l.counters.blame(fmt.Sprintf("stray: message %d of a client whose message %d is due", seq, next))
			return false
		}
		if c.missing == nil {
			c.missing = map[uint64]struct{}{}
		}
		for ; next < seq; next++ {
			c.missing[uint64(pos)<<32|uint64(next)] = struct{}{} //nolint:gosec // an index
		}
		c.seen[pos] = seq + 1
		return true
	}
	key := uint64(pos)<<32 | uint64(seq) //nolint:gosec // an index
	if _, ok := c.missing[key]; !ok {
		l.counters.Duplicated++
		return false
	}
	delete(c.missing, key)
	l.counters.Reordered++
	return true
}

// completed notes that all have a message of p, which may be of another loop.
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

// again goes on after a message of p is complete.
func (l *loop) again(p *publisher) {
	p.flying--
	if l.config.Scenario == Echo {
		l.ask()
	} else {
		l.fill(p)
	}
}

// fill publishes until as many messages are under way as may be.
func (l *loop) fill(p *publisher) {
	for l.publishing.Load() && p.flying < l.config.InFlight && p.free() && l.publish(p, l.clock()) {
	}
}

// ask has the next client ask for an echo.
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

// release expects nothing more of c: it has gone, or does not read any more.
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
		l.expected.Add(-int64(p.next - c.seen[p.pos]))
		if p.window == nil {
			continue
		}
		for seq := c.seen[p.pos]; seq < p.next; seq++ {
			if p.window[int(seq)&(len(p.window)-1)].Add(-1) == 0 {
				complete = append(complete, p)
			}
		}
		for key := range c.missing {
			if int(key>>32) == p.pos && p.window[int(uint32(key))&(len(p.window)-1)].Add(-1) == 0 { //nolint:gosec // packed so
				complete = append(complete, p)
			}
		}
	}
	r.mu.Unlock()
	for _, p := range complete {
		l.completed(p)
	}
}

// audit returns how many deliveries the clients of the loop still expect.
func (l *loop) audit() (lost int64) {
	for _, c := range l.clients {
		lost += int64(len(c.missing))
		if c.state != joined || c.stalled || c.seen == nil {
			continue
		}
		publishers := c.room.publishers
		if l.config.Scenario == Echo {
			publishers = []*publisher{c.pub}
		}
		for _, p := range publishers {
			if p.client != c || !l.traits.SenderExcluded || l.config.Scenario == Echo {
				lost += int64(p.next - c.seen[p.pos])
			}
		}
	}
	return lost
}

// joined notes that c is a member.
func (l *loop) joined(c *client) {
	if c.state != open {
		return
	}
	c.state = joined
	l.connecting--
	l.counters.Joined++
	l.counters.Joins++
	c.room.mu.Lock()
	c.room.live++
	c.room.mu.Unlock()
	if l.churning.Load() {
		c.leave(l)
	}
}

// A listed is a list of members that was counted before: many clients get the same.
type listed struct {
	hash   uint64
	size   int
	census census
}

var listSeed = maphash.MakeSeed()

// present notes who is present, as c knows it.
func (l *loop) present(c *client, ev Event) {
	was := c.census == l.everybody
	switch ev.Kind {
	case PresenceList:
		hash := maphash.Bytes(listSeed, ev.Text)
		known := &l.lists[hash%uint64(len(l.lists))]
		if known.hash != hash || known.size != len(ev.Text) {
			*known = listed{hash, len(ev.Text), takeCensus(ev.Text)}
		}
		c.census = known.census
	case PresenceJoin:
		c.census = c.census.plus(takeCensus(ev.Text))
	case PresenceLeave:
		c.census = c.census.minus(takeCensus(ev.Text))
	}
	switch is := c.census == l.everybody; {
	case is && !was:
		l.counters.Complete++
	case was && !is:
		l.counters.Complete--
	}
}

// A pacer publishes at fixed times, whatever comes back.
type pacer struct {
	publishers []*publisher
	start      int64
	step       float64 // nanoseconds
	sent       int64
}

// pace publishes what is due. It returns how long nothing will be, or -1 for ever.
func (l *loop) pace() time.Duration {
	p := &l.pacer
	if len(p.publishers) == 0 || !l.publishing.Load() {
		return -1
	}
	for range 64 { // then it is time to read again
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

// padding returns what makes a published message as long as it should be.
func padding(d Dialect, c *Client, size int) []byte {
	body := stamp{as: published}.append(nil)
	missing := size - len(d.AppendPublish(nil, c, body))
	return bytes.Repeat([]byte("x"), max(0, missing))
}
