package transport

import "slices"

// deliver delivers a batch of commits, in order. If a group has several broadcasts that do
// not follow each other, all commits for one connection are combined into one write.
// Otherwise only consecutive broadcasts to one group are.
func (s *shard) deliver(batch []op) {
	for len(batch) > 0 {
		n := s.segmentLength(batch)
		if s.repeats(batch[:n]) {
			n = s.deliverMixed(batch[:n])
		} else {
			s.deliverRuns(batch[:n])
		}
		s.letWritersTry()
		batch = batch[n:]
	}
}

// segmentBytes limits the commits that are delivered together. So few bytes are queued
// before the writers of all connections may run, and a client that reads does not become
// slow.
const segmentBytes = gatherBytes

// segmentLength returns the number of commits at the start of batch that may be
// delivered together. A commit that closes a connection is delivered alone.
func (s *shard) segmentLength(batch []op) int {
	n, size := 0, 0
	for n < len(batch) && batch[n].kind != opClose && size <= s.hub.segmentBytes {
		if batch[n].frame != nil {
			size += batch[n].frame.charge
		}
		n++
	}
	return max(n, 1)
}

// repeats reports whether a segment has broadcasts to the same partition that do not
// follow each other. Then it is cheaper to combine all commits per connection.
func (s *shard) repeats(segment []op) bool {
	s.segment++
	var last *partition
	for i := range segment {
		part := segment[i].partition
		if segment[i].kind != opBroadcast {
			last = nil
			continue
		}
		if part != last && part.segment == s.segment {
			return true
		}
		part.segment = s.segment
		last = part
	}
	return false
}

// deliverRuns delivers commits in order. Consecutive broadcasts to one group are
// combined, so that each of its connections costs one write.
func (s *shard) deliverRuns(batch []op) {
	for len(batch) > 0 {
		n := 1
		switch o := &batch[0]; o.kind {
		case opBroadcast:
			n = runLength(batch)
			s.deliverRun(batch[:n])
		case opSend:
			if w := o.deliverSend(); w.held() {
				w.drain()
			}
		case opClose:
			if w, first := o.conn.markClosing(o.frame, End{Cause: o.cause}); first {
				o.conn.startClose(w)
			}
		case opAdd:
			o.partition.add(o.seat)
		case opRemove:
			o.partition.remove(o.seat)
		}
		batch = batch[n:]
	}
}

// runLength returns the number of broadcasts to one partition at the start of
// batch, up to the size of one write.
func runLength(batch []op) int {
	n, size := 0, 0
	for n < len(batch) && batch[n].kind == opBroadcast && batch[n].partition == batch[0].partition {
		size += batch[n].frame.size()
		if n > 0 && size > chunkSize {
			break
		}
		n++
	}
	return n
}

// deliverMixed queues commits to several groups and connections, and then writes
// to each of their connections once. It returns the number of commits: when enough is
// queued for a connection that it will write to, it leaves the rest to the next call.
func (s *shard) deliverMixed(batch []op) (n int) {
	var writers []writer
	full := false
	push := func(c *Conn, it item) {
		c.mu.Lock()
		if w := c.pushLocked(it); w.held() {
			writers = append(writers, w)
			c.combining = true
		}
		full = full || c.combining && c.queuedBytes >= chunkSize
		c.mu.Unlock()
	}
	for ; n < len(batch) && !full; n++ {
		switch o := &batch[n]; o.kind {
		case opBroadcast:
			o.setPartial(true)
			for _, seat := range o.partition.seats {
				if !seat.partial {
					push(seat.Conn, o.item(seat))
				}
			}
			o.setPartial(false)
		case opSend:
			o.conn.committed.Add(-int64(o.frame.charge))
			push(o.conn, item{o.frame, o.seat})
		case opAdd:
			o.partition.add(o.seat)
		case opRemove:
			o.partition.remove(o.seat)
		}
	}
	for _, w := range writers {
		w.conn.combining = false
		w.drain()
	}
	return n
}

// deliverRun writes consecutive broadcasts to one partition to each of its
// connections. Idle connections share the combined bytes.
func (s *shard) deliverRun(ops []op) {
	run := combinedRun{ops: ops, compressFrom: s.hub.cfg.CompressFrom}
	for i := range ops {
		run.handled = run.handled || ops[i].handled
		ops[i].setPartial(true)
	}
	for _, seat := range ops[0].partition.seats {
		if c := seat.Conn; run.handled || seat.partial {
			c.queueRun(seat, ops)
		} else if w := c.acquireIdle(); w.held() {
			w.write(run.chunk(c.enc))
		} else {
			c.queueRun(seat, ops)
		}
	}
	run.release()
	for i := range ops {
		ops[i].setPartial(false)
	}
}

// queueRun queues the frames of ops for a seat, and writes them if no other goroutine
// does.
func (c *Conn) queueRun(seat *Seat, ops []op) {
	var w writer
	c.mu.Lock()
	for i := range ops {
		if o := &ops[i]; !seat.partial || !o.excepts(seat) {
			if got := c.pushLocked(o.item(seat)); got.held() {
				w = got
			}
		}
	}
	c.mu.Unlock()
	if w.held() {
		w.drain()
	}
}

// deliverSend delivers an opSend. If the result is held, the caller must call its
// drain.
func (o *op) deliverSend() writer {
	o.conn.committed.Add(-int64(o.frame.charge))
	return o.conn.push(item{o.frame, o.seat})
}

func (o *op) item(seat *Seat) item {
	if o.handled {
		return item{o.frame, seat}
	}
	return item{frame: o.frame}
}

// setPartial marks the seats of this shard that do not receive the broadcast.
func (o *op) setPartial(partial bool) {
	if o.seat != nil && o.seat.Conn.shard == o.partition.shard {
		o.seat.partial = partial
	}
	for _, seat := range o.except {
		if seat.Conn.shard == o.partition.shard {
			seat.partial = partial
		}
	}
}

func (o *op) excepts(seat *Seat) bool {
	return o.seat == seat || slices.Contains(o.except, seat)
}

// A combinedRun combines the frames of consecutive broadcasts, once per encoding.
type combinedRun struct {
	ops          []op
	handled      bool // the seats' owners see some of the frames first
	compressFrom int
	combined     [encodings]chunk
}

// chunk returns the frames in an encoding. Several frames are in a buffer that is
// valid until release.
func (r *combinedRun) chunk(e encoding) chunk {
	k := &r.combined[e]
	if k.bytes != nil {
		return chunk{bytes: k.bytes, shared: k.shared}
	}
	if len(r.ops) == 1 {
		k.bytes = r.ops[0].frame.bytes(e, r.compressFrom)
	} else {
		*k = newChunk()
		k.shared = true
		for i := range r.ops {
			k.bytes = r.ops[i].frame.append(k.bytes, e, r.compressFrom)
		}
	}
	return chunk{bytes: k.bytes, shared: k.shared}
}

func (r *combinedRun) release() {
	for i := range r.combined {
		r.combined[i].release()
	}
}
