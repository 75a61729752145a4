package model_test

import (
	"slices"

	"github.com/pondsocket/pond/pondtest"
	"pgregory.net/rapid"
)

const maxClients = 5

// A draft is an action before the number of clients is known: who and the targets
// are used modulo that number.
type draft struct {
	what verb
	who  int
	room int
	do   []effect
}

// weighted generates choices by weight. rapid prefers the first elements of a list, so
// each part of the list has all choices by weight.
func weighted[V any](choices ...any) *rapid.Generator[V] {
	total := 0
	for i := 1; i < len(choices); i += 2 {
		total += choices[i].(int)
	}
	var list []V
	due := make([]int, len(choices))
	for range total {
		next := 0
		for i := 0; i < len(choices); i += 2 {
			if due[i] += choices[i+1].(int); due[i] > due[next] {
				next = i
			}
		}
		due[next] -= total
		list = append(list, choices[next].(V))
	}
	return rapid.SampledFrom(list)
}

var (
	whats = weighted[verb](join, 12, send, 16, act, 6, leave, 4, connect, 2, stall, 3, resume, 2, trickle, 3, flood, 2,
		reset, 1, goAway, 1, wait, 1, disconnect, 1, unknown, 1, garbage, 1, ping, 1)
	places = weighted[int](0, 5, 1, 3, 2, 2, nowhere, 1)
	wires  = rapid.SampledFrom([]wiring{
		{pondtest.WebSocket, false}, {pondtest.SSE, false}, {pondtest.WebSocket, false}, {pondtest.SSE, false}, {pondtest.WebSocket, true},
	})

	inHandlers = effectsOf(toAll, 5, nap, 3, storm, 1, toOthers, 2, reply, 2, track, 5, update, 3, untrack, 3, toThese, 2, toExcept, 1, assign, 3,
		read, 2, evict, 3, toMasked, 2, whisper, 1, upsert, 1, closeRoom, 1, refuse, 1, fail, 1, panics, 1)
	outOfHandlers = effectsOf(toAll, 3, nap, 2, storm, 1, track, 3, update, 2, untrack, 2, upsert, 1, toThese, 2, toExcept, 1, assign, 2,
		evict, 3, toMasked, 1, closeRoom, 1)
	atDoors = effectsOf(accept, 6, storm, 6, nap, 3, decline, 2, toAll, 1, reply, 1, track, 1, assign, 1, evict, 1, closeRoom, 1, fail, 1, panics, 1)
)

// effectsOf generates effects with up to three targets.
func effectsOf(weights ...any) *rapid.Generator[effect] {
	names := weighted[string](weights...)
	targets := rapid.SliceOfN(rapid.IntRange(0, maxClients-1), 0, 3)
	return rapid.Custom(func(t *rapid.T) effect {
		return effect{what: names.Draw(t, "effect"), to: targets.Draw(t, "to")}
	})
}

var drafts = rapid.Custom(func(t *rapid.T) draft {
	d := draft{
		what: whats.Draw(t, "what"),
		who:  rapid.IntRange(0, maxClients-1).Draw(t, "who"),
		room: places.Draw(t, "room"),
	}
	switch d.what {
	case join:
		if rapid.SampledFrom([]bool{true, true, true, false}).Draw(t, "accept") {
			d.do = []effect{{what: accept}}
		} else {
			d.do = rapid.SliceOfN(atDoors, 0, 3).Draw(t, "at the door")
		}
		d.do = append(d.do, rapid.SliceOfN(inHandlers, 0, 2).Draw(t, "inside")...)
	case send:
		d.do = rapid.SliceOfN(inHandlers, 1, 3).Draw(t, "do")
	case act:
		d.do = rapid.SliceOfN(outOfHandlers, 1, 3).Draw(t, "do")
	}
	return d
})

// histories generates histories with up to crowd drafts per round.
func histories(crowd int) *rapid.Generator[history] {
	groups := rapid.SliceOfN(drafts, 1, max(crowd, 6))
	chapters := rapid.SliceOfN(rapid.SliceOfN(groups, 1, 4), 0, 12) // nested only for more than five groups on average
	return rapid.Custom(func(t *rapid.T) history {
		b := builder{wires: rapid.SliceOfN(wires, maxClients, maxClients).Draw(t, "wires")}
		for range rapid.IntRange(1, 3).Draw(t, "clients at first") {
			b.connect()
		}
		for _, group := range slices.Concat(chapters.Draw(t, "chapters")...) {
			for i, d := range group {
				if crowd == 1 || i == 0 {
					b.begin()
				}
				b.add(d)
			}
		}
		if crowd == 1 || !rapid.Bool().Draw(t, "shut down in the middle") {
			b.begin()
		}
		b.append(action{what: shutdown, by: outsider})
		return b.history
	})
}

// A builder builds a history from drafts.
type builder struct {
	history
	wires []wiring // wirings of all possible clients
	n     int      // number of actions so far
	alone bool     // the last action must stay alone in its round
	storm bool     // this round has a storm; a healthy client cannot keep up with two

	stalled, ended [maxClients]bool
}

func (b *builder) begin() {
	if n := len(b.rounds); n == 0 || len(b.rounds[n-1]) > 0 {
		b.rounds = append(b.rounds, nil)
	}
	b.alone, b.storm = false, false
}

func (b *builder) append(a action) {
	if a.what.alone() || b.alone {
		b.begin()
	}
	b.alone = a.what.alone()
	for i := range a.do {
		if e := &a.do[i]; e.what == storm && b.storm {
			e.what = toAll
		} else if e.what == storm {
			b.storm = true
		}
	}
	a.n = b.n
	b.n++
	last := len(b.rounds) - 1
	b.rounds[last] = append(b.rounds[last], a)
}

func (b *builder) connect() {
	if len(b.clients) == maxClients {
		return
	}
	b.clients = append(b.clients, b.wires[len(b.clients)])
	b.append(action{what: connect, by: len(b.clients) - 1})
}

// add adds a draft if it is possible in this state.
func (b *builder) add(d draft) {
	c := d.who % len(b.clients)
	a := action{what: d.what, by: c, room: d.room, do: b.effects(d)}
	if d.what != join {
		a.room = min(d.room, rooms-1)
	}
	switch d.what {
	case connect:
		b.connect()
		return
	case act:
		a.by = outsider + d.who%outsiders
	case disconnect:
		a.by, a.do = outsider, []effect{{what: string(disconnect), to: []int{c}}}
	default:
		stalls := b.stalled[c]
		if b.ended[c] || d.what == stall && stalls || (d.what == resume || d.what.floods() > 0) && !stalls {
			return
		}
		b.stalled[c] = d.what == stall || stalls && d.what != resume
		b.ended[c] = d.what == reset || d.what == goAway
	}
	b.append(a)
}

// effects returns the effects of a draft with existing targets, up to the effect with
// which a handler returns.
func (b *builder) effects(d draft) []effect {
	var do []effect
	for i, e := range d.do {
		var to []int
		for _, c := range e.to {
			to = append(to, c%len(b.clients))
		}
		slices.Sort(to)
		to = slices.Compact(to)
		switch e.what {
		case toThese, toExcept:
		case track, update, upsert, untrack, assign, evict:
			if d.what == act && len(to) == 0 {
				to = []int{d.who % len(b.clients)}
			}
			to = to[:min(1, len(to))]
		default:
			to = nil
		}
		do = append(do, effect{what: e.what, to: to, detail: i})
		switch e.what {
		case decline, refuse, fail, panics:
			return do
		}
	}
	return do
}
