package model_test

// outsiderAction returns the current action of an outsider, or nil.
func (x *search) outsiderAction(w *world, o int) *action {
	script := x.scripts[w.round].outsiders[o]
	if next := w.outsiders[o].next; next < len(script) {
		return &script[next]
	}
	return nil
}

// outsiderMove continues the actions of an outsider.
func (x *search) outsiderMove(w *world, o int) bool {
	out := &w.outsiders[o]
	a := x.outsiderAction(w, o)
	switch a.what {
	case shutdown:
		for c := range w.clients {
			w.clients[c].leaving = w.clients[c].up
		}
		out.next++
		return true
	case disconnect:
		out.next++
		return x.disconnect(w, a)
	case trickle, flood:
		out.next++
		return x.flood(w, a)
	}
	switch {
	case out.at == len(a.do):
		*out = outsiderState{next: out.next + 1, room: none}
		return x.results(w, a, len(a.do))
	case out.room == none:
		i := w.open[a.room]
		if i == none || len(w.rooms[i].members) == 0 {
			out.next++
			return x.results(w, a, 0)
		}
		out.room = i
		return true
	case out.half:
		w.forget(out.room)
		out.half = false
	default:
		e := a.do[out.at]
		status, ok := x.effect(w, scene{action: a, room: out.room, client: none}, e)
		if !ok || !x.result(w, a, out.at, status) {
			return false
		}
		if e.what == closeRoom {
			out.half = true
			return true
		}
	}
	out.at++
	return true
}

// blow sends the next broadcast of a storm. It does not matter whether the room is closed.
func (x *search) blow(w *world) bool {
	s := &w.storm
	_, ok := x.broadcast(w, s.room, s.next(), everybody)
	s.sent++
	if s.sent == storms {
		*s = stormState{}
	}
	return ok
}

// next returns the next broadcast of a storm.
func (s *stormState) next() frame {
	return frame{what: "BROADCAST said", body: s.value.of(s.sent).json()}
}

// result checks the status of an effect of an outsider.
func (x *search) result(w *world, a *action, i, status int) bool {
	results := x.seen.results[a.n]
	if i < len(results) && results[i] == status {
		return true
	}
	return x.note(w, "effect %d of r%d returned %v, want %d", i, a.n, results, status)
}

// results checks the number of effects of an outsider.
func (x *search) results(w *world, a *action, n int) bool {
	results := x.seen.results[a.n]
	return len(results) == n || x.note(w, "r%d returned %v, want %d results", a.n, results, n)
}

func (x *search) disconnect(w *world, a *action) bool {
	cl := &w.clients[a.do[0].to[0]]
	if !cl.up {
		return x.result(w, a, 0, gone)
	}
	if !cl.ended {
		cl.code = kicked
	}
	return x.endStream(w, a.do[0].to[0]) && x.result(w, a, 0, 0)
}

// flood sends large messages to a stalled client.
func (x *search) flood(w *world, a *action) bool {
	i := w.membership(a.by, a.room)
	if i == none {
		return true
	}
	for range a.what.floods() {
		if !x.send(w, a.by, a.room, &frame{what: "BROADCAST flood", body: string(large)}) {
			return false
		}
	}
	return true
}
