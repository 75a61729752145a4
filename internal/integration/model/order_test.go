package model_test

import "github.com/pondsocket/pond"

// gain returns the number of frames and leave handlers that a move must explain so that
// no other order needs to be tried, or a negative number if this is never certain. Such
// moves only send frames, or affect only the client itself: if the frames are the next
// ones that were observed, the move can be the first one.
func (x *search) gain(w *world, m move) int {
	const never = -1
	if m.kind == expel {
		return never
	}
	if m.kind == blow {
		f := w.storm.next()
		if x.got[f.id(w.rooms[w.storm.room].name)] == 0 {
			return 0 // no client received it, so its position does not matter
		}
		return 1
	}
	if m.kind == outside {
		if a, out := x.outsiderAction(w, m.who), &w.outsiders[m.who]; out.room != none && out.at < len(a.do) && a.do[out.at].onlySends() {
			return 1
		}
		return never
	}
	cl := &w.clients[m.who]
	switch {
	case m.kind == complain:
		return 1
	case m.kind == receive:
		if a := &x.scripts[w.round].clients[m.who][cl.next]; a.what == leave && w.membership(m.who, a.room) != none {
			return never
		}
		return 1
	case m.kind == goDown && x.calm(w) && len(x.causes(w, m.who)) == 0: // else the connection may end first
		return 0
	case m.kind == leaveOne && cl.task.reason == pond.LeaveShutdown && x.calm(w) && x.exhausted(w, m.who, w.rooms[m.arg].name):
		return 0
	case m.kind == end && cl.ended && len(w.memberships(m.who)) == 0 && cl.next == len(x.scripts[w.round].clients[m.who]):
		return 0
	case m.kind != proceed:
		return never
	}
	switch t := &cl.task; {
	case t.phase == handling && (t.at == len(t.action.do) || t.action.do[t.at].what == nap):
		return 0
	case t.phase == handling && t.action.do[t.at].onlySends():
		return 1
	case t.phase == answering && t.accepted && t.failed == 0:
		return 0
	case t.phase == answering:
		return 1
	case t.phase == departing && x.calm(w):
		return 1
	case t.phase == departing:
		return 2
	case t.phase != handling && x.calm(w):
		return 0
	default:
		return never
	}
}

// onlySends reports whether an effect only sends frames.
func (e effect) onlySends() bool {
	switch e.what {
	case toAll, toOthers, toThese, toExcept, toMasked, reply, whisper, read:
		return true
	default:
		return false
	}
}

// calm reports whether the only remaining moves are those of leaving clients.
func (x *search) calm(w *world) bool {
	if w.storm.action != nil || w.eviction.stage != noEviction {
		return false
	}
	for o := range w.outsiders {
		if x.outsiderAction(w, o) != nil {
			return false
		}
	}
	s := &x.scripts[w.round]
	for c := range w.clients {
		cl := &w.clients[c]
		if t := cl.task.phase; t == handling || t == answering || len(cl.gone) > 0 ||
			cl.up && (cl.next < len(s.clients[c]) || cl.complaints < s.garbage[c]) {
			return false
		}
	}
	return true
}

// exhausted reports whether a client received no more frames of a queue in this round.
func (x *search) exhausted(w *world, c, q int) bool {
	seen := &x.seen.clients[c]
	n := seen.arrived[w.round][q]
	if x.stalled(w, c) {
		n = len(seen.frames[q])
	}
	return w.clients[c].seen[q] >= n
}
