package brokertest

import (
	"errors"
	"slices"
	"time"

	"github.com/pondsocket/pond"
)

// retentionChecks test the limits of a log.
var retentionChecks = []check{
	{"LogKeepsMessages", "Log", (*env).logKeepsMessages},
	{"LogKeepsBytes", "Log", (*env).logKeepsBytes},
	{"LogEnds", "Log", (*env).logEnds},
	{"LogAge", "VirtualTime", (*env).logAge},
	{"LogDrop", "Log", (*env).logDrop},
	{"LogMaxBytes", "Log", (*env).logMaxBytes},
}

// logKeepsMessages: a log keeps its newest messages, and the page of a reader of
// dropped messages is incomplete.
func (e *env) logKeepsMessages() {
	a, topic := e.log(), e.topic("a")
	start := e.open(a, topic)
	b := produce("a", 1, numbers("a", 1, 10)...)
	b.Keep.Messages = 8
	var offsets []pond.Position
	for b.First = 1; b.First < 30; b.First += 10 {
		b.Data = batch(numbers("a", int(b.First), int(b.First)+9)...)
		offsets = append(offsets, e.append(a, topic, b))
	}
	for _, from := range []pond.Position{start, {}, offsets[0]} {
		page := e.since(a, topic, from, 100)
		if page.Complete || page.Top != offsets[2] || len(page.Entries) != 8 {
			e.Fatalf("page after %+v: %t, %d entries up to %+v; want an incomplete one with 8", from, page.Complete, len(page.Entries), page.Top)
		}
		e.wantEntries("kept", page.Entries, prevOf(page), numbers("a", 23, 30)...)
		if page.Entries[0].Prev <= offsets[1].Offset {
			e.Errorf("the first entry has Prev %d, which is not above %d", prevOf(page), offsets[1].Offset)
		}
		edge := pond.Position{Epoch: start.Epoch, Offset: page.Entries[0].Prev}
		if page := e.since(a, topic, edge, 100); !page.Complete || len(page.Entries) != 8 {
			e.Errorf("page after the last dropped entry: %t, %d entries", page.Complete, len(page.Entries))
		}
	}
	b.Keep.Messages = 3
	if _, err := a.Open(e.context(), topic, b.Keep); err != nil {
		e.Fatalf("Open: %v", err)
	}
	if page := e.since(a, topic, pond.Position{}, 100); len(page.Entries) != 3 || page.Top != offsets[2] {
		e.Errorf("%d entries after Open with 3", len(page.Entries))
	}
}

// logKeepsBytes: a log does not exceed its limit in bytes, except with one large
// message.
func (e *env) logKeepsBytes() {
	a, topic := e.log(), e.topic("a")
	b := produce("a", 1, sized(300), sized(301), sized(302))
	b.Keep.Bytes = 1000
	e.append(a, topic, b)
	b.First, b.Data = 4, batch(sized(303))
	e.append(a, topic, b)
	read := func() pond.Page { return e.since(a, topic, pond.Position{}, 100) }
	page := read()
	e.wantEntries("kept", page.Entries, prevOf(page), sized(301), sized(302), sized(303))
	if page.Complete {
		e.Error("the page is complete although an entry was dropped")
	}
	b.First, b.Data = 5, batch(sized(5000))
	e.append(a, topic, b)
	page = read()
	e.wantEntries("kept", page.Entries, prevOf(page), sized(5000))
	b.First, b.Data = 6, batch(`{}`)
	e.append(a, topic, b)
	page = read()
	e.wantEntries("kept", page.Entries, prevOf(page), `{}`)
}

// logEnds: a log without Open and Append ends, and the next one has another epoch.
func (e *env) logEnds() {
	a, topic := e.log(), e.topic("a")
	b := produce("a", 1, `{}`)
	b.Keep.Age = 50 * time.Millisecond
	pos := e.append(a, topic, b)
	e.eventually("the end of the log", func() bool { return e.since(a, topic, pos, 1).Top == pond.Position{} })
	if again := e.open(a, topic); again.Epoch == pos.Epoch || again.Offset != 0 {
		e.Errorf("position %+v, want the beginning of another epoch than %q", again, pos.Epoch)
	}
	e.append(a, topic, produce("a", 2, `{}`, `{}`, `{}`)) // beyond the old offset
	page := e.since(a, topic, pos, 10)
	if page.Complete || len(page.Entries) > 0 {
		e.Errorf("page after a position of the previous log: %s", show(page))
	}
}

// logAge: messages expire, and Open prevents the end of the log.
func (e *env) logAge() {
	a, topic := e.log(), e.topic("a")
	start := e.open(a, topic)
	e.append(a, topic, produce("a", 1, message("a", 1)))
	<-time.After(keep.Age / 2)
	middle := e.append(a, topic, produce("a", 2, message("a", 2)))
	<-time.After(keep.Age/2 + time.Minute)
	page := e.since(a, topic, start, 10)
	e.wantEntries("young", page.Entries, prevOf(page), message("a", 2))
	if page.Complete {
		e.Error("the page is complete although an entry is too old")
	}
	e.open(a, topic)
	<-time.After(keep.Age - time.Minute)
	if page := e.since(a, topic, start, 10); page.Complete || len(page.Entries) > 0 || page.Top != middle {
		e.Errorf("a log whose messages expired: %s", show(page))
	}
	if page := e.since(a, topic, middle, 10); !page.Complete {
		e.Errorf("page after the top: %s", show(page))
	}
	if again := e.open(a, topic); again != middle {
		e.Errorf("position %+v, want %+v", again, middle)
	}
}

// logDrop: a log that was dropped does not exist, and the next one has another epoch.
func (e *env) logDrop() {
	a, b, topic := e.log(), e.log(), e.topic("a")
	r := e.subscribe(b, topic)
	pos := e.append(a, topic, produce("a", 1, message("a", 1)))
	for range 2 {
		if err := b.Drop(e.context(), topic); err != nil {
			e.Errorf("Drop: %v", err)
		}
	}
	if page := e.since(a, topic, pos, 10); page.Complete || page.Top != (pond.Position{}) || len(page.Entries) > 0 {
		e.Errorf("a log that was dropped: %s", show(page))
	}
	again := e.append(a, topic, produce("a", 1, message("a", 2)))
	if again.Epoch == pos.Epoch {
		e.Errorf("epoch %q again", again.Epoch)
	}
	e.append(a, topic, produce("a", 2, message("a", 3)))
	if page := e.since(a, topic, pos, 10); page.Complete || len(page.Entries) > 0 {
		e.Errorf("page after a position of the dropped log: %s", show(page))
	}
	page := e.since(a, topic, pond.Position{}, 10)
	e.wantEntries("read", page.Entries, 0, numbers("a", 2, 3)...)
	if got := r.texts(3); !slices.Equal(got, numbers("a", 1, 3)) {
		e.Errorf("received %q", got)
	}
}

// logMaxBytes: if a message is too large, no message of its batch is stored.
func (e *env) logMaxBytes() {
	a, topic := e.log(), e.topic("a")
	limit := a.MaxBytes()
	e.append(a, topic, produce("a", 1, sized(limit)))
	b := produce("a", 2, `{"n":1}`, sized(limit+1))
	if _, err := a.Append(e.context(), topic, b); !errors.Is(err, pond.ErrTooLarge) {
		e.Errorf("Append with a message of %d bytes: %v, want ErrTooLarge", limit+1, err)
	}
	e.append(a, topic, produce("a", 2, `{"n":2}`))
	page := e.since(a, topic, pond.Position{}, 1)
	if len(page.Entries) == 0 {
		e.Fatalf("page of a log with two entries: %s", show(page))
	}
	from := page.Entries[0].Pos
	e.wantEntries("stored", append(page.Entries, e.since(a, topic, from, 10).Entries...), 0, sized(limit), `{"n":2}`)
}
