package brokertest

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/pondsocket/pond"
)

// logFaultChecks test the log of a broker that fails.
var logFaultChecks = []check{
	{"LogLost", "LoseLog", (*env).logLost},
	{"LogLostResponse", "LoseResponse", (*env).logLostResponse},
	{"LogCanceled", "Log", (*env).logCanceled},
	{"LogFollowed", "Log", (*env).logFollowed},
}

// logLost: a lost log starts again with another epoch, so that readers detect the loss.
func (e *env) logLost() {
	e.gaps = true
	a, b, topic := e.log(), e.log(), e.topic("a")
	r := e.subscribe(b, topic)
	old := e.append(a, topic, produce("a", 1, numbers("a", 1, 3)...))
	r.texts(3)
	before := r.count()
	e.cluster.LoseLog(topic)
	var pos pond.Position
	e.eventually("Append to a new log", func() (ok bool) {
		var err error
		pos, err = a.Append(e.soon(), topic, produce("a", 4, numbers("a", 4, 20)...)) // beyond the old offset
		return err == nil
	})
	if pos.Epoch == old.Epoch || pos.Offset == 0 {
		e.Errorf("position %+v, want one in another epoch than %q", pos, old.Epoch)
	}
	page := e.since(b, topic, old, 10)
	if page.Complete || len(page.Entries) > 0 || page.Top != pos {
		e.Errorf("page after a lost position: %s", show(page))
	}
	page = e.since(b, topic, pond.Position{}, 100)
	e.wantEntries("the new log", page.Entries, 0, numbers("a", 4, 20)...)
	events := r.wait("the new entry or a Gap", func(events []event) bool { return len(events) > before })
	if ev := events[before]; ev.gap == nil && (ev.entry.Pos.Epoch != pos.Epoch || ev.entry.Prev != 0) {
		e.Errorf("received entry %+v after %d, want the first one of epoch %q", ev.entry.Pos, ev.entry.Prev, pos.Epoch)
	}
}

// logLostResponse: a batch whose Append failed after it was stored is not stored again.
func (e *env) logLostResponse() {
	e.gaps = true
	a, b, topic := e.log(), e.log(), e.topic("a")
	r := e.subscribe(b, topic)
	all := numbers("a", 1, 4)
	e.append(a, topic, produce("boot", 1, all[:1]...))
	r.texts(1)
	e.cluster.LoseResponse(a, topic)
	if _, err := a.Append(e.soon(), topic, produce("boot", 2, all[1:3]...)); err == nil {
		e.Fatal("Append returned nil although its response was lost")
	}
	e.eventually("Append again", func() bool {
		_, err := a.Append(e.soon(), topic, produce("boot", 2, all[1:]...))
		return err == nil
	})
	e.wantEntries("stored", e.since(b, topic, pond.Position{}, 100).Entries, 0, all...)
	e.wantEntries("received", r.entries(len(all)), 0, all...)
}

// logCanceled: a call returns when its context is done, and the log contains either
// nothing or the whole batch.
func (e *env) logCanceled() {
	a, topic := e.log(), e.topic("a")
	ctx, cancel := context.WithCancel(e.context())
	cancel()
	if _, err := a.Append(ctx, topic, produce("a", 1, numbers("a", 1, 3)...)); err == nil {
		e.Error("Append succeeded after the end of its context")
	}
	if _, err := a.Open(ctx, topic, keep); err == nil {
		e.Error("Open succeeded after the end of its context")
	}
	if _, err := a.Since(ctx, topic, pond.Position{}, 10); err == nil {
		e.Error("Since succeeded after the end of its context")
	}
	e.append(a, topic, produce("a", 1, numbers("a", 1, 3)...))
	e.wantEntries("stored", e.since(a, topic, pond.Position{}, 100).Entries, 0, numbers("a", 1, 3)...)
}

// logFollowed: a node that reads the entries that it missed from the log gets every
// entry once and in order, after every failure of its connection.
func (e *env) logFollowed() {
	e.gaps = true
	for _, kind := range slices.Sorted(maps.Keys(e.cluster.Disconnect)) {
		e.follow(kind, e.cluster.Disconnect[kind])
	}
	if e.cluster.Sever != nil {
		e.follow("sever", func(b pond.Broker) {
			restore := e.cluster.Sever(b)
			e.eventually("Health of a severed node", func() bool { return b.Health() != nil })
			restore()
		})
	}
}

// follow follows a log while its node has a failure.
func (e *env) follow(kind string, fail func(b pond.Broker)) {
	e.Helper()
	a, b, topic := e.log(), e.log(), e.topic(kind)
	f := &follower{env: e, log: b, topic: topic, wake: make(chan struct{}, 1)}
	f.pos = e.open(b, topic)
	closer, err := b.Subscribe(e.context(), topic, f)
	if err != nil {
		e.Fatalf("Subscribe: %v", err)
	}
	defer func() { _ = closer.Close() }()
	stop := f.start()
	defer stop()

	want := 0
	appendSome := func() {
		for range 20 {
			want++
			e.eventually("Append", func() bool {
				_, err := a.Append(e.soon(), topic, produce("a", uint64(want), message("a", want))) //nolint:gosec // small
				return err == nil
			})
		}
	}
	appendSome()
	var appends sync.WaitGroup
	appends.Go(appendSome)
	fail(b)
	appends.Wait()
	appendSome()
	var top pond.Position
	e.eventually("the end of the log", func() bool {
		tops, err := a.Tops(e.soon(), []string{topic})
		if err == nil {
			top = tops[0]
		}
		return err == nil && f.position() == top
	})
	stop()
	if f.restarts == 0 {
		e.wantEntries("followed", f.seen, 0, numbers("a", 1, want)...)
		return
	}
	// The failure lost the log, which is allowed, and the follower started again.
	i := slices.IndexFunc(f.seen, func(entry pond.Entry) bool { return entry.Pos.Epoch == top.Epoch })
	e.wantEntries("followed after a restart", f.seen[max(0, i):], 0, pageTexts(e.since(a, topic, pond.Position{}, 100))...)
}

// pageTexts returns the messages of a page.
func pageTexts(page pond.Page) (list []string) {
	for _, entry := range page.Entries {
		list = append(list, string(entry.Data))
	}
	return list
}

// A follower follows a log in the simplest way that a node could.
type follower struct {
	env   *env
	log   pond.BrokerLog
	topic string
	wake  chan struct{} // entries are missing

	mu       sync.Mutex // guards the following fields
	pos      pond.Position
	seen     []pond.Entry
	behind   bool
	restarts int
}

// Receive stores an entry if it is the next one.
func (f *follower) Receive(entry pond.Entry) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case entry.Pos.Epoch == f.pos.Epoch && entry.Pos.Offset <= f.pos.Offset:
	case entry.Pos.Epoch == f.pos.Epoch && entry.Prev == f.pos.Offset:
		f.takeLocked(entry)
	default:
		f.repairLocked()
	}
}

// Gap starts a repair.
func (f *follower) Gap(error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.repairLocked()
}

func (f *follower) takeLocked(entry pond.Entry) {
	f.pos = entry.Pos
	f.seen = append(f.seen, entry)
}

func (f *follower) repairLocked() {
	f.behind = true
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

func (f *follower) position() pond.Position {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.pos
}

// start starts the goroutine that repairs.
func (f *follower) start() (stop func()) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(f.env.Context()))
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case <-ctx.Done():
				return
			case <-f.wake:
			}
			for !f.repair(ctx) && ctx.Err() == nil {
				<-time.After(time.Millisecond)
			}
		}
	})
	return sync.OnceFunc(func() { cancel(); wg.Wait() })
}

// repair reads one page. It reports whether no entry is missing any more.
func (f *follower) repair(ctx context.Context) (done bool) {
	ctx, cancel := context.WithTimeout(ctx, f.env.timeout)
	defer cancel()
	f.mu.Lock()
	from := f.pos
	f.behind = false
	f.mu.Unlock()
	page, err := f.log.Since(ctx, f.topic, from, 7)
	if err != nil {
		return false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if page.Top.Epoch != f.pos.Epoch {
		f.pos = pond.Position{Epoch: page.Top.Epoch}
		f.restarts++
		return false
	}
	if page.Top == (pond.Position{}) {
		return !f.behind // the log was lost; its first entry, or a Gap, starts the next repair
	}
	if !page.Complete {
		f.env.Errorf("page after %+v is incomplete", from)
	}
	for _, entry := range page.Entries {
		if entry.Pos.Offset > f.pos.Offset {
			f.takeLocked(entry)
		}
	}
	return !f.behind && f.pos.Offset >= page.Top.Offset
}
