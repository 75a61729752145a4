package transport

// A Group is a set of connections that frames can be broadcast to, such as the
// members of a channel. Call Init before use. The other methods are commits: the
// owner of the Group calls them one at a time, while it holds the lock that fixes
// their order.
type Group struct {
	hub        *Hub
	partitions []partition // one per shard
	count      int         // committed seats
}

// A partition is a group's part of one shard.
type partition struct {
	shard *shard
	count int     // committed seats; owned by the Group's owner
	seats []*Seat // owned by the goroutine that drains the shard; if there is none, guarded by shard.mu

	segment uint64 // the last segment with a broadcast to it; owned by the goroutine that drains the shard
}

// An Owner sees frames before they are written to its seat.
type Owner interface {
	// Outgoing sets result to the frame that the client receives instead of f, which may
	// be f, or nil for none. It is called on the goroutine that writes to the client, one
	// frame at a time, in order, and may be slow. Even if it ends the goroutine
	// (runtime.Goexit), result is sent.
	Outgoing(f *Frame, result **Frame)
}

// A Seat is the membership of a connection in one Group.
type Seat struct {
	Conn  *Conn
	Owner Owner

	// Owned by the goroutine that drains the shard.
	pos     int
	partial bool // some frames of the current run are not for this seat
}

// Init prepares g for use.
func (g *Group) Init(h *Hub) {
	g.hub = h
	g.partitions = make([]partition, len(h.shards))
	for i, s := range h.shards {
		g.partitions[i].shard = s
	}
}

// partitionSize is the size of a partition in bytes.
const partitionSize = 48

// Cost returns the approximate memory of g without connections, in bytes.
func (g *Group) Cost() int { return len(g.partitions) * partitionSize }

// Add commits that the seat's connection receives later broadcasts.
func (g *Group) Add(seat *Seat) {
	part := g.partition(seat)
	part.count++
	g.count++
	s := part.shard
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.idleLocked() {
		part.add(seat)
	} else {
		s.pushLocked(op{kind: opAdd, partition: part, seat: seat})
	}
}

// Remove commits that the seat's connection receives no later broadcasts.
func (g *Group) Remove(seat *Seat) {
	part := g.partition(seat)
	part.count--
	g.count--
	s := part.shard
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.idleLocked() {
		part.remove(seat)
	} else {
		s.pushLocked(op{kind: opRemove, partition: part, seat: seat})
	}
}

// Broadcast commits f for all seats except those in except. If handled is set, the
// seats' owners see it first.
func (g *Group) Broadcast(w *Work, f *Frame, handled bool, except ...*Seat) {
	o := op{kind: opBroadcast, frame: f, handled: handled}
	if len(except) == 1 {
		o.seat = except[0]
	} else {
		o.except = except
	}
	w.seats += g.count
	for i := range g.partitions {
		part := &g.partitions[i]
		if part.count == 0 {
			continue
		}
		o.partition = part
		s := part.shard
		s.mu.Lock()
		s.pushLocked(o)
		w.addBroadcastLocked(s, g.count)
		s.mu.Unlock()
	}
}

// Send commits f for these seats alone. If handled is set, their owners see it
// first.
func (g *Group) Send(w *Work, f *Frame, handled bool, seats []*Seat) {
	for _, seat := range seats {
		it := item{frame: f}
		if handled {
			it.seat = seat
		}
		s := seat.Conn.shard
		if len(seats) == 1 {
			s.send(w, seat.Conn, it)
			return
		}
		s.mu.Lock()
		s.pushLocked(op{kind: opSend, conn: seat.Conn, frame: it.frame, seat: it.seat})
		w.addBroadcastLocked(s, len(seats))
		s.mu.Unlock()
		w.seats++
	}
}

func (g *Group) partition(seat *Seat) *partition { return &g.partitions[seat.Conn.shard.index] }

func (part *partition) add(seat *Seat) {
	seat.pos = len(part.seats)
	part.seats = append(part.seats, seat)
}

func (part *partition) remove(seat *Seat) {
	last := len(part.seats) - 1
	moved := part.seats[last]
	part.seats[seat.pos], part.seats[last] = moved, nil
	moved.pos = seat.pos
	part.seats = part.seats[:last]
	if cap(part.seats) > 64 && last < cap(part.seats)/4 {
		part.seats = append(make([]*Seat, 0, cap(part.seats)/2), part.seats...)
	}
}
