package model_test

import (
	"slices"
	"strconv"
	"strings"

	"github.com/pondsocket/pond"
)

// A scene is the room and the client of an effect.
type scene struct {
	action  *action
	room    int
	client  int    // or none
	request string // the request that it answers, or ""
}

const (
	gone      = 410
	notMember = 404
	conflict  = 409
)

// effect applies an effect. The status is 0, or the status of its error. It reports
// false if the effect does not match the observations of the clients.
func (x *search) effect(w *world, s scene, e effect) (status int, ok bool) {
	v := s.action.value(e)
	r := &w.rooms[s.room]
	said := frame{what: "BROADCAST said", request: s.request, body: v.json()}
	target := s.client
	if len(e.to) > 0 {
		target = e.to[0]
	}
	switch e.what {
	case toAll:
		return x.broadcast(w, s.room, said, everybody)
	case toOthers:
		return x.broadcast(w, s.room, said, func(c int) bool { return c != s.client })
	case toThese, toExcept:
		said.request = ""
		return x.broadcast(w, s.room, said, func(c int) bool { return slices.Contains(e.to, c) == (e.what == toThese) })
	case toMasked:
		return x.broadcast(w, s.room, frame{what: "BROADCAST masked", request: s.request, body: v.json()}, everybody)
	case reply:
		return x.reply(w, s, frame{what: "SYSTEM answer", body: s.action.payload()})
	case whisper:
		return x.reply(w, s, frame{what: "SYSTEM masked", body: v.json()})
	case nap:
		return 0, true
	case storm:
		w.storm = stormState{s.action, s.room, v, 0}
		return 0, true
	case refuse:
		return 418, true
	case fail, panics:
		return 500, true
	case decline:
		return 403, true
	}

	i := find(r.members, target)
	at := find(r.roster, target)
	switch {
	case e.what == closeRoom:
		return 0, x.close(w, s.room, closedBy(*s.action))
	case i < 0:
		return notMember, true
	case e.what == evict:
		return 0, x.evict(w, s.room, target, evictedBy(*s.action))
	case e.what == assign:
		r.members[i].value = v
		return 0, true
	case e.what == track && at >= 0, e.what == update && at < 0, e.what == untrack && at < 0:
		return conflict, true
	case e.what == untrack:
		return 0, x.untrack(w, s.room, target)
	case at >= 0:
		r.roster[at].value = v
		return 0, x.notify(w, s.room, "UPDATE", v)
	default:
		r.roster = append(r.roster, member{target, v})
		return 0, x.notify(w, s.room, "JOIN", v)
	}
}

func everybody(int) bool { return true }

// broadcast sends f to an audience.
func (x *search) broadcast(w *world, i int, f frame, to func(c int) bool) (status int, ok bool) {
	if w.rooms[i].closed {
		return gone, true
	}
	var reached uint
	for _, m := range w.rooms[i].members {
		if !to(m.client) {
			continue
		}
		if !x.deliver(w, m.client, i, &f) {
			return 0, false
		}
		reached |= 1 << m.client
	}
	return 0, x.audience(w, i, &f, reached)
}

// deliver sends f to one client, through the outgoing handler.
func (x *search) deliver(w *world, c, i int, f *frame) bool {
	mine := *f
	if strings.HasSuffix(f.what, " masked") {
		switch maskOf(c) {
		case changed:
			mine.body = masked(f.body, c)
		case blocked:
			return true
		}
	}
	if !x.send(w, c, w.rooms[i].name, &mine) {
		return false
	}
	f.request = mine.request // it is the same for all clients, even if f does not answer a request
	return true
}

// reply sends f to the client of the handler.
func (x *search) reply(w *world, s scene, f frame) (status int, ok bool) {
	if find(w.rooms[s.room].members, s.client) < 0 {
		return notMember, true
	}
	f.request = s.request
	return 0, x.deliver(w, s.client, s.room, &f)
}

// notify sends a change of presence to all tracked members.
func (x *search) notify(w *world, i int, event string, changed value) bool {
	w.listed(i)
	r := &w.rooms[i]
	f := frame{what: "PRESENCE " + event, body: changed.json(), list: r.list()}
	var reached uint
	for _, m := range r.roster {
		reached |= 1 << m.client
		mine := f
		if !x.send(w, m.client, r.name, &mine) {
			return false
		}
		f.request = mine.request
		if mine.list != f.list {
			w.debts = append(w.debts, debt{i, mine.list, mine.round})
		}
	}
	return x.audience(w, i, &f, reached)
}

// listed settles the debts for the current list after a change.
func (w *world) listed(i int) {
	list := w.rooms[i].list()
	n := 0
	for _, d := range w.debts {
		if d.room != i || d.list != list {
			w.debts[n] = d
			n++
		}
	}
	w.debts = w.debts[:n]
}

// untrack removes a client from the list and notifies the other tracked members.
func (x *search) untrack(w *world, i, c int) bool {
	r := &w.rooms[i]
	at := find(r.roster, c)
	if at < 0 {
		return true
	}
	v := r.roster[at].value
	r.roster = append(r.roster[:at], r.roster[at+1:]...)
	return x.notify(w, i, "LEAVE", v)
}

// remove ends a membership. It reports false if the client received more frames of it.
func (x *search) remove(w *world, i, c int, reason pond.LeaveReason, detail string) (departed, bool) {
	r := &w.rooms[i]
	at := find(r.members, c)
	d := departed{i, departure{room: r.name, reason: reason, detail: detail, value: r.members[at].value}}
	r.members = append(r.members[:at], r.members[at+1:]...)
	frames := x.seen.clients[c].frames[r.name]
	if n := w.clients[c].seen[r.name]; n < len(frames) && frames[n].forMembers() {
		return d, x.note(w, "c%d received %v on %s after it left", c, frames[n], channelNames[r.name])
	}
	return d, true
}

// evict starts to evict a client. [search.expel] continues it.
func (x *search) evict(w *world, i, c int, reason string) bool {
	w.eviction = eviction{room: i, client: c, reason: reason, stage: told}
	kickedOut := frame{what: "SYSTEM kicked_out", body: `{"message":"` + reason + `","code":403,"reason":"` + reason + `"}`}
	return x.send(w, c, w.rooms[i].name, &kickedOut)
}

func (x *search) expel(w *world) bool {
	e := w.eviction
	if e.stage == expelled {
		w.eviction = eviction{}
		return x.untrack(w, e.room, e.client)
	}
	w.eviction.stage = expelled
	if !x.send(w, e.client, w.rooms[e.room].name, &frame{what: "SYSTEM EVICTED", body: `{"reason":"` + e.reason + `"}`}) {
		return false
	}
	d, ok := x.remove(w, e.room, e.client, pond.LeaveEvicted, e.reason)
	if !ok {
		return false
	}
	w.clients[e.client].gone = append(w.clients[e.client].gone, d)
	kicked := frame{what: "SYSTEM kicked", body: `{"userId":"c` + strconv.Itoa(e.client) + `","reason":"` + e.reason + `"}`}
	_, ok = x.broadcast(w, e.room, kicked, everybody)
	return ok
}

func (x *search) close(w *world, i int, reason string) bool {
	destroyed := frame{what: "ERROR destroyed", body: `{"message":"` + reason + `"}`}
	if w.rooms[i].closed {
		return true
	}
	if _, ok := x.broadcast(w, i, destroyed, everybody); !ok {
		return false
	}
	w.rooms[i].closed = true
	w.rooms[i].roster = nil
	w.listed(i)
	for len(w.rooms[i].members) > 0 {
		c := w.rooms[i].members[0].client
		d, ok := x.remove(w, i, c, pond.LeaveChannelClosed, reason)
		if !ok {
			return false
		}
		w.clients[c].gone = append(w.clients[c].gone, d)
	}
	return true
}
