package load

import (
	"context"
	"fmt"
	"math"
	"math/bits"
	"math/rand/v2"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// An engine is the state that the loops of one run share. Fields that are not atomic do
// not change while the loops run.
type engine struct {
	config     Config
	dialect    Dialect
	traits     Traits
	targets    []netip.AddrPort // config.Addr and config.Nodes
	began      time.Time
	id         uint32 // of the run, random
	padding    []byte
	allClients []*client
	rooms      []*room
	loops      []*loop

	publishing atomic.Bool  // clients publish
	churning   atomic.Bool  // clients that joined leave and connect again
	quota      atomic.Int64 // remaining messages, if config.Messages is set
	expected   atomic.Int64 // deliveries
	from       atomic.Int64 // start of the measurement

	running sync.WaitGroup
	rssMax  int64
}

// clock returns the nanoseconds since the start of the run.
func (e *engine) clock() int64 { return int64(time.Since(e.began)) }

func newEngine(config Config) (*engine, error) {
	var targets []netip.AddrPort
	for _, text := range append([]string{config.Addr}, config.Nodes...) {
		addr, err := netip.ParseAddrPort(text)
		if err != nil {
			return nil, fmt.Errorf("address %q: %w", text, err)
		}
		targets = append(targets, netip.AddrPortFrom(addr.Addr().Unmap(), addr.Port()))
	}
	e := &engine{
		config:  config,
		dialect: config.Dialect,
		traits:  config.Dialect.Traits(),
		targets: targets,
		began:   time.Now(),
		id:      rand.Uint32N(1 << (6 * runDigits)), //nolint:gosec // not a secret
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

// postersPerLoop is the number of connections for POST requests per loop.
const postersPerLoop = 32

// populate makes the rooms and clients. Client n is in room n modulo the number of
// rooms, so the first clients are the publishers of all rooms.
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
		c.Recover = cfg.Scenario == Recover || cfg.Positions
		if cfg.Scenario.allPublish() || cfg.Scenario.chat() && n < cfg.Rooms {
			c.pub = &publisher{client: c, loop: l, room: r, window: e.window()}
			if cfg.Scenario != Echo {
				c.pub.pos = len(r.publishers)
				r.publishers = append(r.publishers, c.pub)
			}
		}
		e.allClients = append(e.allClients, c)
		l.clients = append(l.clients, c)
		r.full = r.full.plus(one(uint64(n)))
	}
	for _, c := range e.allClients {
		c.seen = make([]uint32, max(1, len(c.room.publishers)))
	}
}

// targetOf returns the server to which a client connects next.
func (e *engine) targetOf(c *client) netip.AddrPort {
	if e.config.Place == nil {
		return e.targets[0]
	}
	return e.targets[e.config.Place(c.Number, c.recovering)]
}

// thread returns the index of the loop that serves client n. All clients of a room have
// the same loop if there are at least as many rooms as loops.
func (e *engine) thread(n int) int {
	if e.config.Rooms >= e.config.Threads {
		return n % e.config.Rooms * e.config.Threads / e.config.Rooms
	}
	return n * e.config.Threads / e.config.Clients
}

// window returns the table of the messages in flight of one publisher. It is larger than
// InFlight, so that messages can complete out of order.
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

// stalls reports whether c will stop reading. The first clients never do, because they
// publish.
func (e *engine) stalls(c *client) bool { return c.Number >= e.config.Clients-e.config.Stalled }

func (e *engine) start() {
	for _, l := range e.loops {
		e.running.Go(l.run)
	}
}

// each runs f in all loops, one after the other, and waits.
func (e *engine) each(f func(l *loop)) {
	for _, l := range e.loops {
		l.call(func() { f(l) })
	}
}

// stop ends the loops and closes the remaining connections.
func (e *engine) stop() {
	for _, l := range e.loops {
		l.do(func() { l.over = true })
	}
	e.running.Wait()
}

// totals returns the sum of the counters of all loops.
func (e *engine) totals() (c counters) {
	for _, l := range e.loops {
		l.mu.Lock()
		c.add(l.published)
		l.mu.Unlock()
	}
	return c
}

// await waits until done returns true, until nothing happened for config.LostAfter, or,
// if d is positive, for d. It reports whether done returned true.
func (e *engine) await(ctx context.Context, phase string, d time.Duration, done func(counters) bool) (bool, error) {
	ticker := time.NewTicker(2 * time.Millisecond)
	defer ticker.Stop()
	began, changed, reported := time.Now(), time.Now(), time.Now()
	before := e.totals()
	for {
		now := e.totals()
		if done(now) {
			return true, nil
		}
		if now != before {
			before, changed = now, time.Now()
		}
		if d > 0 && time.Since(began) >= d || time.Since(changed) >= e.config.LostAfter {
			return false, nil
		}
		if time.Since(reported) > 200*time.Millisecond {
			reported = time.Now()
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

// memory returns the server's memory, after garbage collection if config.Collect is set.
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
