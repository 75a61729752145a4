package model_test

import (
	"fmt"
	"slices"
	"strings"
)

// A search looks for an order of moves that explains the observations: in this order,
// the moves send every client exactly its frames, run exactly the observed leave
// handlers, and lead to the observed states.
type search struct {
	history history
	seen    *seen
	scripts []script
	got     map[string]uint // the clients that received a frame, as a bit set by frame ID
	visited map[identity]bool
	best    int      // the most that could be explained
	notes   []string // reasons why no more could be explained
}

// A script has the actions of one round.
type script struct {
	clients   [][]action // messages, by client
	garbage   []int      // number of invalid messages, by client
	endings   []verb     // reset, goAway or empty, by client
	outsiders [outsiders][]action
	stalled   []bool // by client
	connects  int    // number of new clients
	waits     bool
}

// maxStates is the number of states after which a search gives up. One history in ten
// thousand needs a million.
const maxStates = 5_000_000

// explain returns nil if the observations can be explained, or an error with the first ones
// that cannot.
func explain(h history, s *seen) error {
	x := &search{history: h, seen: s, scripts: scripts(h), got: s.got(), visited: map[identity]bool{}}
	w := &world{open: [rooms]int{none, none, none}}
	w.clients = make([]client, len(h.clients))
	if x.enter(w) {
		return nil
	}
	if len(x.visited) >= maxStates {
		return fmt.Errorf("gave up after %d states:\n%s", maxStates, strings.Join(x.notes, "\n"))
	}
	return fmt.Errorf("%s", strings.Join(x.notes, "\n"))
}

func scripts(h history) []script {
	var all []script
	stalled := make([]bool, len(h.clients))
	for _, round := range h.rounds {
		s := script{
			clients: make([][]action, len(h.clients)),
			garbage: make([]int, len(h.clients)),
			endings: make([]verb, len(h.clients)),
		}
		for _, a := range round {
			switch {
			case a.what == connect:
				s.connects++
			case a.what == stall, a.what == resume:
				stalled[a.by] = a.what == stall
			case a.what == wait:
				s.waits = true
			case a.what == trickle, a.what == flood:
				s.outsiders[0] = append(s.outsiders[0], a)
			case a.by >= outsider:
				s.outsiders[a.by-outsider] = append(s.outsiders[a.by-outsider], a)
			case a.what == reset, a.what == goAway:
				s.endings[a.by] = a.what
			case a.what == garbage:
				s.garbage[a.by]++
			case a.what == ping: // it has no effect
			default:
				s.clients[a.by] = append(s.clients[a.by], a)
			}
		}
		s.stalled = slices.Clone(stalled)
		all = append(all, s)
	}
	return all
}

// enter starts a round.
func (x *search) enter(w *world) bool {
	if w.round == len(x.scripts) {
		return x.finished(w)
	}
	for c := range w.clients {
		w.clients[c].next, w.clients[c].complaints = 0, 0
		if !x.stalled(w, c) {
			w.clients[c].unread = 0
		}
	}
	for o := range w.outsiders {
		w.outsiders[o] = outsiderState{room: none}
	}
	for range x.scripts[w.round].connects {
		c := slices.IndexFunc(w.clients, func(c client) bool { return !c.known })
		w.clients[c].known, w.clients[c].up = true, true
		if !x.send(w, c, endpoint, &frame{what: "SYSTEM hello", body: "{}"}) {
			return false
		}
	}
	return x.explore(w)
}

// explore tries all possible next moves.
func (x *search) explore(w *world) bool {
	id := w.identity()
	if x.visited[id] || len(x.visited) >= maxStates {
		return false
	}
	x.visited[id] = true
	if x.settled(w) {
		next := w.clone()
		next.round++
		if x.enter(next) {
			return true
		}
	}
	moves := x.moves(w)
	for _, m := range moves {
		if x.gain(w, m) < 0 {
			continue
		}
		next := w.clone()
		if gain := x.gain(w, m); x.do(next, m) && next.explained >= w.explained+gain {
			return x.explore(next)
		}
	}
	for _, m := range moves {
		next := w.clone()
		if x.do(next, m) && x.explore(next) {
			return true
		}
	}
	return false
}

// audience checks that only the clients in the bit set to received f.
func (x *search) audience(w *world, i int, f *frame, to uint) bool {
	q := w.rooms[i].name
	got := x.got[f.id(q)]
	if got == to {
		return true
	}
	for c := range w.clients {
		if (got&^to)>>c&1 == 1 {
			return x.note(w, "c%d also received %v on %s", c, f, channelNames[q])
		}
	}
	return true // the connections of the other clients ended before
}

// note records why a world does not match the observations, if the world is one of
// those that explain the most. It always returns false.
func (x *search) note(w *world, format string, args ...any) bool {
	if w.explained < x.best {
		return false
	}
	if w.explained > x.best {
		x.best, x.notes = w.explained, nil
	}
	text := fmt.Sprintf("round %d: ", w.round) + fmt.Sprintf(format, args...)
	if len(x.notes) < 10 && !slices.Contains(x.notes, text) {
		x.notes = append(x.notes, text)
	}
	return false
}

// send checks that f is the next frame that a client received, and completes f with the
// parts that only clients know.
func (x *search) send(w *world, c, q int, f *frame) bool {
	cl := &w.clients[c]
	if cl.ended {
		return true
	}
	if x.stalled(w, c) {
		cl.unread += len(f.body) + len(f.list) + 150
	}
	frames := x.seen.clients[c].frames[q]
	n := cl.seen[q]
	if n == len(frames) && x.mayLose(w, c) {
		cl.lost = true
		return true
	}
	if n == len(frames) || frames[n].round > w.round && !x.stalled(w, c) {
		return x.note(w, "c%d did not receive %v on %s", c, f, channelNames[q])
	}
	got := frames[n]
	if got.what != f.what || got.body != f.body || (got.list == "") != (f.list == "") ||
		f.request != "" && got.request != f.request || f.request == "" && len(got.request) != len("00000000-0000-0000-0000-000000000000") {
		return x.note(w, "c%d received %v, want %v on %s", c, got, f, channelNames[q])
	}
	cl.seen[q]++
	w.explained++
	f.request, f.list, f.round = got.request, got.list, got.round
	return true
}

// left checks that a client's leave handler ran next.
func (x *search) left(w *world, c int, d departure) bool {
	next, ok := x.nextLeft(w, c)
	if !ok {
		return x.note(w, "the leave handler of c%d did not run: %v", c, d)
	}
	if next != d {
		return x.note(w, "the leave handler of c%d ran with %v, want %v", c, next, d)
	}
	w.clients[c].ran++
	w.explained++
	return true
}

// nextLeft returns the next departure that the leave handler of a client observed.
func (x *search) nextLeft(w *world, c int) (departure, bool) {
	seen := &x.seen.clients[c]
	if ran := w.clients[c].ran; ran < seen.ran[w.round] {
		return seen.left[ran], true
	}
	return departure{}, false
}

// settled reports whether a round can end in a world.
func (x *search) settled(w *world) bool {
	if w.storm.action != nil || w.eviction.stage != noEviction {
		return false
	}
	for o := range w.outsiders {
		if w.outsiders[o].next < len(x.scripts[w.round].outsiders[o]) {
			return false
		}
	}
	for c := range w.clients {
		if cl := &w.clients[c]; cl.task.phase != idle || len(cl.gone) > 0 ||
			cl.up && (cl.leaving || cl.next < len(x.scripts[w.round].clients[c]) || cl.complaints < x.scripts[w.round].garbage[c] || x.mustEnd(w, c)) {
			return false
		}
	}
	for c := range w.clients {
		if w.clients[c].known && !x.settledClient(w, c) {
			return false
		}
	}
	for _, d := range w.debts {
		if d.round <= w.round {
			return x.note(w, "%s on %s was never the list", d.list, roomNames[w.rooms[d.room].name])
		}
	}
	if state := w.state(); state != x.seen.states[w.round] {
		return x.note(w, "the server is in state %s, want %s", x.seen.states[w.round], state)
	}
	return true
}

func (x *search) settledClient(w *world, c int) bool {
	cl, seen := &w.clients[c], &x.seen.clients[c]
	for q, n := range seen.arrived[w.round] {
		if cl.seen[q] < n {
			return x.note(w, "c%d also received %v on %s", c, seen.frames[q][cl.seen[q]], channelNames[q])
		}
	}
	if n := seen.ran[w.round]; cl.ran < n {
		return x.note(w, "the leave handler of c%d also ran with %v", c, seen.left[cl.ran])
	}
	if cl.lost && cl.up && !x.stalled(w, c) {
		return x.note(w, "c%d lost a frame", c)
	}
	return true
}

// finished reports whether everything is explained.
func (x *search) finished(w *world) bool {
	for c := range w.clients {
		for q, frames := range x.seen.clients[c].frames {
			if w.clients[c].seen[q] < len(frames) {
				return x.note(w, "c%d received %v on %s at the end", c, frames[w.clients[c].seen[q]], channelNames[q])
			}
		}
	}
	for _, d := range w.debts {
		return x.note(w, "%s on %s was never the list", d.list, roomNames[w.rooms[d.room].name])
	}
	return true
}
