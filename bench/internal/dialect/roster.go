package dialect

import (
	"bytes"
	"strconv"

	"github.com/pondsocket/pond/internal/load"
)

// card returns the presence of a tracked client: a mark for package load, and a number for
// the roster.
func card(number int) string {
	return `{"name":"` + load.PresenceMark(number) + `","number":` + strconv.Itoa(number) + `}`
}

// A roster holds the numbers of the members that a client knows. It receives many members
// twice: in the list that it requested, and in a push when they joined.
type roster map[int]bool

func (d Centrifuge) roster(c *load.Client) roster {
	if r, ok := d.rosters.Load(c.Number); ok {
		return r.(roster)
	}
	r := roster{}
	d.rosters.Store(c.Number, r)
	return r
}

// list replaces the members with a list, except members that were pushed before, because
// the list may be older than the push.
func (r roster) list(events []load.Event, line []byte) []load.Event {
	events = append(events, load.Event{Kind: load.PresenceList, Text: line})
	listed := map[int]bool{}
	for rest := line; ; {
		number, after, ok := nextNumber(rest)
		if !ok {
			break
		}
		listed[number], rest = true, after
	}
	for number := range r {
		if !listed[number] {
			events = append(events, load.Event{Kind: load.PresenceJoin, Text: []byte(load.PresenceMark(number))})
		}
	}
	for number := range listed {
		r[number] = true
	}
	return events
}

func (r roster) join(events []load.Event, push []byte) []load.Event {
	number, _, ok := nextNumber(push)
	if !ok || r[number] {
		return events
	}
	r[number] = true
	return append(events, load.Event{Kind: load.PresenceJoin, Text: push})
}

func (r roster) leave(events []load.Event, push []byte) []load.Event {
	number, _, ok := nextNumber(push)
	if !ok || !r[number] {
		return events
	}
	delete(r, number)
	return append(events, load.Event{Kind: load.PresenceLeave, Text: push})
}

// nextNumber returns the number of the first card in text, and the text after it.
func nextNumber(text []byte) (number int, rest []byte, ok bool) {
	_, rest, ok = bytes.Cut(text, []byte(`"number":`))
	if !ok {
		return 0, nil, false
	}
	end := bytes.IndexByte(rest, '}')
	number, err := strconv.Atoi(string(rest[:max(end, 0)]))
	return number, rest[max(end, 0):], err == nil
}
