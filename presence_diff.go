package pond

import (
	"bytes"
	"encoding/json"
	"strconv"
	"time"

	"github.com/pondsocket/pond/internal/transport"
	"github.com/pondsocket/pond/internal/wire"
	"github.com/pondsocket/pond/internal/ws"
)

// WithPresenceDiffs allows clients of a lobby to request presence as differences: the
// presence of all tracked members once, in pages, and after that only the changes.
// Clients that request this need not be tracked to receive presence. The other clients
// get the whole list with each change, if they are tracked. By default, all clients get
// whole lists.
func WithPresenceDiffs() LobbyOption { return func(c *lobbyConfig) { c.diffs = true } }

// A differ sends the presence of a channel to its followers, the members that asked
// for differences. The channel's mu guards it.
//
// A flush sends the changes since the last one. It follows a change immediately if
// enough time has passed since the last flush, and otherwise as soon as it has. The
// changes in between are merged: only the presence before the first and after the last
// change counts. Members that join between two flushes get their state with the second
// one, so it is encoded once for all of them.
//
// A follower first waits for a flush, then it is behind, and then it is seated. A
// seated follower is in the group: it gets each difference when it is sent. A follower
// that is behind reads the state, and the differences after it, at the pace of its
// socket. After a flush that is too large for an outbox, all followers are behind.
type differ struct {
	group     transport.Group // the seated followers; ready once there was a follower
	followers int
	waiting   []*member // followers that wait for a flush; some may have left
	behind    map[*member]struct{}

	before  map[string]earlier // as of the last flush, of users that changed, by ID
	changed []string           // the keys of before, in the order of the changes

	lingering map[string]*member // members that left and are shown until their grace ends, by identity

	last    *sentDiff   // the latest difference
	pages   []statePage // of the latest state, while tracked members were only added to it
	flushed time.Time
	timer   *time.Timer // runs while a flush is scheduled
}

// earlier is what followers saw of a user.
type earlier struct {
	identity string
	presence json.RawMessage // nil if they did not see the user
}

// A sentDiff is a difference that was sent. It links to the next one, for followers
// that are behind.
type sentDiff struct {
	frame *transport.Frame
	next  *sentDiff
	bytes int // of all differences up to this one
}

// A follower is the state of a member in its channel's differ.
type follower struct {
	seat  transport.Seat
	stage followerStage

	// While the follower is behind.
	state []*transport.Frame // the pages that were not queued
	diff  *sentDiff          // the latest difference that was queued, or is part of the state
	limit int                // maximum bytes of differences that it may lag behind
}

type followerStage uint8

const (
	followerWaiting followerStage = iota
	followerBehind
	followerSeated
	followerDropped // it was too slow; its connection is closing
)

const (
	// A busy channel flushes once per diffInterval plus diffCost per follower. diffCost is
	// several times the cost of a write to one follower, so the presence of a large
	// channel leaves CPU time for other work.
	diffInterval = 50 * time.Millisecond
	diffCost     = 100 * time.Microsecond

	// A follower that is behind may lag by the state and by differences of maxBehind times
	// the outbox size. That is also the maximum that a connection queues for a client that
	// reads; followers share the differences, so they need less memory.
	maxBehind = 4

	// The maximum number of users and bytes in a page of a state or a difference.
	diffPageUsers = 500
	diffPageBytes = 64<<10 - 512 // with the rest of the message
)

// follow makes m a follower. It gets the state with the next flush.
func (tx *tx) follow(m *member) {
	d := &tx.ch.diffs
	if d.last == nil {
		d.group.Init(tx.ch.lobby.endpoint.hub)
		d.behind = map[*member]struct{}{}
		d.last = new(sentDiff)
	}
	m.follower = &follower{seat: transport.Seat{Conn: m.conn.tr}}
	d.followers++
	d.waiting = append(d.waiting, m)
	tx.flushSoon()
}

// unfollow removes a follower.
func (tx *tx) unfollow(m *member) {
	d, f := &tx.ch.diffs, m.follower
	m.follower = nil
	switch f.stage {
	case followerBehind:
		delete(d.behind, m)
	case followerSeated:
		d.group.Remove(&f.seat)
	}
	d.followers--
	if d.followers > 0 {
		return
	}
	d.stop()
	d.waiting, d.before, d.changed, d.pages = nil, nil, nil, nil
	d.last = new(sentDiff)
}

// stop cancels a scheduled flush.
func (d *differ) stop() {
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
}

// shown returns the number of users that followers see: those that are tracked, and those
// that linger.
func (ch *Channel) shown() int { return len(ch.roster.order) + len(ch.diffs.lingering) }

// shownAs returns the member that followers see with this ID, or nil.
func (ch *Channel) shownAs(id, identity string) *member {
	if m := ch.userLocked(id); m != nil && m.tracked != nil {
		return m
	}
	if m := ch.diffs.lingering[identity]; m != nil && m.conn.id == id {
		return m
	}
	return nil
}

// publicIdentity returns what followers see of the identity: "" unless the lobby publishes
// it.
func (m *member) publicIdentity() string {
	if m.channel.lobby.cfg.identities {
		return m.identity()
	}
	return ""
}

// presenceChanges records that the presence of m is about to change. before is the
// current one, or nil if m is not tracked.
func (tx *tx) presenceChanges(m *member, before json.RawMessage) {
	d := &tx.ch.diffs
	if d.followers == 0 {
		return
	}
	if before != nil {
		d.pages = nil
	}
	id := m.userID()
	if _, known := d.before[id]; known {
		return
	}
	if d.before == nil {
		d.before = map[string]earlier{}
	}
	d.before[id] = earlier{m.identity(), before}
	d.changed = append(d.changed, id)
}

// flushSoon flushes now or, in a busy channel, later.
func (tx *tx) flushSoon() {
	ch := tx.ch
	d := &ch.diffs
	if d.followers == 0 || d.timer != nil {
		return
	}
	wait := diffInterval + time.Duration(d.followers)*diffCost - time.Since(d.flushed)
	if wait <= 0 {
		tx.flush()
		return
	}
	d.timer = ch.flushAfter(wait)
}

// flushAfter starts the timer of the channel's differ. The caller holds the channel's
// lock.
func (ch *Channel) flushAfter(wait time.Duration) (timer *time.Timer) {
	timer = time.AfterFunc(wait, func() {
		_ = ch.commit(func(tx *tx) error { // a closed channel has no followers
			if ch.diffs.timer == timer {
				ch.diffs.timer = nil
				tx.flush()
			}
			return nil
		})
	})
	return timer
}

// flush sends the changes to the followers, and the state to the followers that wait
// for it.
func (tx *tx) flush() {
	d := &tx.ch.diffs
	d.flushed = time.Now()
	room := tx.ch.lobby.endpoint.cfg.outbox / 2
	seated := d.last // the latest difference that seated followers received
	for i, f := range tx.takeDiffs() {
		d.last.next = &sentDiff{frame: f, bytes: d.last.bytes + f.Charge()}
		if room -= f.Charge(); i == 0 || room >= 0 {
			d.group.Broadcast(&tx.work, f, false)
			seated = d.last.next
		}
		d.last = d.last.next
	}
	if seated != d.last {
		tx.unseat(seated)
	}
	for m := range d.behind {
		if f := m.follower; d.last.bytes-f.diff.bytes > f.limit {
			f.stage, f.state, f.diff = followerDropped, nil, nil
			delete(d.behind, m)
			m.conn.tr.QueueClose(&tx.work, ws.CloseTryAgainLater, "too slow", transport.ErrSlow)
		}
	}
	tx.sendState()
}

// takeDiffs encodes the changes since the last flush.
func (tx *tx) takeDiffs() []*transport.Frame {
	d := &tx.ch.diffs
	e := diffEncoder{ch: tx.ch, total: tx.ch.shown()}
	type change struct {
		id, user      string
		before, after json.RawMessage
	}
	changes := make([]change, 0, len(d.changed))
	for _, id := range d.changed {
		was := d.before[id]
		c := change{id: id, before: was.presence}
		if m := tx.ch.shownAs(id, was.identity); m != nil {
			c.user, c.after = m.publicIdentity(), m.presence
		}
		switch {
		case c.before == nil && c.after == nil, c.before != nil && bytes.Equal(c.before, c.after):
			continue
		case c.before == nil:
			e.total-- // before the first difference
		case c.after == nil:
			e.total++
		}
		changes = append(changes, c)
	}
	d.before, d.changed = nil, nil
	for _, c := range changes {
		switch {
		case c.before == nil:
			e.add(&e.joins, c.id, c.user, c.after)
			e.total++
		case c.after == nil:
			e.add(&e.leaves, c.id, "", nil)
			e.total--
		default:
			e.add(&e.updates, c.id, c.user, c.after)
		}
	}
	e.end()
	return e.frames
}

// A diffEncoder encodes changes in as many differences as necessary.
type diffEncoder struct {
	ch                     *Channel
	joins, updates, leaves []byte // the elements of the lists
	users, total           int
	entry                  []byte
	frames                 []*transport.Frame
}

func (e *diffEncoder) add(list *[]byte, id, user string, presence []byte) {
	e.entry = wire.AppendPresenceEntry(e.entry[:0], id, user, presence)
	size := len(e.joins) + len(e.updates) + len(e.leaves) + len(e.entry) + len(",")
	if e.users == diffPageUsers || size > e.ch.pageRoom() {
		e.end() // before this change, which is not counted yet
	}
	if len(*list) > 0 {
		*list = append(*list, ',')
	}
	*list = append(*list, e.entry...)
	e.users++
}

// end completes a difference, unless it is empty.
func (e *diffEncoder) end() {
	if e.users == 0 {
		return
	}
	body := []byte{'{'}
	for _, list := range []struct {
		name     string
		elements *[]byte
	}{{`"joins":[`, &e.joins}, {`"updates":[`, &e.updates}, {`"leaves":[`, &e.leaves}} {
		if len(*list.elements) > 0 {
			body = append(append(append(body, list.name...), *list.elements...), "],"...)
		}
		*list.elements = (*list.elements)[:0]
	}
	body = strconv.AppendInt(append(body, `"total":`...), int64(e.total), 10)
	e.frames = append(e.frames, e.ch.notice(wire.System, wire.PresenceDiff, append(body, '}')))
	e.users = 0
}

// A statePage is a part of the presence of all tracked members. Elements are added to
// the last page, but the part to which a queued frame refers does not change.
type statePage struct {
	users    int
	elements []byte // of the list, separated by commas
}

// sendState sends the state to the followers that wait for it. The pages after the
// first are sent at the pace of each follower's socket.
func (tx *tx) sendState() {
	d := &tx.ch.diffs
	waiting := d.waiting[:0]
	for _, m := range d.waiting {
		if m.follower != nil { // or it left
			waiting = append(waiting, m)
		}
	}
	d.waiting = nil
	if len(waiting) == 0 {
		d.pages = nil // no member joins, so do not keep them
		return
	}
	frames, size := tx.stateFrames()
	seats := make([]*transport.Seat, len(waiting))
	for i, m := range waiting {
		seats[i] = &m.follower.seat
	}
	d.group.Send(&tx.work, frames[0], false, seats)
	for _, m := range waiting {
		f := m.follower
		if len(frames) == 1 {
			f.stage = followerSeated
			d.group.Add(&f.seat)
			continue
		}
		f.stage = followerBehind
		f.state, f.diff, f.limit = frames[1:], d.last, size+maxBehind*tx.ch.lobby.endpoint.cfg.outbox
		d.behind[m] = struct{}{}
		tx.queue(m, transport.NewMark(m.continueState), false)
	}
}

// unseat makes the seated followers read the differences that follow after at the pace
// of their sockets, because the differences are too large for an outbox.
func (tx *tx) unseat(after *sentDiff) {
	d := &tx.ch.diffs
	missing := d.last.bytes - after.bytes
	for _, m := range tx.ch.members {
		f := m.follower
		if f == nil || f.stage != followerSeated {
			continue
		}
		d.group.Remove(&f.seat)
		f.stage = followerBehind
		f.diff, f.limit = after, missing+maxBehind*tx.ch.lobby.endpoint.cfg.outbox
		d.behind[m] = struct{}{}
		tx.queue(m, transport.NewMark(m.continueState), false)
	}
}

// continueState queues the next pages for a follower that is behind, when the client
// received the previous ones.
func (m *member) continueState() {
	_ = m.commit(func(tx *tx) error { // the member left
		if f := m.follower; f != nil && f.stage == followerBehind {
			tx.queuePage(m)
		}
		return nil
	})
}

// queuePage queues up to a page of the data that a follower has not received yet. A
// follower that received all data is seated.
func (tx *tx) queuePage(m *member) {
	d, f := &tx.ch.diffs, m.follower
	for room := tx.ch.pageRoom(); room > 0; {
		next := f.next()
		if next == nil {
			f.stage, f.state, f.diff = followerSeated, nil, nil
			delete(d.behind, m)
			d.group.Add(&f.seat)
			return
		}
		tx.queue(m, next, false)
		room -= next.Charge()
	}
	tx.queue(m, transport.NewMark(m.continueState), false)
}

// next returns the next frame for a follower that is behind, or nil if it is not behind
// any more.
func (f *follower) next() *transport.Frame {
	if len(f.state) > 0 {
		page := f.state[0]
		f.state = f.state[1:]
		return page
	}
	if f.diff.next == nil {
		return nil
	}
	f.diff = f.diff.next
	return f.diff.frame
}

// pageRoom returns the number of bytes that are queued for a member at a time.
func (ch *Channel) pageRoom() int {
	return min(diffPageBytes, ch.lobby.endpoint.cfg.outbox/4)
}

// stateFrames encodes the presence of all tracked members. It also returns the number
// of bytes.
func (tx *tx) stateFrames() (frames []*transport.Frame, size int) {
	ch := tx.ch
	tx.buildPages()
	pages := ch.diffs.pages
	head := wire.AppendMessage(nil, wire.System, wire.PresenceState, ch.name, newRequestID(), []byte(`{"users":[`))
	head = head[:len(head)-1] // the message goes on
	for i := range max(1, len(pages)) {
		var elements []byte
		if i < len(pages) {
			elements = pages[i].elements
		}
		tail := strconv.AppendInt([]byte(`],"total":`), int64(ch.shown()), 10)
		tail = strconv.AppendBool(append(tail, `,"more":`...), i+1 < len(pages))
		parts := [3][]byte{head, elements, append(tail, "}}"...)}
		f := transport.NewLazyFrame(wire.PresenceState, len(head)+len(elements)+len(parts[2]), func() [3][]byte { return parts })
		frames = append(frames, f)
		size += f.Charge()
	}
	return frames, size
}

// buildPages updates the pages. Members that were tracked since the last call are added
// at the end.
func (tx *tx) buildPages() {
	ch := tx.ch
	d := &ch.diffs
	built := 0
	for i := range d.pages {
		built += d.pages[i].users
	}
	var entry []byte
	room := ch.pageRoom()
	add := func(m *member) {
		entry = wire.AppendPresenceEntry(entry[:0], m.userID(), m.publicIdentity(), m.presence)
		last := len(d.pages) - 1
		if last < 0 || d.pages[last].users == diffPageUsers || len(d.pages[last].elements)+len(entry)+len(",") > room {
			d.pages = append(d.pages, statePage{})
			last++
		}
		page := &d.pages[last]
		if page.users > 0 {
			page.elements = append(page.elements, ',')
		}
		page.elements = append(page.elements, entry...)
		page.users++
	}
	if built == 0 {
		for _, m := range d.lingering {
			add(m)
			built++
		}
	}
	for _, m := range ch.roster.order[built-len(d.lingering):] {
		add(m)
	}
}
