package transport

import (
	"math/bits"
	"runtime"
	"sync"
	"sync/atomic"
)

// A shard carries a part of the hub's connections. Commits append to its queue
// while it is working; its worker, which exists only as long as there is work,
// takes the whole queue at once and so joins what has piled up.
type shard struct {
	hub   *Hub
	index int

	mu      sync.Mutex // guards the following fields; see Locks in the package comment
	queue   []op
	spare   []op // the last queue, to be used again
	working bool // somebody works, or has the Work to do so
	drained sync.Cond
	wheel   wheel

	crew crew

	backlog atomic.Int64 // bytes in queue, and on the worker's table
}

// An op is one commit as one shard sees it.
type op struct {
	kind    opKind
	frame   *Frame
	sector  *sector // of broadcast, add and remove
	seat    *Seat   // of add and remove; of broadcast: not this one; of send: the seat whose owner sees the frame first
	except  []*Seat // of broadcast: not these
	conn    *Conn   // of send and bye
	cause   error   // of bye
	handled bool    // of broadcast: the seats' owners see the frame first
}

type opKind uint8

const (
	broadcast opKind = iota
	send
	bye
	add
	remove
)

// push appends o and reports whether the caller gets the Work of working it off.
// It is called with mu held.
func (s *shard) push(o op) (work bool) {
	s.queue = append(s.queue, o)
	if o.frame != nil {
		s.backlog.Add(int64(o.frame.charge))
	}
	work = !s.working
	s.working = true
	return work
}

// send commits a frame, or a goodbye with its cause, for one connection.
func (s *shard) send(w *Work, c *Conn, it item, cause error) {
	kind := send
	if cause != nil {
		kind = bye
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.working {
		s.push(op{kind: kind, conn: c, frame: it.frame, seat: it.seat, cause: cause})
		return
	}
	if kind == bye {
		write, first := c.leave(it.frame, cause, false)
		if first {
			w.flush(flush{c, write, true})
		}
		return
	}
	c.mu.Lock()
	write := c.push(it)
	c.mu.Unlock()
	if write {
		w.flush(flush{c, true, false})
	}
}

// work works the queue off. The caller holds no lock and has the right to work.
// If inline, it is somebody's own goroutine: one round, then a worker takes over.
func (s *shard) work(inline bool) {
	var batch []op
	var done int64
	for {
		s.mu.Lock()
		s.backlog.Add(-done)
		if batch != nil {
			s.spare = batch[:0]
		}
		s.drained.Broadcast()
		if len(s.queue) == 0 {
			s.working = false
			s.mu.Unlock()
			return
		}
		if batch != nil && inline {
			s.mu.Unlock()
			s.startWorker()
			return
		}
		batch, s.queue, s.spare = s.queue, s.spare, nil
		s.mu.Unlock()

		done = 0
		for i := range batch {
			if batch[i].frame != nil {
				done += int64(batch[i].frame.charge)
			}
		}
		s.sweep(batch)
		clear(batch)
		if cap(batch) > 4096 {
			batch = []op{} // a burst is over: do not keep its memory
		}
	}
}

func (s *shard) startWorker() {
	s.hub.tasks.Add()
	go func() {
		defer s.hub.tasks.Done()
		s.gather()
		s.work(false)
	}()
}

// maxYields bounds how long a worker waits for more to join: a turn of the
// scheduler may take long when all processors are busy.
const maxYields = 16

// gather lets whoever is about to commit something do so before the queue is worked
// off, for what is joined costs one write. It returns when nothing more has come,
// which is at once if nobody else is ready to run, or when a write is full.
func (s *shard) gather() {
	before := int64(0)
	for range maxYields {
		now := s.backlog.Load()
		if now <= before || now >= chunkSize {
			return
		}
		before = now
		runtime.Gosched()
	}
}

// pace waits until not too much is waiting in this shard.
func (s *shard) pace(limit int64) {
	if s.backlog.Load() <= limit {
		return
	}
	s.mu.Lock()
	for s.backlog.Load() > limit {
		s.drained.Wait()
	}
	s.mu.Unlock()
}

// maxShards is as many as [Work] can name.
const maxShards = 64

// Work is what commits leave to be done when no lock is held any more. The zero
// Work is empty. Commits under one lock may share a Work.
type Work struct {
	hub    *Hub
	shards uint64 // a bit for each shard to be worked
	seats  int    // receivers of what was committed, to judge its size
	first  flush
	more   []flush
}

// A flush is a connection that is to be written to.
type flush struct {
	conn   *Conn
	write  bool // busy was set for us
	ending bool
}

func (w *Work) flush(f flush) {
	if w.first.conn == nil {
		w.first = f
	} else {
		w.more = append(w.more, f)
	}
}

func (w *Work) shard(s *shard) {
	w.hub = s.hub
	w.shards |= 1 << s.index
}

// inlineSeats is up to how many receivers whoever commits writes to by itself.
// That saves a hop; for more of them, workers keep the caller from waiting.
const inlineSeats = 32

// Do does the work. It does not wait for clients.
func (w *Work) Do() {
	if w.first.conn != nil {
		w.first.do()
		for _, f := range w.more {
			f.do()
		}
	}
	for set := w.shards; set != 0; set &= set - 1 {
		s := w.hub.shards[bits.TrailingZeros64(set)]
		if w.seats <= inlineSeats {
			s.work(true)
		} else {
			s.startWorker()
		}
	}
	*w = Work{}
}

func (f flush) do() {
	switch {
	case f.ending:
		f.conn.settle(f.write)
	case f.write:
		f.conn.flush()
	}
}
