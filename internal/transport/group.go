package transport

// A Group is a set of connections that frames can be broadcast to, such as the
// members of a channel. The zero Group is not ready: see [Group.Init]. Its
// methods are commits: the owner of the Group calls them one at a time, under
// the lock that fixes their order.
type Group struct {
	hub     *Hub
	sectors []sector // one for each shard
}

// A sector is a group's part of one shard.
type sector struct {
	shard *shard
	count int     // committed seats; owned by the Group's owner
	seats []*Seat // owned by whoever works the shard, or holds its mu while nobody does
}

// An Owner sees frames on their way to its seat.
type Owner interface {
	// Outgoing returns what the client gets instead of f, which may be f, or nil
	// for nothing. It is called on the goroutine that writes to the client, one
	// frame at a time, in order, and may take its time.
	Outgoing(f *Frame) *Frame
}

// A Seat is a connection's place in one Group.
type Seat struct {
	Conn  *Conn
	Owner Owner

	// Owned by whoever works the shard.
	pos     int
	special bool // not all frames of the current run are for this seat
}

// Init makes g ready.
func (g *Group) Init(h *Hub) {
	g.hub = h
	g.sectors = make([]sector, len(h.shards))
	for i, s := range h.shards {
		g.sectors[i].shard = s
	}
}

// Add commits that the seat's connection gets what is broadcast from now on.
func (g *Group) Add(seat *Seat) {
	sec := g.sector(seat)
	sec.count++
	s := sec.shard
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.working {
		s.push(op{kind: add, sector: sec, seat: seat})
	} else {
		sec.add(seat)
	}
}

// Remove commits that the seat's connection gets nothing more.
func (g *Group) Remove(seat *Seat) {
	sec := g.sector(seat)
	sec.count--
	s := sec.shard
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.working {
		s.push(op{kind: remove, sector: sec, seat: seat})
	} else {
		sec.remove(seat)
	}
}

// Broadcast commits f for all seats but those in except. If handled, the seats'
// owners see it first.
func (g *Group) Broadcast(w *Work, f *Frame, handled bool, except ...*Seat) {
	o := op{kind: broadcast, frame: f, handled: handled}
	if len(except) == 1 {
		o.seat = except[0]
	} else {
		o.except = except
	}
	for i := range g.sectors {
		sec := &g.sectors[i]
		if sec.count == 0 {
			continue
		}
		o.sector = sec
		w.seats += sec.count
		s := sec.shard
		s.mu.Lock()
		work := s.push(o)
		s.mu.Unlock()
		if work {
			w.shard(s)
		}
	}
}

// Send commits f for these seats alone. If handled, their owners see it first.
func (g *Group) Send(w *Work, f *Frame, handled bool, seats []*Seat) {
	for _, seat := range seats {
		it := item{frame: f}
		if handled {
			it.seat = seat
		}
		s := seat.Conn.shard
		if len(seats) == 1 {
			s.send(w, seat.Conn, it, nil)
			return
		}
		s.mu.Lock()
		if s.push(op{kind: send, conn: seat.Conn, frame: it.frame, seat: it.seat}) {
			w.shard(s)
		}
		s.mu.Unlock()
		w.seats++
	}
}

func (g *Group) sector(seat *Seat) *sector { return &g.sectors[seat.Conn.shard.index] }

func (sec *sector) add(seat *Seat) {
	seat.pos = len(sec.seats)
	sec.seats = append(sec.seats, seat)
}

func (sec *sector) remove(seat *Seat) {
	last := len(sec.seats) - 1
	moved := sec.seats[last]
	sec.seats[seat.pos], sec.seats[last] = moved, nil
	moved.pos = seat.pos
	sec.seats = sec.seats[:last]
	if cap(sec.seats) > 64 && last < cap(sec.seats)/4 {
		sec.seats = append(make([]*Seat, 0, cap(sec.seats)/2), sec.seats...)
	}
}
