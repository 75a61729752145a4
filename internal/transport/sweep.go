package transport

import "slices"

// sweep works off a batch of commits, in order. Commits to one group that follow
// each other are joined, so that each of its connections costs one write.
func (s *shard) sweep(batch []op) {
	for len(batch) > 0 {
		o := &batch[0]
		n := 1
		switch o.kind {
		case broadcast:
			n = runLength(batch)
			if n == len(batch) || !mixed(batch) {
				s.sweepRun(batch[:n])
			} else {
				n = mixedLength(batch)
				s.sweepMixed(batch[:n])
			}
		case send:
			o.conn.mu.Lock()
			write := o.conn.push(item{o.frame, o.seat})
			o.conn.mu.Unlock()
			if write {
				o.conn.flush()
			}
		case bye:
			if write, first := o.conn.leave(o.frame, o.cause, false); first {
				o.conn.settle(write)
			}
		case add:
			o.sector.add(o.seat)
		case remove:
			o.sector.remove(o.seat)
		}
		batch = batch[n:]
	}
}

// runLength returns how many broadcasts to one sector the batch begins with.
func runLength(batch []op) int {
	n, size := 0, 0
	for n < len(batch) && batch[n].kind == broadcast && batch[n].sector == batch[0].sector {
		size += batch[n].frame.size()
		if n > 0 && size > chunkSize {
			break
		}
		n++
	}
	return n
}

// mixed reports whether commits to one sector return after others: joining them
// pays then, although they do not follow each other.
func mixed(batch []op) bool {
	first := batch[0].sector
	other := false
	for i := range batch[:min(len(batch), 256)] {
		switch {
		case batch[i].kind == bye:
			return false
		case batch[i].kind == broadcast && batch[i].sector == first:
			if other {
				return true
			}
		default:
			other = true
		}
	}
	return false
}

// mixedLength bounds what is queued for all connections before they are written to.
func mixedLength(batch []op) int {
	n, size := 0, 0
	for n < len(batch) && batch[n].kind != bye && size <= chunkSize {
		if batch[n].frame != nil {
			size += batch[n].frame.charge
		}
		n++
	}
	return n
}

// sweepMixed queues commits to several groups and connections for each of their
// receivers, and then writes to each of them once.
func (s *shard) sweepMixed(batch []op) {
	var dirty []*Conn
	push := func(c *Conn, it item) {
		c.mu.Lock()
		if c.push(it) {
			dirty = append(dirty, c)
		}
		c.mu.Unlock()
	}
	for i := range batch {
		switch o := &batch[i]; o.kind {
		case broadcast:
			o.mark(true)
			for _, seat := range o.sector.seats {
				if !seat.special {
					push(seat.Conn, o.item(seat))
				}
			}
			o.mark(false)
		case send:
			push(o.conn, item{o.frame, o.seat})
		case add:
			o.sector.add(o.seat)
		case remove:
			o.sector.remove(o.seat)
		}
	}
	for _, c := range dirty {
		c.flush()
	}
}

// sweepRun writes broadcasts to one sector to each of its connections.
func (s *shard) sweepRun(run []op) {
	handled := false
	for i := range run {
		handled = handled || run[i].handled
		run[i].mark(true)
	}
	j := joint{run: run, compressFrom: s.hub.cfg.CompressFrom}
	for _, seat := range run[0].sector.seats {
		c := seat.Conn
		if seat.special || handled || c.raw == nil {
			c.pushRun(seat, run, 0, nil)
			continue
		}
		c.mu.Lock()
		if c.state != open {
			c.mu.Unlock()
			continue
		}
		if c.busy {
			c.mu.Unlock()
			c.pushRun(seat, run, 0, nil)
			continue
		}
		c.busy = true
		c.mu.Unlock()
		b := j.bytes(c.enc)
		n, err := c.tryWrite(b)
		switch {
		case err != nil:
			c.Cut(err)
		case n < len(b):
			i, rest := j.rest(c.enc, n)
			c.pushRun(seat, run, i, rest)
		default:
			c.flush() // gives up busy, or finds what has come meanwhile
		}
	}
	j.release()
	for i := range run {
		run[i].mark(false)
	}
}

// pushRun queues the run's frames for a seat, but for the first skip. If rest is
// not nil, the caller is busy: rest has to be written before.
func (c *Conn) pushRun(seat *Seat, run []op, skip int, rest []byte) {
	write := false
	c.mu.Lock()
	for i := range run[skip:] {
		if o := &run[skip+i]; !seat.special || !o.excepts(seat) {
			write = c.push(o.item(seat)) || write
		}
	}
	c.mu.Unlock()
	switch {
	case rest != nil:
		c.startWriter(chunk{bytes: rest})
	case write:
		c.flush()
	}
}

func (o *op) item(seat *Seat) item {
	if o.handled {
		return item{o.frame, seat}
	}
	return item{frame: o.frame}
}

// mark tells the seats that the broadcast is not for. Those in other shards belong
// to the workers of these.
func (o *op) mark(special bool) {
	if o.seat != nil && o.seat.Conn.shard == o.sector.shard {
		o.seat.special = special
	}
	for _, seat := range o.except {
		if seat.Conn.shard == o.sector.shard {
			seat.special = special
		}
	}
}

func (o *op) excepts(seat *Seat) bool {
	return o.seat == seat || slices.Contains(o.except, seat)
}

// joint is a run of frames, joined once for each encoding.
type joint struct {
	run          []op
	compressFrom int
	joined       [encodings]chunk
	ends         [encodings][]int // of the frames in joined, if there are several
}

func (j *joint) bytes(e encoding) []byte {
	k := &j.joined[e]
	if k.bytes == nil {
		if len(j.run) == 1 {
			k.bytes = j.run[0].frame.bytes(e, j.compressFrom)
		} else {
			k.pooled = chunks.Get().(*[]byte)
			k.bytes = *k.pooled
			for i := range j.run {
				k.bytes = j.run[i].frame.append(k.bytes, e, j.compressFrom)
				j.ends[e] = append(j.ends[e], len(k.bytes))
			}
		}
	}
	return k.bytes
}

// rest returns what is left when n bytes have been written: the rest of a frame,
// and the index of the frame behind it.
func (j *joint) rest(e encoding, n int) (next int, rest []byte) {
	if len(j.run) == 1 {
		return 1, j.joined[e].bytes[n:] // immutable, so it can be kept
	}
	for i, end := range j.ends[e] {
		if n < end {
			return i + 1, append([]byte(nil), j.joined[e].bytes[n:end]...)
		}
	}
	return len(j.run), nil
}

func (j *joint) release() {
	for i := range j.joined {
		j.joined[i].release()
	}
}
