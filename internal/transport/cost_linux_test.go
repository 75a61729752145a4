//go:build linux && !386 && !race

package transport_test

import (
	"math"
	"net"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/pondsocket/pond/internal/transport"
)

// The tests of this file count the cost of a delivery on real sockets: system calls
// that write, and allocations. Both are the same on a slow machine.

// members is the number of connections that receive a message.
const members = 100

// A crowd is a group of clients on loopback that read all data, at no cost.
type crowd struct {
	hub    *transport.Hub
	conns  []*transport.Conn
	group  transport.Group
	writes *atomic.Int64 // system calls that sent data
	read   atomic.Int64  // bytes, by all
	want   atomic.Int64  // of them
	done   chan struct{} // has a value when all bytes were read
}

func newCrowd(t testing.TB, header string) *crowd {
	cfg := testConfig()
	cfg.Compress = true
	s := serve(t, cfg)
	s.writes = new(atomic.Int64)
	c := &crowd{hub: s.hub, writes: s.writes, done: make(chan struct{}, 1)}
	c.group.Init(s.hub)
	for range members {
		conn := dial(t, s, header).Conn
		c.conns = append(c.conns, receive(t, s.conns).Conn)
		c.group.Add(&transport.Seat{Conn: c.conns[len(c.conns)-1]})
		go c.drain(conn)
	}
	return c
}

func (c *crowd) drain(conn net.Conn) {
	buf := make([]byte, 64<<10)
	for {
		n, err := conn.Read(buf)
		if c.read.Add(int64(n)) == c.want.Load() {
			c.done <- struct{}{}
		}
		if err != nil {
			return
		}
	}
}

// broadcast sends n frames, and returns when all were read. If joined, they are
// committed while all shards are busy.
func (c *crowd) broadcast(n, wireSize int, joined bool) {
	c.want.Add(int64(n * wireSize * members))
	release := func() {}
	if joined {
		release = c.hub.Hold()
	}
	for range n {
		var w transport.Work
		c.group.Broadcast(&w, frame(sample), false)
		w.Do()
	}
	release()
	<-c.done
}

var sample = `{"text":"` + strings.Repeat("pond ", 23) + `"}`

// plainSize is with the header of a WebSocket frame. The sample is too short to be
// compressed.
const plainSize = 126 + 4

func TestCostOfDelivery(t *testing.T) {
	for _, tc := range []struct {
		name       string
		broadcasts int
		joined     bool
		writes     int64 // of all connections together
	}{
		{"one message is one write each", 1, false, members},
		{"what piles up is joined into one write each", 16, true, members},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := newCrowd(t, "Sec-WebSocket-Extensions: permessage-deflate\r\n")
			c.broadcast(1, plainSize, false) // fills the pools
			before := c.writes.Load()
			c.broadcast(tc.broadcasts, plainSize, tc.joined)
			if got := c.writes.Load() - before; got != tc.writes {
				t.Errorf("%d messages to %d connections cost %d writes, want %d", tc.broadcasts, members, got, tc.writes)
			}
		})
	}
}

// If several publishers are ready at the same time, with a message each, their
// receivers get one write, even if the shards are idle. Sometimes the scheduler runs
// the worker before them.
func TestPublishersAreJoined(t *testing.T) {
	const publishers, rounds = 16, 10
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1)) // so that all are ready before the first one finishes
	c := newCrowd(t, "")
	c.broadcast(1, plainSize, false) // fills the pools
	before := c.writes.Load()
	var mu sync.Mutex // a channel's
	for range rounds {
		c.want.Add(publishers * plainSize * members)
		for range publishers {
			go func() {
				var w transport.Work
				mu.Lock()
				c.group.Broadcast(&w, frame(sample), false)
				mu.Unlock()
				w.Do()
			}()
		}
		<-c.done
	}
	if got := c.writes.Load() - before; got > rounds*members*3/2 {
		t.Errorf("%d times %d messages to %d connections cost %d writes, want about %d",
			rounds, publishers, members, got, rounds*members)
	}
}

// The same holds for the messages of several small rooms that arrive in turns, unless the
// operating system runs other programs in the meantime.
func TestSmallRoomsAreCombined(t *testing.T) {
	const rooms, publishers, attempts = 5, 50, 50
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	c := newCrowd(t, "")
	c.broadcast(1, plainSize, false) // fills the pools
	groups := make([]transport.Group, rooms)
	for i := range groups {
		groups[i].Init(c.hub)
	}
	for i, conn := range c.conns {
		groups[i%rooms].Add(&transport.Seat{Conn: conn})
	}
	least := int64(math.MaxInt64)
	var mu [rooms]sync.Mutex
	for range attempts {
		c.hub.ResumeYields()
		before := c.writes.Load()
		c.want.Add(publishers * plainSize * members / rooms)
		for i := range publishers {
			go func() {
				var w transport.Work
				mu[i%rooms].Lock()
				groups[i%rooms].Broadcast(&w, frame(sample), false)
				mu[i%rooms].Unlock()
				w.Do()
			}()
		}
		<-c.done
		if least = min(least, c.writes.Load()-before); least <= members*3/2 {
			return
		}
	}
	t.Errorf("%d messages to %d rooms of %d cost at least %d writes, want about %d", publishers, rooms, members/rooms, least, members)
}

// A handler for outgoing frames that does not return delays only its own client: the
// messages of the others are still combined.
func TestSlowHandlerDoesNotEndCombining(t *testing.T) {
	const rooms, messages, behind = 5, 500, 500
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	c := newCrowd(t, "")
	c.broadcast(1, plainSize, false) // fills the pools
	handler := &slowHandler{entered: make(chan struct{}, behind), finish: make(chan struct{})}
	defer close(handler.finish)
	groups := make([]transport.Group, rooms)
	for i := range groups {
		groups[i].Init(c.hub)
		groups[i].Add(&transport.Seat{Conn: c.conns[0]})
	}
	c.want.Add(2 * rooms * plainSize)
	release := c.hub.Hold()
	for i := range 2 * rooms { // combined for this client, too, before its handler runs
		broadcast(&groups[i%rooms], frame(sample))
	}
	release()
	<-c.done
	var alone transport.Group
	alone.Init(c.hub)
	alone.Add(&transport.Seat{Conn: c.conns[0], Owner: handler})
	for range behind {
		var w transport.Work
		alone.Broadcast(&w, frame(sample), true)
		w.Do()
	}
	<-handler.entered
	for i, conn := range c.conns[1:] {
		groups[i%rooms].Add(&transport.Seat{Conn: conn})
	}
	before := c.writes.Load()
	c.want.Add(messages / rooms * plainSize * (members - 1))
	release = c.hub.Hold()
	for i := range messages {
		broadcast(&groups[i%rooms], frame(sample))
	}
	release()
	<-c.done
	if got := c.writes.Load() - before; got > members*3/2 {
		t.Errorf("%d messages to %d rooms cost %d writes, want about %d", messages, rooms, got, members)
	}
}

type slowHandler struct{ entered, finish chan struct{} }

func (h *slowHandler) Outgoing(f *transport.Frame, result **transport.Frame) {
	h.entered <- struct{}{}
	<-h.finish
	*result = f
}

// A publisher that sends continuously does not delay its receivers until a write is
// full, although there are always more messages to combine.
func TestJoiningEnds(t *testing.T) {
	const most, full = 50, 450 // messages
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	c := newCrowd(t, "")
	c.broadcast(1, plainSize, false) // fills the pools
	before, n := c.writes.Load(), 0
	for ; n < full && c.writes.Load() == before; n++ {
		var w transport.Work
		c.group.Broadcast(&w, frame("{}"), false)
		w.Do()
		runtime.Gosched()
	}
	if n > most {
		t.Errorf("the first write comes after %d messages, want at most %d", n, most)
	}
}

// A worker does not wait for more messages than fit into a write.
func TestJoiningEndsWithAFullWrite(t *testing.T) {
	const size, most, full = 16 << 10, 8, 50 // bytes, and messages
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	c := newCrowd(t, "")
	text := strings.Repeat("x", size)
	before, n := c.writes.Load(), 0
	for ; n < full && c.writes.Load() == before; n++ {
		broadcast(&c.group, frame(text))
		runtime.Gosched()
	}
	if n > most {
		t.Errorf("the first write comes after %d messages of %d bytes, want at most %d", n, size, most)
	}
}

// Senders do not yield again and again to a goroutine that computes.
func TestLongYieldsPause(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	c := newCrowd(t, "")
	var room transport.Group
	room.Init(c.hub)
	for _, conn := range c.conns[:10] {
		room.Add(&transport.Seat{Conn: conn})
	}
	send := func() {
		c.want.Add(10 * plainSize)
		var w transport.Work
		room.Broadcast(&w, frame(sample), false)
		w.Do()
		<-c.done
	}
	var stop atomic.Bool
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for !stop.Load() {
		}
	}()
	for range 3 { // the readers of the test may run first
		send()
	}
	stop.Store(true)
	<-ended
	if !c.hub.YieldsPaused() {
		t.Error("goroutines yield as often as before")
	}
}

// A broadcast allocates its frame and a worker, but nothing that grows with the number
// of members.
func TestDeliveryAllocatesNothing(t *testing.T) {
	const most = 12
	c := newCrowd(t, "")
	if got := testing.AllocsPerRun(100, func() { c.broadcast(1, plainSize, false) }); got > most {
		t.Errorf("a message to %d connections costs %v allocations, want at most %d in all", members, got, most)
	}
}
