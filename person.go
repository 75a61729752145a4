package pond

import (
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/pondsocket/pond/internal/transport"
)

// A person is an identity in a channel, for [Lobby.OnIdentityJoin] and
// [Lobby.OnIdentityLeave]. A client is counted from before it is a member until its leave
// handler returned.
type person struct {
	channel  *Channel
	identity string
	turn     chan struct{} // has an element while a goroutine owns the following fields

	members int
	present bool   // OnIdentityJoin succeeded, and OnIdentityLeave did not run
	grace   *grace // runs while there are no members, but one may return

	refs int // members, goroutines that wait for their turn, and the grace; guarded by persons.mu
}

// persons are the identities in a channel. Those without references are removed.
type persons struct {
	mu         sync.Mutex // guards byIdentity, and refs of the persons
	byIdentity map[string]*person
}

// acquire returns the person with an identity. The caller must release it.
func (x *persons) acquire(ch *Channel, identity string) *person {
	x.mu.Lock()
	defer x.mu.Unlock()
	p := x.byIdentity[identity]
	if p == nil {
		p = &person{channel: ch, identity: identity, turn: make(chan struct{}, 1)}
		if x.byIdentity == nil {
			x.byIdentity = map[string]*person{}
		}
		x.byIdentity[identity] = p
	}
	p.refs++
	return p
}

// has reports whether there is a person with an identity, or may soon be one.
func (x *persons) has(identity string) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.byIdentity[identity] != nil
}

func (p *person) release() {
	x := &p.channel.persons
	x.mu.Lock()
	defer x.mu.Unlock()
	if p.refs--; p.refs == 0 {
		delete(x.byIdentity, p.identity)
	}
}

// countsIdentities reports whether it matters who is the first and the last member of an
// identity.
func (l *Lobby) countsIdentities() bool {
	return l.cfg.grace > 0 || l.identityJoin.Load() != nil || l.identityLeave.Load() != nil
}

// arrive counts the client as a member with its identity. If there is no other, it runs
// the handler for the first join of an identity, whose error means that the client must
// not become a member.
func (c *JoinContext) arrive(m *member) error {
	l := c.channel.lobby
	if c.conn.identity == "" || !l.countsIdentities() {
		return nil
	}
	p := c.channel.persons.acquire(c.channel, c.conn.identity)
	if !p.await(c.conn) {
		p.release()
		return ErrClosed
	}
	defer func() { // even if the handler does not return
		c.accepting = false
		if m.person == nil {
			p.release()
		}
		<-p.turn
	}()
	elsewhere := false
	if !p.present {
		var err error
		if elsewhere, err = c.channel.link.awaitPerson(p.identity, c.conn); err != nil {
			return err
		}
	}
	if h := l.identityJoin.Load(); h != nil && !p.present && !elsewhere {
		c.accepting = true
		if err := h.handler(c); !succeeded(err) {
			return err
		}
	}
	p.present = true
	p.members++
	m.person = p
	if g := p.grace; g != nil {
		p.grace = nil
		l.endpoint.graces.remove(g)
		p.settle(g)
	}
	return nil
}

// await waits until the caller owns p, or c ended.
func (p *person) await(c *conn) bool {
	select {
	case p.turn <- struct{}{}:
		return true
	default: // a handler runs
	}
	select {
	case p.turn <- struct{}{}:
		return true
	case <-c.Done():
		return false
	}
}

// finish counts a member out whose leave handler returned, or a client that did not
// become a member. With a grace, it is counted as a member of the channel until that ends.
func (c *conn) finish(d departure) {
	waits := false
	defer func() { // even if a handler does not return
		if !waits {
			c.vacate(d)
		}
	}()
	if p := d.member.person; p != nil {
		waits = p.depart(d)
	}
}

// depart counts a member out. After the last one, it runs the handler for the last leave
// of the identity, or reports that a grace will do it.
func (p *person) depart(d departure) (waits bool) {
	p.turn <- struct{}{}
	defer func() { <-p.turn }()
	p.members--
	waits = p.members == 0 && p.wait(d)
	evicted := p.channel.forget(d.member)
	switch {
	case waits:
		e := p.channel.lobby.endpoint
		gone := evicted || !d.member.conn.mayReturn(d.reason) || e.registry.isGone(p.channel)
		if g := p.grace; gone && e.graces.claim(g) {
			go g.run() // what ended the stay may not have seen the grace
		}
	case p.members > 0:
		p.release()
	default:
		p.leave(d)
	}
	return waits
}

// forget notes that the leave handler of a member returned, which is when the grace of its
// presence begins, and reports whether its identity was evicted while the handler ran.
func (ch *Channel) forget(m *member) (evicted bool) {
	ch.mu.Lock()
	defer ch.mu.Unlock()
	ch.leaving.remove(m)
	if g := m.lingers; g != nil { // followers see the person as long as the grace after this handler lasts
		ch.lobby.endpoint.graces.countDown(g, ch.lobby.cfg.grace)
	}
	return m.evicted
}

// leave ends the presence of the identity on this node. It runs the handler for the last
// leave unless the identity is on other nodes.
func (p *person) leave(d departure) {
	defer p.release()
	p.present = false
	if p.channel.link.departs(p.identity, d) {
		p.runLeave(d)
	}
}

// runLeave runs the handler for the last leave of the identity. The caller owns p.
func (p *person) runLeave(d departure) {
	ch := p.channel
	ch.stopLingering(p.identity, nil)
	defer ch.link.tellPerson(p.identity, personLeft, nil) // even if the handler does not return
	switch h := ch.lobby.identityLeave.Load(); {
	case h == nil:
	case d.member.conn != nil:
		d.member.conn.callLeave(h, d)
	default:
		ch.callRemoteLeave(h, d)
	}
}

// wait starts a grace, unless the person has gone for good.
func (p *person) wait(d departure) bool {
	l := p.channel.lobby
	if l.cfg.grace == 0 || !d.member.conn.mayReturn(d.reason) || !p.channel.link.expects(p.identity) {
		return false
	}
	e := l.endpoint
	g := &grace{channel: p.channel, identity: p.identity, departure: d, began: d.member.began}
	g.end = func() { p.endGrace(g) }
	ok, limited := e.startGrace(g)
	if limited {
		e.limited(LimitLeaveGrace)
	}
	if !ok {
		return false
	}
	p.grace = g
	e.registry.retain(p.channel)
	return true
}

// endGrace ends a grace in which no member returned.
func (p *person) endGrace(g *grace) {
	p.turn <- struct{}{}
	defer func() { <-p.turn }()
	if p.grace != g {
		return // a member returned just now
	}
	p.grace = nil
	defer p.channel.lobby.endpoint.registry.release(p.channel)
	defer g.departure.member.conn.vacate(g.departure)
	p.leave(g.departure)
}

// settle gives back what p needed for a grace that a member ended by returning.
func (p *person) settle(g *grace) {
	defer p.channel.lobby.endpoint.registry.release(p.channel)
	g.departure.member.conn.vacate(g.departure)
	p.release()
}

// mayReturn reports whether a client whose membership ended is expected to return: its
// connection was lost, was closed by the client, or was closed by a limit of the transport,
// such as that for slow clients. The application did not end it.
func (c *conn) mayReturn(reason LeaveReason) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.expelled && (reason == LeaveSlow || reason == LeaveDisconnected && !errors.Is(c.cause, ErrClosed))
}

// A grace is the time that a person has to return to a channel. When it is over, its end
// runs.
type grace struct {
	// Static after construction.
	channel   *Channel
	identity  string
	departure departure // of the last member; only of persons
	end       func()
	presence  bool          // it is about the presence of the person; see [tx.linger]
	began     time.Duration // when the member joined

	timer *time.Timer // guarded by graces.mu; nil before the leave handler returned
}

// graces are the graces of an endpoint that did not end.
type graces struct {
	tasks *transport.Tasks

	mu         sync.Mutex // guards the following fields; no other lock is taken with it held
	byIdentity map[string]map[graceKey]*grace
	n          map[bool]int // by grace.presence
	closed     bool         // no grace begins any more
}

type graceKey struct {
	channel  *Channel
	presence bool
}

func (g *grace) key() graceKey { return graceKey{g.channel, g.presence} }

// startGrace starts a grace, unless the endpoint shuts down or there are too many.
func (e *Endpoint) startGrace(g *grace) (ok, limited bool) {
	return e.graces.add(g, g.channel.lobby.cfg.grace, e.cfg.maxChannels, e.maxConns())
}

func (x *graces) add(g *grace, d time.Duration, perIdentity, total int) (ok, limited bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	of := x.byIdentity[g.identity]
	switch {
	case x.closed:
		return false, false
	case x.n[g.presence] >= total, len(of) >= perIdentity && countGraces(of, g.presence) >= perIdentity:
		return false, true
	}
	if of == nil {
		of = map[graceKey]*grace{}
		if x.byIdentity == nil {
			x.byIdentity = map[string]map[graceKey]*grace{}
		}
		x.byIdentity[g.identity] = of
	}
	of[g.key()] = g
	if x.n == nil {
		x.n = map[bool]int{}
	}
	x.n[g.presence]++
	if !g.presence {
		x.countDownLocked(g, d)
	}
	return true, false
}

// countDown begins the time of a grace, unless it ended.
func (x *graces) countDown(g *grace, d time.Duration) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.byIdentity[g.identity][g.key()] == g {
		x.countDownLocked(g, d)
	}
}

func (x *graces) countDownLocked(g *grace, d time.Duration) {
	g.timer = time.AfterFunc(d, func() {
		if x.claim(g) {
			g.run()
		}
	})
}

// countGraces returns how many of the graces are about presence, or are not.
func countGraces(of map[graceKey]*grace, presence bool) (n int) {
	for key := range of {
		if key.presence == presence {
			n++
		}
	}
	return n
}

// remove stops a grace. It returns false if the grace ended, or is about to.
func (x *graces) remove(g *grace) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.removeLocked(g)
}

func (x *graces) removeLocked(g *grace) bool {
	of := x.byIdentity[g.identity]
	if of[g.key()] != g {
		return false
	}
	if delete(of, g.key()); len(of) == 0 {
		delete(x.byIdentity, g.identity)
	}
	x.n[g.presence]--
	if g.timer != nil {
		g.timer.Stop()
	}
	return true
}

// claim is remove for a caller that ends the grace with run if claim returns true.
func (x *graces) claim(g *grace) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	if !x.removeLocked(g) {
		return false
	}
	x.tasks.Add()
	return true
}

func (g *grace) run() {
	defer g.channel.lobby.endpoint.graces.tasks.Done()
	g.end()
}

// endNow ends the graces of an identity in a channel, or in all channels if ch is nil, and
// reports whether there were some. Those of members that joined after a time of the node's
// clock are not ended.
func (x *graces) endNow(identity string, ch *Channel, until time.Duration) bool {
	x.mu.Lock()
	var ended []*grace
	for _, g := range x.byIdentity[identity] {
		if (ch == nil || g.channel == ch) && g.began <= until {
			ended = append(ended, g)
		}
	}
	x.startLocked(ended)
	x.mu.Unlock()
	return len(ended) > 0
}

// endReturned ends the grace of an identity that has a member on another node.
func (x *graces) endReturned(identity string, ch *Channel) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if g := x.byIdentity[identity][graceKey{channel: ch}]; g != nil {
		x.startLocked([]*grace{g})
	}
}

// startLocked ends graces before their time.
func (x *graces) startLocked(ended []*grace) {
	for _, g := range ended {
		x.removeLocked(g)
		x.tasks.Add()
		go g.run()
	}
}

// endAll ends all graces. Later ones do not begin.
func (x *graces) endAll() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.closed = true
	var ended []*grace
	for _, of := range x.byIdentity {
		ended = slices.AppendSeq(ended, maps.Values(of))
	}
	x.startLocked(ended)
}

// endGraces ends the graces in a channel that was closed.
func (ch *Channel) endGraces() {
	ch.persons.mu.Lock()
	identities := slices.Collect(maps.Keys(ch.persons.byIdentity))
	ch.persons.mu.Unlock()
	for _, identity := range identities {
		ch.lobby.endpoint.graces.endNow(identity, ch, anyTime)
	}
}

// linger keeps showing a member that leaves to followers, until the grace after its leave handler
// ends or another member of the identity is tracked. It returns false if it does not. The
// member must not be in channel.people any more.
func (tx *tx) linger(m *member, reason LeaveReason) bool {
	ch, identity := tx.ch, m.conn.identity
	cfg := &ch.lobby.cfg
	if !cfg.identities || cfg.grace == 0 || m.tracked == nil || identity == "" || !m.conn.mayReturn(reason) {
		return false
	}
	for _, other := range ch.people[identity] {
		if other.tracked != nil {
			return false
		}
	}
	if ch.link.tracks(identity) {
		return false
	}
	g := &grace{channel: ch, identity: identity, presence: true, began: m.began}
	g.end = func() { ch.stopLingering(identity, g) }
	if ok, _ := ch.lobby.endpoint.startGrace(g); !ok {
		return false
	}
	m.lingers = g
	d := &ch.diffs
	if d.lingering == nil {
		d.lingering = map[string]*member{}
	}
	d.lingering[identity] = m
	d.pages = nil
	return true
}

// stopLingering ends the presence of a person whose grace ended. If g is not nil, it must
// be that grace.
func (ch *Channel) stopLingering(identity string, g *grace) {
	if cfg := &ch.lobby.cfg; !cfg.identities || cfg.grace == 0 {
		return
	}
	_ = ch.commit(func(tx *tx) error { // a closed channel has no followers
		if m := ch.diffs.lingering[identity]; m != nil && (g == nil || m.lingers == g) {
			tx.stopLingering(m)
			tx.flushSoon()
		}
		return nil
	})
}

func (tx *tx) stopLingering(m *member) {
	tx.presenceChanges(m, m.presence)
	delete(tx.ch.diffs.lingering, m.conn.identity)
	tx.ch.lobby.endpoint.graces.remove(m.lingers) // unless it is just about to end
}
