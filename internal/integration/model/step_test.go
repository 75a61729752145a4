package model_test

import (
	"strconv"

	"github.com/pondsocket/pond"
)

// A move is one step in a world. Handlers are split into moves at the points where
// other actors can run in between.
type move struct {
	who  int // client or outsider
	kind moveKind
	arg  int
}

type moveKind int

const (
	proceed  moveKind = iota // continue the task
	tooLate                  // continue the task, but Accept fails because the connection ended
	leaveOne                 // leave the room arg, one of all
	depart                   // start the pending leave handler arg
	receive                  // start with the next message
	complain                 // answer an invalid message, which no handler receives
	goDown                   // start to leave all rooms because of a shutdown
	end                      // end the connection for the cause arg
	outside                  // continue an outsider
	blow                     // continue the storm
	expel                    // continue the eviction
)

// moves returns the possible next moves, the most likely ones first.
func (x *search) moves(w *world) []move {
	var all []move
	if w.eviction.stage != noEviction {
		for c := range w.clients {
			if w.clients[c].task.phase == answering {
				all = x.movesOf(all, w, c)
			}
		}
		return append(all, move{0, expel, 0})
	}
	for c := range w.clients {
		all = x.movesOf(all, w, c)
	}
	for o := range w.outsiders {
		if a := x.outsiderAction(w, o); a != nil && (w.storm.action != a || w.outsiders[o].at < len(a.do)) {
			all = append(all, move{o, outside, 0})
		}
	}
	if w.storm.action != nil {
		all = append(all, move{0, blow, 0})
	}
	return all
}

func (x *search) movesOf(all []move, w *world, c int) []move {
	cl := &w.clients[c]
	if cl.up && cl.complaints < x.scripts[w.round].garbage[c] {
		all = append(all, move{c, complain, 0})
	}
	switch cl.task.phase {
	case idle:
	case leavingAll:
		rooms := w.memberships(c)
		for _, i := range rooms {
			all = append(all, move{c, leaveOne, i})
		}
		if len(rooms) > 0 {
			return all
		}
		return append(all, move{c, proceed, 0})
	case answering:
		if w.storm.action == cl.task.action {
			return all
		}
		return append(all, move{c, proceed, 0})
	default:
		all = append(all, move{c, proceed, 0})
		if cl.task.accepting() && (x.scripts[w.round].endings[c] != "" || len(x.causes(w, c)) > 0) {
			all = append(all, move{c, tooLate, 0})
		}
		return all
	}
	if cl.up && cl.next < len(x.scripts[w.round].clients[c]) {
		all = append(all, move{c, receive, 0})
	}
	for i := range cl.gone {
		all = append(all, move{c, depart, i})
	}
	if cl.up && cl.leaving {
		all = append(all, move{c, goDown, 0})
	}
	for _, cause := range x.causes(w, c) {
		all = append(all, move{c, end, int(cause)})
	}
	return all
}

func (t *task) accepting() bool {
	return t.phase == handling && !t.accepted && t.at < len(t.action.do) && t.action.do[t.at].what == accept
}

// do makes a move, and reports whether it matches the observations.
func (x *search) do(w *world, m move) bool {
	switch m.kind {
	case outside:
		return x.outsiderMove(w, m.who)
	case blow:
		return x.blow(w)
	case expel:
		return x.expel(w)
	}
	cl := &w.clients[m.who]
	t := &cl.task
	switch m.kind {
	case proceed:
		return x.proceed(w, m.who)
	case tooLate:
		t.failed, t.phase = gone, answering
		return true
	case leaveOne:
		if next, ok := x.nextLeft(w, m.who); ok && next.room != w.rooms[m.arg].name {
			return x.note(w, "c%d left %s first", m.who, roomNames[next.room])
		}
		var ok bool
		if t.gone, ok = x.remove(w, m.arg, m.who, t.reason, ""); !ok {
			return false
		}
		t.phase = departing
		if t.reason == pond.LeaveShutdown {
			w.unlist(m.arg, m.who)
			return true
		}
		return x.untrack(w, m.arg, m.who)
	case depart:
		t.gone = cl.gone[m.arg]
		t.phase = departing
		cl.gone = append(cl.gone[:m.arg], cl.gone[m.arg+1:]...)
		return true
	case receive:
		a := &x.scripts[w.round].clients[m.who][cl.next]
		cl.next++
		return x.receive(w, m.who, a)
	case complain:
		cl.complaints++
		return x.send(w, m.who, endpoint, &frame{what: "ERROR INVALID_MESSAGE", body: "INVALID_MESSAGE 400"})
	case goDown:
		cl.leaving = false
		*t = task{phase: leavingAll, reason: pond.LeaveShutdown}
		return true
	default:
		return x.end(w, m.who, cause(m.arg))
	}
}

// receive starts to handle a message.
func (x *search) receive(w *world, c int, a *action) bool {
	cl := &w.clients[c]
	i := none
	if a.room < rooms {
		i = w.membership(c, a.room)
	}
	answer := func(what, body string) bool {
		return x.send(w, c, a.room, &frame{what: what, request: a.request(), body: body})
	}
	switch {
	case a.what == join && i != none:
		return answer("SYSTEM ACKNOWLEDGE", "{}")
	case a.what == join && a.room == nowhere:
		return answer("SYSTEM UNAUTHORIZED", "CHANNEL_NOT_FOUND 404")
	case a.what == join && len(w.memberships(c)) >= maxMemberships:
		return answer("SYSTEM UNAUTHORIZED", "CHANNEL_ERROR 429")
	case a.what == join:
		cl.task = task{phase: handling, action: a, room: w.acquire(a.room)}
		return true
	case a.what == leave && i != none:
		if !answer("SYSTEM EXIT_ACKNOWLEDGE", "{}") {
			return false
		}
		d, ok := x.remove(w, i, c, pond.LeaveRequested, "")
		cl.task = task{phase: departing, gone: d}
		return ok && x.untrack(w, i, c)
	case a.what == leave:
		return answer("SYSTEM EXIT_ACKNOWLEDGE", "{}")
	case i == none:
		return answer("ERROR CHANNEL_NOT_FOUND", "CHANNEL_NOT_FOUND 404")
	case a.what == unknown:
		cl.task = task{phase: answering, action: a, room: i, failed: 500}
		return true
	default:
		cl.task = task{phase: handling, action: a, room: i}
		return true
	}
}

// proceed continues the task of a client.
func (x *search) proceed(w *world, c int) bool {
	cl := &w.clients[c]
	t := &cl.task
	switch t.phase {
	case handling:
		return x.handle(w, c)
	case answering:
		return x.answer(w, c)
	case departing:
		d := t.gone
		t.phase, t.room = releasing, d.room
		if !x.left(w, c, d.departure) {
			return false
		}
		_, ok := x.broadcast(w, d.room, frame{what: "BROADCAST left", body: d.json(c)}, everybody)
		return ok
	case releasing:
		t.phase = t.after()
		if w.release(t.room) {
			t.phase = closing
		}
		return true
	case closing:
		w.rooms[t.room].closed = true
		t.phase = t.after()
		return true
	default: // it left all rooms
		if t.reason == pond.LeaveShutdown {
			cl.code = 1001
			cl.next = len(x.scripts[w.round].clients[c]) // the remaining messages are not handled
		} else {
			cl.up = false
		}
		cl.task = task{}
		return x.endStream(w, c)
	}
}

// after returns the phase that follows when a room is released.
func (t *task) after() phase {
	if t.reason != "" {
		return leavingAll
	}
	return idle
}

// handle applies the next effect of a handler.
func (x *search) handle(w *world, c int) bool {
	t := &w.clients[c].task
	if t.at == len(t.action.do) {
		t.phase = answering
		return true
	}
	e := t.action.do[t.at]
	s := scene{action: t.action, room: t.room, client: c, request: t.action.request()}
	joins := t.action.what == join
	switch {
	case e.what == accept && t.accepted:
		t.at++
		return true
	case e.what == accept:
		return x.accept(w, c)
	case joins && !t.accepted && needsMember(e):
		t.at++
		return true
	case joins && !t.accepted && e.what == assign && e.to == nil:
		t.value = t.action.value(e)
		t.at++
		return true
	case e.what == read && !t.half:
		t.half = true
		r := &w.rooms[t.room]
		if i := find(r.members, c); i >= 0 {
			t.value = r.members[i].value
		}
		return true
	case e.what == closeRoom && t.half:
		w.forget(t.room)
		t.half = false
		t.at++
		return true
	}
	var ok bool
	if e.what == read {
		t.half = false
		t.failed, ok = x.reply(w, s, frame{what: "SYSTEM read", body: t.value.json()})
	} else {
		t.failed, ok = x.effect(w, s, e)
		t.half = e.what == closeRoom
	}
	if joins && e.what == assign && e.to == nil {
		t.failed = 0
	}
	switch {
	case t.failed != 0:
		t.phase = answering
	case !t.half:
		t.at++
	}
	return ok
}

func (x *search) accept(w *world, c int) bool {
	t := &w.clients[c].task
	r := &w.rooms[t.room]
	t.at++
	if r.closed {
		t.failed, t.phase = gone, answering
		return true
	}
	t.accepted = true
	r.members = append(r.members, member{c, t.value})
	return x.send(w, c, r.name, &frame{what: "SYSTEM ACKNOWLEDGE", request: t.action.request(), body: "{}"})
}

// answer sends the result of a handler to its client.
func (x *search) answer(w *world, c int) bool {
	t := &w.clients[c].task
	a := t.action
	status := strconv.Itoa(t.failed)
	f := frame{request: a.request()}
	t.phase = idle
	switch {
	case a.what == join && !t.accepted:
		t.phase = releasing
		f.what, f.body = "SYSTEM UNAUTHORIZED", "UNAUTHORIZED_JOIN_REQUEST "+status
		switch t.failed {
		case 0:
			f.body = "UNAUTHORIZED_JOIN_REQUEST 401"
		case 500:
			f.body = "CHANNEL_ERROR 500"
		}
	case t.failed == 0:
		return true
	case a.what == join:
		f.what, f.body = "ERROR CHANNEL_ERROR", "CHANNEL_ERROR "+status
	default:
		f.what, f.body = "ERROR HANDLER_NOT_FOUND", status+" "+status
	}
	return x.send(w, c, a.room, &f)
}
