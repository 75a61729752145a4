package cluster_test

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/pondsocket/pond"
	"github.com/pondsocket/pond/pondtest"
)

// record notes entries of the log of the room.
func (p *player) record(top pond.Position, entries ...pond.Entry) {
	if top.Epoch == "" {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	log := p.lines.log.epochs[top.Epoch]
	if log == nil {
		log = map[uint64]int{}
		p.lines.log.epochs[top.Epoch] = log
	}
	for _, e := range entries {
		n := number(e.Data)
		if old, ok := log[e.Pos.Offset]; ok && old != n {
			p.mistake = fmt.Errorf("the broker delivered %d and %d at %v", old, n, e.Pos)
		}
		log[e.Pos.Offset] = n
	}
}

// checkHistories checks that each node reads the same history.
func (p *player) checkHistories(want []pond.Entry) {
	for _, n := range p.nodes {
		if n.dead {
			continue
		}
		i := 0
		for e, err := range n.endpoint.History(context.Background(), room, pond.HistoryStart{}) {
			var r request
			if err == nil {
				err = json.Unmarshal(e.Payload, &r)
			}
			if err != nil || i >= len(want) || e.Position != want[i].Pos || r.N != number(want[i].Data) {
				p.fail("node %s: entry %d of the history is %v (%v)", n.name, i, e, err)
				return
			}
			i++
		}
		if i != len(want) {
			p.fail("node %s: the history has %d entries, want %d", n.name, i, len(want))
		}
	}
}

// logs returns the epochs of the logs, in their order.
func (p *player) logs() []string {
	return slices.SortedFunc(maps.Keys(p.lines.log.epochs), func(a, b string) int {
		return cmp.Or(cmp.Compare(len(a), len(b)), strings.Compare(a, b)) // they end with increasing numbers
	})
}

// expired reports whether the entries of a log up to an offset may not be in it any
// more: there are enough later ones.
func (p *player) expired(epoch string, offset uint64) bool {
	later := 0
	for o := range p.lines.log.epochs[epoch] {
		if o > offset {
			later++
		}
	}
	return later >= p.history.kept
}

// storedTwice reports whether a message is in two logs, because one was lost after the
// message was stored and before the node knew.
func (p *player) storedTwice(n int) bool {
	logs := 0
	for _, entries := range p.lines.log.epochs {
		for _, other := range entries {
			if other == n {
				logs++
			}
		}
	}
	return logs > 1
}

// checkLog checks that each accepted message was stored once, or is lost, and that members
// received a part of the log.
func (p *player) checkLog() {
	l := &p.lines.log
	stored := map[int]int{}
	for epoch, entries := range l.epochs {
		here := map[int]bool{}
		for offset, n := range entries {
			if here[n] {
				p.fail("message %d is in log %s twice, at last at %d", n, epoch, offset)
			}
			here[n] = true
			stored[n]++
		}
	}
	for n, s := range p.sentSoFar() {
		switch {
		case !s.stored(p):
			if stored[n] > 0 {
				p.fail("%v was stored", s)
			}
		case s.done && s.err == nil && len(p.taken[n]) > 0 && stored[n] == 0 && !l.lost && p.history.kept == all:
			p.fail("%v was taken, and was not stored", s)
		}
	}
	for _, m := range p.members {
		if m.acked.IsZero() {
			continue
		}
		var err error
		if m.client.recovers {
			err = p.checkRecovery(m)
		} else {
			err = p.checkPart(m)
		}
		if err != nil {
			p.fail("%v: %w", m, err)
		}
	}
}

// A place is where a member is in the logs.
type place struct {
	epoch string
	seen  uint64
}

type recovery struct {
	pondtest.Position
	To        *uint64
	Recovered *bool
	Reason    string
}

// checkRecovery checks what a member received that asked for positions.
func (p *player) checkRecovery(m *membership) error {
	var ack struct{ Recover recovery }
	if err := json.Unmarshal(m.events[0].Payload, &ack); err != nil {
		return err
	}
	r := &ack.Recover
	at := place{r.Epoch, r.Offset}
	recovered := r.Recovered != nil && *r.Recovered
	switch {
	case m.from.Epoch == "":
	case recovered && m.from != r.Position:
		return fmt.Errorf("recovered from %v, want %v", r.Position, m.from)
	case r.Recovered == nil:
		return fmt.Errorf("received %v, want an answer about recovery", m.events[0])
	case recovered:
	case r.Reason == "expired" && p.expired(m.from.Epoch, m.from.Offset+1):
	case r.Reason == "epoch" && p.lines.log.lost:
	case r.Reason == "unavailable" && p.faulty:
	default:
		return fmt.Errorf("received %v, and nothing was lost", m.events[0])
	}
	awaited := recovered
	for _, e := range m.events[1:] {
		var to struct {
			pondtest.Position
			Reason string
		}
		switch {
		case e.Event == "said" && e.Offset > 0:
			n, ok := p.lines.log.epochs[at.epoch][e.Offset]
			var got request
			if err := json.Unmarshal(e.Payload, &got); err != nil || !ok || got.N != n {
				return fmt.Errorf("received %v, and the log has %d at %d of %s", e, n, e.Offset, at.epoch)
			}
			if e.Offset <= at.seen {
				return fmt.Errorf("at %v: received %v again", at, e)
			}
			if err := p.hidden(m, at, e.Offset-1); err != nil {
				return err
			}
			if awaited && e.Offset > *r.To {
				return fmt.Errorf("received %v before RECOVERED, which was to come at %d", e, *r.To)
			}
			at.seen = e.Offset
			continue
		case e.Event == "said":
			continue // checkMessages looks who it is for
		case e.Event == "GAP" || e.Event == "POSITION" || e.Event == "RECOVERED":
			if err := json.Unmarshal(e.Payload, &to); err != nil {
				return err
			}
		default:
			if e.Action == "ERROR" {
				continue
			}
			return fmt.Errorf("received %v", e)
		}
		switch e.Event {
		case "GAP":
			reason := to.Reason
			switch {
			case reason == "epoch" && p.lines.log.lost:
			case reason == "expired" && to.Epoch == at.epoch && to.Offset > at.seen && p.expired(to.Epoch, to.Offset):
			default:
				return fmt.Errorf("at %v: received %v, and no log was lost", at, e)
			}
			at, awaited = place{to.Epoch, to.Offset}, false
			continue
		case "RECOVERED":
			if !awaited {
				return fmt.Errorf("at %v: received %v", at, e)
			}
			awaited = false
		}
		if to.Epoch != at.epoch {
			return fmt.Errorf("at %v: received %v", at, e)
		}
		if err := p.hidden(m, at, to.Offset); err != nil {
			return err
		}
		at.seen = max(at.seen, to.Offset)
	}
	if !m.until.IsZero() {
		return nil
	}
	if at.epoch != p.lines.log.last {
		return fmt.Errorf("at %v in the end, and the log is %s", at, p.lines.log.last)
	}
	return p.hidden(m, at, 1<<53)
}

// hidden returns an error if a message behind a place and not behind an offset was for a
// member.
func (p *player) hidden(m *membership, at place, to uint64) error {
	for offset, n := range p.lines.log.epochs[at.epoch] {
		if offset > at.seen && offset <= to && !p.isHidden(m, n) {
			return fmt.Errorf("at %v: did not receive message %d at %d, before it reached %d", at, n, offset, to)
		}
	}
	return nil
}

// isHidden reports whether a member need not receive an entry of the log.
func (p *player) isHidden(m *membership, n int) bool {
	s := p.messages[n]
	return s == nil || s.kind == "others" && (s.from == m.id || s.from == m.former)
}

// checkPart checks that a member that did not ask for positions received a part of the log,
// without a hole. When a log is lost, nobody tells it what is missing.
func (p *player) checkPart(m *membership) error {
	var order []int // of all messages, and -1 between two logs
	for _, epoch := range p.logs() {
		entries := p.lines.log.epochs[epoch]
		for _, offset := range slices.Sorted(maps.Keys(entries)) {
			if !p.isHidden(m, entries[offset]) {
				order = append(order, entries[offset])
			}
		}
		order = append(order, -1)
	}
	next := -1
	for _, n := range p.numbers(m) {
		if !p.messages[n].stored(p) {
			continue
		}
		from := max(next, 0)
		i := slices.Index(order[from:], n)
		if i < 0 {
			return fmt.Errorf("received %d too late, or it is not in the log %v", n, order)
		}
		if next >= 0 && i > 0 && !p.lines.log.lost && p.history.kept == all && !slices.Contains(order[from:from+i], -1) {
			return fmt.Errorf("received %d, and missed %v before it", n, order[from:from+i])
		}
		next = from + i + 1
	}
	if m.until.IsZero() && next >= 0 && next != len(order)-1 && !p.lines.log.lost {
		return fmt.Errorf("did not receive %v in the end", order[next:])
	}
	return nil
}
