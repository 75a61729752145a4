package brokertest

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/pondsocket/pond"
)

// logChecks test the log of a broker that works.
var logChecks = []check{
	{"LogOpen", "Log", (*env).logOpen},
	{"LogAppend", "Log", (*env).logAppend},
	{"LogBytes", "Log", (*env).logBytes},
	{"LogOrder", "Log", (*env).logOrder},
	{"LogAndPublish", "Log", (*env).logAndPublish},
	{"LogRetry", "Log", (*env).logRetry},
	{"LogProducers", "Log", (*env).logProducers},
	{"LogPages", "Log", (*env).logPages},
	{"LogPageBytes", "Log", (*env).logPageBytes},
	{"LogPositions", "Log", (*env).logPositions},
	{"LogLast", "Log", (*env).logLast},
	{"LogTops", "Log", (*env).logTops},
}

// produce returns a batch.
func produce(producer string, first uint64, messages ...string) pond.Batch {
	return pond.Batch{Producer: producer, First: first, Data: batch(messages...), Keep: keep}
}

// append appends a batch, which must succeed.
func (e *env) append(log pond.BrokerLog, topic string, b pond.Batch) pond.Position {
	e.Helper()
	pos, err := log.Append(e.context(), topic, b)
	if err != nil {
		e.Fatalf("Append: %v", err)
	}
	return pos
}

// open opens a log, which must succeed.
func (e *env) open(log pond.BrokerLog, topic string) pond.Position {
	e.Helper()
	pos, err := log.Open(e.context(), topic, keep)
	if err != nil {
		e.Fatalf("Open: %v", err)
	}
	return pos
}

// since reads a page, which must succeed.
func (e *env) since(log pond.BrokerLog, topic string, from pond.Position, limit int) pond.Page {
	e.Helper()
	page, err := log.Since(e.context(), topic, from, limit)
	if err != nil {
		e.Fatalf("Since: %v", err)
	}
	return page
}

// prevOf returns the offset of the last entry before a page.
func prevOf(page pond.Page) uint64 {
	if len(page.Entries) == 0 {
		return 0
	}
	return page.Entries[0].Prev
}

// numbers returns messages with the numbers from first to last.
func numbers(sender string, first, last int) []string {
	var list []string
	for n := first; n <= last; n++ {
		list = append(list, message(sender, n))
	}
	return list
}

// wantEntries checks the texts of entries, and that the Prev of each entry is the
// offset of the previous one.
func (e *env) wantEntries(what string, entries []pond.Entry, prev uint64, want ...string) {
	e.Helper()
	var got []string
	for _, entry := range entries {
		got = append(got, string(entry.Data))
		if entry.Prev != prev || entry.Pos.Offset <= prev {
			e.Errorf("%s: entry %d names %d as the one before it, want %d", what, entry.Pos.Offset, entry.Prev, prev)
		}
		if len(entries) > 0 && entry.Pos.Epoch != entries[0].Pos.Epoch {
			e.Errorf("%s: epochs %q and %q", what, entries[0].Pos.Epoch, entry.Pos.Epoch)
		}
		prev = entry.Pos.Offset
	}
	if !slices.Equal(got, want) {
		e.Errorf("%s: %d entries %.300q, want %d: %.300q", what, len(got), got, len(want), want)
	}
}

var epoch = regexp.MustCompile(`^[A-Za-z0-9_-]{1,22}$`)

// logOpen: a log has the same position for all nodes.
func (e *env) logOpen() {
	a, b, topic := e.log(), e.log(), e.topic("a")
	if page := e.since(a, topic, pond.Position{}, 10); page.Top != (pond.Position{}) || len(page.Entries) > 0 {
		e.Errorf("a log that was never opened has %s", show(page))
	}
	first := e.open(a, topic)
	if !epoch.MatchString(first.Epoch) || first.Offset != 0 {
		e.Errorf("position %+v of a new log", first)
	}
	for _, log := range []pond.BrokerLog{a, b} {
		if again := e.open(log, topic); again != first {
			e.Errorf("position %+v, want %+v", again, first)
		}
	}
	if other := e.open(a, e.topic("b")); other.Epoch == first.Epoch {
		e.Errorf("two logs with the epoch %q", other.Epoch)
	}
	pos := e.append(a, topic, produce("a", 1, `{}`))
	if again := e.open(b, topic); again != pos {
		e.Errorf("position %+v after Append, want %+v", again, pos)
	}
	for _, bad := range []pond.Retention{{}, {Messages: 1, Bytes: 1}, {Messages: 1, Bytes: -1, Age: 1}} {
		if _, err := a.Open(e.context(), topic, bad); err == nil {
			e.Errorf("Open with retention %+v", bad)
		}
	}
}

// logAppend: all nodes receive and can read appended messages, including the sender.
func (e *env) logAppend() {
	a, b, topic := e.log(), e.log(), e.topic("a")
	ra, rb := e.subscribe(a, topic), e.subscribe(b, topic)
	start := e.open(a, topic)
	e.append(a, topic, produce("a", 1, numbers("a", 1, 3)...))
	pos := e.append(a, topic, produce("a", 4, numbers("a", 4, 5)...))
	want := numbers("a", 1, 5)
	for _, r := range []*receiver{ra, rb} {
		entries := r.entries(5)
		e.wantEntries("received", entries, 0, want...)
		if entries[4].Pos != pos || pos.Epoch != start.Epoch {
			e.Errorf("Append returned %+v, received %+v, opened %+v", pos, entries[4].Pos, start)
		}
	}
	page := e.since(b, topic, start, 100)
	e.wantEntries("read", page.Entries, 0, want...)
	if !page.Complete || page.Top != pos {
		e.Errorf("page %t up to %+v, want a complete one up to %+v", page.Complete, page.Top, pos)
	}
	for _, bad := range []pond.Batch{produce("", 1, `{}`), produce("a", 0, `{}`)} {
		if _, err := a.Append(e.context(), topic, bad); err == nil {
			e.Errorf("Append of %+v", bad)
		}
	}
	e.append(a, topic, produce("a", 6)) // does nothing
	e.append(b, e.topic("new"), produce("b", 1, `{}`))
	page = e.since(a, e.topic("new"), pond.Position{}, 10)
	e.wantEntries("a log that was not opened", page.Entries, 0, `{}`)
}

// logBytes: messages are received and read as they were appended.
func (e *env) logBytes() {
	a, b, topic := e.log(), e.log(), e.topic("a")
	r := e.subscribe(b, topic)
	messages := difficult()
	e.append(a, topic, produce("a", 1, messages...))
	e.wantEntries("received", r.entries(len(messages)), 0, messages...)
	e.wantEntries("read", e.since(b, topic, pond.Position{}, 100).Entries, 0, messages...)
}

// logOrder: all nodes receive the entries in the order of the log, and batches without
// other messages in between.
func (e *env) logOrder() {
	const nodes, batches, size = 3, 20, 5
	topic := e.topic("a")
	logs := make([]pond.BrokerLog, nodes)
	receivers := make([]*receiver, nodes)
	for i := range logs {
		logs[i] = e.log()
		receivers[i] = e.subscribe(logs[i], topic)
	}
	var wg sync.WaitGroup
	for i, log := range logs {
		wg.Go(func() {
			name := fmt.Sprint("node", i)
			for n := 1; n <= batches*size; n += size {
				b := produce(name, uint64(n), numbers(name, n, n+size-1)...)
				if _, err := log.Append(e.context(), topic, b); err != nil {
					e.Errorf("Append: %v", err)
				}
			}
		})
	}
	wg.Wait()
	const all = nodes * batches * size
	page := e.since(logs[0], topic, pond.Position{}, all+1)
	var want []string
	for i, entry := range page.Entries {
		text := string(entry.Data)
		want = append(want, text)
		if n := e.parse(text); i%size > 0 && text != message(n.Sender, e.parse(want[i-1]).Number+1) {
			e.Errorf("%s came into a batch, after %s", text, want[i-1])
		}
	}
	e.inOrder(want, nodes, batches*size)
	e.wantEntries("read", page.Entries, 0, want...)
	for _, r := range receivers {
		e.wantEntries("received", r.entries(all), 0, want...)
	}
}

// logAndPublish: messages of Append and Publish stay in the order of the calls.
func (e *env) logAndPublish() {
	a, b, topic := e.log(), e.log(), e.topic("{a}")
	r := e.subscribe(b, topic)
	const rounds = 30
	for n := 1; n <= rounds; n++ {
		e.publish(a, topic, message("a", 2*n-1))
		e.append(a, topic, produce("a", uint64(n), message("a", 2*n)))
	}
	e.inOrder(r.texts(2*rounds), 1, 2*rounds)
	for i, entry := range r.entries(2 * rounds) {
		if stored := entry.Pos.Offset > 0; stored != (i%2 == 1) {
			e.Errorf("message %d has position %+v", i+1, entry.Pos)
		}
	}
	if page := e.since(a, topic, pond.Position{}, 100); len(page.Entries) != rounds {
		e.Errorf("%d entries, want %d", len(page.Entries), rounds)
	}
}

// logRetry: a batch that is appended again is not stored again, but new messages after
// it are.
func (e *env) logRetry() {
	a, b, topic := e.log(), e.log(), e.topic("a")
	r := e.subscribe(b, topic)
	all := numbers("a", 1, 9)
	e.append(a, topic, produce("boot", 1, all[:3]...))
	e.append(a, topic, produce("boot", 1, all[:3]...))
	e.append(a, topic, produce("boot", 2, all[1:2]...))
	e.append(a, topic, produce("boot", 1, all[:5]...))
	pos := e.append(b, topic, produce("boot", 4, all[3:5]...))
	e.append(a, topic, produce("boot", 8, all[5:8]...)) // the producer skips 6 and 7
	pos2 := e.append(a, topic, produce("boot", 8, all[5:9]...))
	page := e.since(b, topic, pond.Position{}, 100)
	e.wantEntries("read", page.Entries, 0, all...)
	e.wantEntries("received", r.entries(len(all)), 0, all...)
	if len(page.Entries) < len(all) {
		return
	}
	if pos.Offset < page.Entries[4].Pos.Offset || pos2 != page.Top {
		e.Errorf("Append returned %+v and %+v, want at least %+v, and %+v", pos, pos2, page.Entries[4].Pos, page.Top)
	}
}

// logProducers: each producer has its own numbers in each topic.
func (e *env) logProducers() {
	a := e.log()
	var want []string
	topics := []string{e.topic("a"), e.topic("b")}
	for i, producer := range []string{"boot", "boot2", "Boot", strings.Repeat("x", 64), "a:b", "*"} {
		want = append(want, message("a", i+1))
		for _, topic := range topics {
			e.append(a, topic, produce(producer, 1, message("a", i+1)))
		}
	}
	for _, topic := range topics {
		e.wantEntries("read", e.since(a, topic, pond.Position{}, 100).Entries, 0, want...)
	}
}

// logPages: a reader gets all entries, page by page.
func (e *env) logPages() {
	a, b, topic := e.log(), e.log(), e.topic("a")
	from := e.open(a, topic)
	e.append(a, topic, produce("a", 1, numbers("a", 1, 25)...))
	for _, want := range []struct{ first, last int }{{1, 10}, {11, 20}, {21, 25}, {26, 25}} {
		page := e.since(b, topic, from, 10)
		e.wantEntries("page", page.Entries, from.Offset, numbers("a", want.first, want.last)...)
		if !page.Complete || page.Top.Epoch != from.Epoch {
			e.Errorf("page after %+v: %t, up to %+v", from, page.Complete, page.Top)
		}
		if len(page.Entries) > 0 {
			from = page.Entries[len(page.Entries)-1].Pos
		}
		if end := from == page.Top; end != (want.last == 25) {
			e.Errorf("the page ends at %+v, the log at %+v", from, page.Top)
		}
	}
}

// logPageBytes: a page is not much larger than 1 MiB, but always has an entry.
func (e *env) logPageBytes() {
	a, topic := e.log(), e.topic("a")
	var want []string
	for n := range 15 {
		want = append(want, sized(200<<10+n))
		e.append(a, topic, produce("a", uint64(n+1), want[n]))
	}
	if large := sized(3 << 20); a.MaxBytes() >= len(large) {
		want = append(want, large, `{}`)
		e.append(a, topic, produce("a", 16, large, `{}`))
	}
	from, got := pond.Position{}, 0
	for got < len(want) {
		page := e.since(a, topic, from, 100)
		if !page.Complete || len(page.Entries) == 0 {
			e.Fatalf("page after %+v: %t, with %d entries; the log has more", from, page.Complete, len(page.Entries))
		}
		size := 0
		for _, entry := range page.Entries {
			size += len(entry.Data)
			if string(entry.Data) != want[got] {
				e.Errorf("entry %d has %d bytes, want %d", got, len(entry.Data), len(want[got]))
			}
			got++
		}
		if size > 2<<20 && len(page.Entries) > 1 {
			e.Errorf("a page of %d entries and %d bytes", len(page.Entries), size)
		}
		from = page.Entries[len(page.Entries)-1].Pos
	}
}

// logPositions: for a position that the log does not know, the page is empty and not
// complete.
func (e *env) logPositions() {
	a, topic := e.log(), e.topic("a")
	top := e.append(a, topic, produce("a", 1, numbers("a", 1, 3)...))
	for _, from := range []pond.Position{
		{Epoch: top.Epoch, Offset: top.Offset + 1},
		{Epoch: top.Epoch, Offset: 1 << 53},
		{Epoch: "another", Offset: 1},
		{Epoch: "another"},
		{Epoch: top.Epoch + "x", Offset: top.Offset},
	} {
		page := e.since(a, topic, from, 10)
		if page.Complete || len(page.Entries) > 0 || page.Top != top {
			e.Errorf("page after %+v: %s", from, show(page))
		}
	}
	page := e.since(a, topic, top, 10)
	if !page.Complete || len(page.Entries) > 0 || page.Top != top {
		e.Errorf("page after the top: %s", show(page))
	}
}

// logLast: the newest entries, oldest first.
func (e *env) logLast() {
	a, topic := e.log(), e.topic("a")
	last := func(topic string, limit int) pond.Page {
		page, err := a.Last(e.context(), topic, limit)
		if err != nil {
			e.Fatalf("Last: %v", err)
		}
		return page
	}
	if page := last(e.topic("none"), 5); page.Complete || page.Top != (pond.Position{}) || len(page.Entries) > 0 {
		e.Errorf("last of no log: %s", show(page))
	}
	top := e.append(a, topic, produce("a", 1, numbers("a", 1, 9)...))
	for limit, first := range map[int]int{1: 9, 4: 6, 9: 1, 100: 1} {
		page := last(topic, limit)
		e.wantEntries(fmt.Sprint("last ", limit), page.Entries, prevOf(page), numbers("a", first, 9)...)
		if page.Top != top || !page.Complete {
			e.Errorf("last %d: top %+v, want %+v", limit, page.Top, top)
		}
	}
}

// logTops: the positions of many logs in one call.
func (e *env) logTops() {
	a := e.log()
	var topics []string
	var want []pond.Position
	for i := range 20 {
		topic := e.topic(strconv.Itoa(i))
		topics = append(topics, topic)
		switch i % 3 {
		case 0:
			want = append(want, pond.Position{})
		case 1:
			want = append(want, e.open(a, topic))
		default:
			want = append(want, e.append(a, topic, produce("a", 1, numbers("a", 1, i)...)))
		}
	}
	tops, err := a.Tops(e.context(), topics)
	if err != nil || !slices.Equal(tops, want) {
		e.Errorf("tops %+v, %v; want %+v", tops, err, want)
	}
	if tops, err := a.Tops(e.context(), nil); err != nil || len(tops) > 0 {
		e.Errorf("tops of no topics: %+v, %v", tops, err)
	}
}
