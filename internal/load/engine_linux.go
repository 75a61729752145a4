package load

import (
	"context"
	"fmt"
	"math"
	"math/bits"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// An engine is what the loops of one run share. What is not atomic does not change
// while they run.
type engine struct {
	config    Config
	dialect   Dialect
	traits    Traits
	target    netip.AddrPort
	began     time.Time
	padding   []byte
	everyone  []*client
	rooms     []*room
	loops     []*loop
	everybody census

	publishing atomic.Bool  // clients have work to do
	churning   atomic.Bool  // who has joined leaves, and comes back
	quota      atomic.Int64 // of messages, if they are counted
	expected   atomic.Int64 // deliveries
	from       atomic.Int64 // when the measurement began

	running sync.WaitGroup
	rssMax  int64
}

// clock returns the nanoseconds since the run began.
func (e *engine) clock() int64 { return int64(time.Since(e.began)) }

func newEngine(config Config) (*engine, error) {
	addr, err := netip.ParseAddrPort(config.Addr)
	if err != nil {
		return nil, fmt.Errorf("address %q: %w", config.Addr, err)
	}
	e := &engine{
		config:  config,
		dialect: config.Dialect,
		traits:  config.Dialect.Traits(),
		target:  netip.AddrPortFrom(addr.Addr().Unmap(), addr.Port()),
		began:   time.Now(),
		padding: padding(config.Dialect, &Client{Transport: config.Transport}, config.Size),
	}
	e.from.Store(math.MaxInt64)
	e.quota.Store(config.Messages)
	if err := checkFiles(config.Clients + config.Threads*(postersPerLoop+4) + 64); err != nil {
		return nil, err
	}
	for range config.Threads {
		l, err := newLoop(e)
		if err != nil {
			return nil, err
		}
		for i := range postersPerLoop {
			l.posters = append(l.posters, &poster{number: i})
		}
		e.loops = append(e.loops, l)
	}
	e.populate()
	return e, nil
}

// postersPerLoop is how many messages over HTTP a loop has under way at a time.
const postersPerLoop = 32

// populate makes rooms and clients. Clients are numbered through the rooms, so that
// the first ones of all rooms come first.
func (e *engine) populate() {
	cfg := e.config
	for range cfg.Rooms {
		e.rooms = append(e.rooms, new(room))
	}
	for n := range cfg.Clients {
		r := e.rooms[n%cfg.Rooms]
		l := e.loops[e.thread(n)]
		c := &client{room: r}
		c.Number, c.Room, c.Track, c.Transport = n, n%cfg.Rooms, cfg.Scenario == Presence, cfg.Transport
		if cfg.Scenario.everybody() || cfg.Scenario.chat() && n < cfg.Rooms {
			c.pub = &publisher{client: c, loop: l, room: r, window: e.window()}
			if cfg.Scenario != Echo {
				c.pub.pos = len(r.publishers)
				r.publishers = append(r.publishers, c.pub)
			}
		}
		e.everyone = append(e.everyone, c)
		l.clients = append(l.clients, c)
		e.everybody = e.everybody.plus(one(uint64(n)))
	}
	for _, c := range e.everyone {
		c.seen = make([]uint32, max(1, len(c.room.publishers)))
	}
}

// thread returns which loop serves a client. A room has one loop, if there are enough
// of them.
func (e *engine) thread(n int) int {
	if e.config.Rooms >= e.config.Threads {
		return n % e.config.Rooms * e.config.Threads / e.config.Rooms
	}
	return n * e.config.Threads / e.config.Clients
}

// window returns what notes the messages under way of one publisher. There is room
// for some that are complete behind one that is not.
func (e *engine) window() []atomic.Int32 {
	n := e.config.InFlight
	switch {
	case e.config.Rate > 0:
		return nil
	case e.config.Scenario == Echo:
		n = n/e.config.Clients + 1
	}
	return make([]atomic.Int32, 1<<bits.Len(uint(2*n)))
}

// stalls reports whether c will stop to read. The first clients do not: they publish.
func (e *engine) stalls(c *client) bool { return c.Number >= e.config.Clients-e.config.Stalled }

func (e *engine) start() {
	for _, l := range e.loops {
		e.running.Go(l.run)
	}
}

// each has f run by all loops, and waits.
func (e *engine) each(f func(l *loop)) {
	for _, l := range e.loops {
		l.call(func() { f(l) })
	}
}

// stop ends the loops, and cuts the connections that are left.
func (e *engine) stop() {
	for _, l := range e.loops {
		l.do(func() { l.over = true })
	}
	e.running.Wait()
}

// totals returns what the loops have counted.
func (e *engine) totals() (c counters) {
	for _, l := range e.loops {
		l.mu.Lock()
		c.add(l.published)
		l.mu.Unlock()
	}
	return c
}

// await waits until done, or until nothing has happened for as long as there is
// patience, or until the time is over, unless it is 0. It reports whether done.
func (e *engine) await(ctx context.Context, phase string, d time.Duration, done func(counters) bool) (bool, error) {
	ticker := time.NewTicker(2 * time.Millisecond)
	defer ticker.Stop()
	began, changed, told := time.Now(), time.Now(), time.Now()
	before := e.totals()
	for {
		now := e.totals()
		if done(now) {
			return true, nil
		}
		if now != before {
			before, changed = now, time.Now()
		}
		if d > 0 && time.Since(began) >= d || time.Since(changed) >= e.config.Patience {
			return false, nil
		}
		if time.Since(told) > 200*time.Millisecond {
			told = time.Now()
			e.watchMemory()
			if e.config.Progress != nil {
				e.config.Progress(Progress{phase, now.Joined, now.Deliveries})
			}
		}
		select {
		case <-ctx.Done():
			return false, context.Cause(ctx)
		case <-ticker.C:
		}
	}
}

func (e *engine) watchMemory() {
	if rss, err := rssOf(e.config.PIDs); err == nil {
		e.rssMax = max(e.rssMax, rss)
	}
}

// memory returns the server's memory, without garbage if it can be asked.
func (e *engine) memory() (int64, error) {
	if len(e.config.PIDs) == 0 {
		return 0, nil
	}
	e.watchMemory()
	if e.config.Collect != nil {
		if err := e.config.Collect(); err != nil {
			return 0, fmt.Errorf("collect garbage: %w", err)
		}
	}
	return rssOf(e.config.PIDs)
}
