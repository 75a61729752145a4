package pond

import (
	"strconv"

	"github.com/pondsocket/pond/internal/transport"
	"github.com/pondsocket/pond/internal/wire"
)

// A statePage is a part of the presence of all tracked members. Elements are added
// to the last page, but what a queued frame refers to does not change.
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
		d.pages = nil // nobody joins, so do not keep them
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

// unseat makes the seated followers read the differences behind after at the pace of
// their sockets, because they are too many for an outbox.
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

// continueState queues the next pages for a follower that is behind when the client
// took the pages before them.
func (m *member) continueState() {
	_ = m.commit(func(tx *tx) error { // a member that left gets nothing
		if f := m.follower; f != nil && f.stage == followerBehind {
			tx.catchUp(m)
		}
		return nil
	})
}

// catchUp queues what a follower lacks, up to a page. A follower that lacks nothing is
// seated.
func (tx *tx) catchUp(m *member) {
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

// next returns the frame that a follower that is behind gets next, or nil if it is
// not behind any more.
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

// pageRoom is how much is queued for a member at a time.
func (ch *Channel) pageRoom() int {
	return min(diffPageBytes, ch.lobby.endpoint.cfg.outbox/4)
}

// stateFrames encodes the presence of all tracked members, and returns the number of
// its bytes, too.
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
		tail := strconv.AppendInt([]byte(`],"total":`), int64(len(ch.roster.order)), 10)
		tail = strconv.AppendBool(append(tail, `,"more":`...), i+1 < len(pages))
		parts := [3][]byte{head, elements, append(tail, "}}"...)}
		f := transport.NewLazyFrame(wire.PresenceState, len(head)+len(elements)+len(parts[2]), func() [3][]byte { return parts })
		frames = append(frames, f)
		size += f.Charge()
	}
	return frames, size
}

// buildPages brings the pages up to date. Members that were tracked since they were
// built are added at the end.
func (tx *tx) buildPages() {
	ch := tx.ch
	d := &ch.diffs
	built := 0
	for i := range d.pages {
		built += d.pages[i].users
	}
	room := ch.pageRoom()
	for _, m := range ch.roster.order[built:] {
		size := entrySize(m.conn.id, m.presence)
		last := len(d.pages) - 1
		if last < 0 || d.pages[last].users == diffPageUsers || len(d.pages[last].elements)+size > room {
			d.pages = append(d.pages, statePage{})
			last++
		}
		page := &d.pages[last]
		if page.users > 0 {
			page.elements = append(page.elements, ',')
		}
		page.elements = wire.AppendPresenceEntry(page.elements, m.conn.id, m.presence)
		page.users++
	}
}
