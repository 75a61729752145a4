package transport_test

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/pondsocket/pond/internal/transport"
	"github.com/pondsocket/pond/internal/ws"
)

// Several goroutines commit to several groups at once: broadcasts, frames for some seats,
// replies, new and removed seats, and ends of connections. Each client receives exactly the
// frames that were committed for it, in order, and no commit is left in a queue.
func TestCrossfire(t *testing.T) {
	const conns, bursts, acts = 40, 28, 12
	for _, procs := range []int{1, 2, 4} {
		t.Run(fmt.Sprint(procs), func(t *testing.T) {
			defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(procs))
			synctest.Test(t, func(t *testing.T) {
				x := newCrossfire(t)
				defer x.end()
				// After each burst, all commits must be delivered without another one.
				for i := range bursts {
					x.dial(conns)
					x.burst(1<<(i%4), acts)
					x.check()
				}
			})
		})
	}
}

// A crossfire has a clock that advances with each commit, so that it knows which commits
// happened one after the other.
type crossfire struct {
	t     *testing.T
	seed  uint64
	n     uint64 // bursts
	hub   *transport.Hub
	rooms []*fireRoom
	conns []*fireConn

	clock atomic.Int64
	mu    sync.Mutex // guards shots
	shots []*shot    // by ID
}

// A shot is a frame. It was committed between start and end.
type shot struct {
	id         int
	kind       string
	start, end int64
}

// frame returns a frame with the ID of the shot.
func (s *shot) frame(size int) *transport.Frame {
	f := frame(strconv.Itoa(s.id) + " " + strings.Repeat("x", size))
	f.Meta = s.id
	return f
}

// A fireRoom is a group and its owner.
type fireRoom struct {
	mu    sync.Mutex
	group transport.Group
	seats []*fireSeat
}

type fireSeat struct {
	transport.Seat
	conn *fireConn
}

// Outgoing drops some frames, and ends the goroutine after others.
func (*fireSeat) Outgoing(f *transport.Frame, result **transport.Frame) {
	id := f.Meta.(int)
	if dropped(id) {
		return
	}
	*result = f
	if id%11 == 5 {
		runtime.Goexit()
	}
}

func dropped(id int) bool { return id%7 == 3 }

func (room *fireRoom) addLocked(c *fireConn) {
	seat := &fireSeat{conn: c}
	seat.Conn, seat.Owner = c.Conn, seat
	room.group.Add(&seat.Seat)
	room.seats = append(room.seats, seat)
}

func (room *fireRoom) removeLocked(i int) {
	room.group.Remove(&room.seats[i].Seat)
	room.seats = slices.Delete(room.seats, i, i+1)
}

// find returns the index of the seat of c, or -1.
func (room *fireRoom) find(c *fireConn) int {
	return slices.IndexFunc(room.seats, func(s *fireSeat) bool { return s.conn == c })
}

// A fireConn is a connection and its client.
type fireConn struct {
	*peer
	replies sync.Mutex      // fixes the order of replies
	mu      sync.Mutex      // guards want
	want    map[any][]*shot // by what fixes their order: the room, or nil for replies

	closeStart, closeEnd atomic.Int64 // when it was closed; 0 if it was not
	aborted              atomic.Bool

	far  net.Conn
	dec  ws.Decoder
	got  []int // IDs; owned by the goroutine that reads
	code int   // of the close frame
}

func (c *fireConn) ending() bool { return c.closeStart.Load() != 0 || c.aborted.Load() }

func (c *fireConn) expect(from any, s *shot) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.want[from] = append(c.want[from], s)
}

// read is the client.
func (c *fireConn) read(t *testing.T) {
	defer c.far.Close()
	br := bufio.NewReader(c.far)
	if _, err := http.ReadResponse(br, nil); err != nil {
		t.Error(err)
		return
	}
	buf := make([]byte, 4096)
	for c.code == 0 {
		n, err := br.Read(buf)
		if err := c.dec.Feed(buf[:n], c.sink()); err != nil {
			t.Error(err)
		}
		if err != nil {
			return
		}
	}
}

// sink separates the client's methods from those of the peer.
func (c *fireConn) sink() ws.Sink { return (*fireSink)(c) }

type fireSink fireConn

func (c *fireSink) Message(_ ws.Opcode, data []byte) error {
	word, _, _ := strings.Cut(string(data), " ")
	id, err := strconv.Atoi(word)
	c.got = append(c.got, id)
	return err
}

func (c *fireSink) Control(ws.Opcode, []byte) error { return nil }

func (c *fireSink) PeerClosed(code int, _ string) error {
	c.code = code
	return nil
}

func newCrossfire(t *testing.T) *crossfire {
	x := &crossfire{t: t, seed: rand.Uint64(), hub: transport.NewHub(testConfig())}
	for range 4 {
		room := new(fireRoom)
		room.group.Init(x.hub)
		x.rooms = append(x.rooms, room)
	}
	return x
}

func (x *crossfire) end() {
	for _, c := range x.conns {
		c.Abort(transport.ErrClosed)
	}
}

// dial replaces the connections that ended. Most of them join the first room, so that it is
// large.
func (x *crossfire) dial(n int) {
	x.conns = slices.DeleteFunc(x.conns, func(c *fireConn) bool {
		if c.ending() {
			for _, room := range x.rooms {
				if i := room.find(c); i >= 0 {
					room.removeLocked(i)
				}
			}
		}
		return c.ending()
	})
	for len(x.conns) < n {
		near, far := net.Pipe()
		c := &fireConn{peer: newPeer(), want: map[any][]*shot{}, far: far}
		c.dec.Init(&ws.Config{}, ws.Client, false)
		tr, err := x.hub.AcceptWebSocket(hijackable{conn: near}, ws.Handshake{Key: "dGhlIHNhbXBsZSBub25jZQ=="}, c.peer)
		if err != nil {
			x.t.Fatal(err)
		}
		c.Conn = tr
		x.conns = append(x.conns, c)
		x.rooms[0].addLocked(c)
		go c.read(x.t)
		c.Start()
	}
	synctest.Wait()
}

// burst returns when all goroutines have nothing to do.
func (x *crossfire) burst(senders, acts int) {
	for i := range senders {
		r := rand.New(rand.NewPCG(x.seed, x.n<<8|uint64(i)))
		go func() {
			for range 1 + r.IntN(acts) {
				if r.IntN(6) == 0 {
					x.direct(r)
				} else {
					x.commit(r)
				}
			}
		}()
	}
	x.n++
	synctest.Wait()
}

func (x *crossfire) shot(kind string, start int64) *shot {
	x.mu.Lock()
	defer x.mu.Unlock()
	s := &shot{id: len(x.shots), kind: kind, start: start}
	x.shots = append(x.shots, s)
	return s
}

// direct commits for one connection, without a room.
func (x *crossfire) direct(r *rand.Rand) {
	c := x.conns[r.IntN(len(x.conns))]
	switch r.IntN(60) {
	case 0:
		c.aborted.Store(true)
		c.Abort(transport.ErrClosed)
		return
	case 1:
		c.closeStart.CompareAndSwap(0, x.clock.Add(1))
		c.Close(ws.CloseNormal, "", transport.ErrClosed)
		c.closeEnd.CompareAndSwap(0, x.clock.Add(1))
		return
	}
	s := x.shot("reply", x.clock.Add(1))
	var w transport.Work
	c.replies.Lock()
	c.Queue(&w, s.frame(r.IntN(30)), nil)
	c.expect(nil, s)
	c.replies.Unlock()
	s.end = x.clock.Add(1)
	w.Do()
}

// commit makes a few commits in one room, which share a Work.
func (x *crossfire) commit(r *rand.Rand) {
	room := x.rooms[r.IntN(len(x.rooms))]
	start := x.clock.Add(1)
	var w transport.Work
	var shots []*shot
	var closed []*fireConn
	room.mu.Lock()
	for range 1 + r.IntN(4) {
		c := x.conns[r.IntN(len(x.conns))]
		switch at, k := room.find(c), r.IntN(160); {
		case k < 110:
			shots = append(shots, x.shootLocked(&w, r, room, start))
		case k < 159 && at < 0:
			room.addLocked(c)
		case k < 159:
			room.removeLocked(at)
		default:
			c.closeStart.CompareAndSwap(0, start)
			c.QueueClose(&w, ws.CloseNormal, "", transport.ErrClosed)
			closed = append(closed, c)
		}
	}
	room.mu.Unlock()
	end := x.clock.Add(1)
	for _, s := range shots {
		s.end = end
	}
	for _, c := range closed {
		c.closeEnd.CompareAndSwap(0, end)
	}
	if r.IntN(3) == 0 {
		runtime.Gosched() // another goroutine commits before the work is done
	}
	w.Do()
}

// shootLocked commits a broadcast with a few exceptions, or a frame for a few seats.
func (x *crossfire) shootLocked(w *transport.Work, r *rand.Rand, room *fireRoom, start int64) *shot {
	var named []*transport.Seat
	n := []int{0, 0, 0, 1, 2, len(room.seats)}[r.IntN(6)]
	for _, i := range r.Perm(len(room.seats))[:min(n, len(room.seats))] {
		named = append(named, &room.seats[i].Seat)
	}
	size := r.IntN(50)
	if r.IntN(40) == 0 {
		size = 12 << 10
	}
	s := x.shot("broadcast", start)
	handled, some := r.IntN(10) == 0, r.IntN(3) == 0
	if some {
		s.kind = "send"
		room.group.Send(w, s.frame(size), handled, named)
	} else {
		room.group.Broadcast(w, s.frame(size), handled, named...)
	}
	for _, seat := range room.seats {
		if slices.Contains(named, &seat.Seat) == some && !(handled && dropped(s.id)) {
			seat.conn.expect(room, s)
		}
	}
	return s
}

// check compares what the clients received with what was committed for them. It is called
// when no other goroutine runs.
func (x *crossfire) check() {
	if work := x.hub.Unsettled(); work != "" {
		x.t.Error(work)
	}
	for i, c := range x.conns {
		x.checkOrder(i, c)
		x.checkAll(i, c)
	}
	if x.t.Failed() {
		x.t.Fatalf("seed %d, burst %d", x.seed, x.n)
	}
}

// checkOrder compares the order of frames with the clock.
func (x *crossfire) checkOrder(i int, c *fireConn) {
	latest := int64(0)
	closed := c.closeEnd.Load()
	for _, id := range c.got {
		s := x.shots[id]
		if s.end < latest {
			x.t.Errorf("client %d got %s %d after one that was committed later", i, s.kind, id)
		}
		latest = max(latest, s.start)
		if closed != 0 && s.start > closed {
			x.t.Errorf("client %d got %s %d, which was committed after the end", i, s.kind, id)
		}
	}
}

// checkAll compares the frames, and the order of those from one room.
func (x *crossfire) checkAll(i int, c *fireConn) {
	at := map[int]int{} // positions
	for pos, id := range c.got {
		at[id] = pos
	}
	known, closed := 0, c.closeStart.Load()
	for _, want := range c.want {
		last, missing := -1, false
		for _, s := range want {
			pos, ok := at[s.id]
			switch {
			case !ok:
				missing = true
				if !c.aborted.Load() && (closed == 0 || s.end < closed) {
					x.t.Errorf("client %d did not get %s %d", i, s.kind, s.id)
				}
				continue
			case missing || pos < last:
				x.t.Errorf("client %d got %s %d in the wrong order", i, s.kind, s.id)
			}
			last = pos
			known++
		}
	}
	if known != len(c.got) {
		x.t.Errorf("client %d got %d frames, %d of them are for it", i, len(c.got), known)
	}
	if closed != 0 && !c.aborted.Load() && c.code == 0 {
		x.t.Errorf("client %d got no close frame", i)
	}
}
