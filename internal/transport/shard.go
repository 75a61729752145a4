package transport

import (
	"runtime"
	"sync"
	"sync/atomic"
)

// A shard contains a part of the hub's connections. While it is being drained, commits
// append to its queue. The goroutine that drains it takes the whole queue at once, and
// so combines the accumulated commits.
type shard struct {
	hub   *Hub
	index int

	mu       sync.Mutex // guards the following fields; see Locks in the package comment
	queue    []op
	spare    []op // the previous queue, to be reused
	draining bool // a goroutine drains the queue, or has the Work to do so
	drained  sync.Cond
	wheel    wheel

	workers workerPool

	backlog atomic.Int64 // bytes in queue, and in the batch being delivered
	lagging atomic.Bool  // more than OutboxBytes are queued for a client, and no writer tried to write them
}

// maxShards is the number of shards that [Work] can hold.
const maxShards = 64

// An op is the part of a commit for one shard.
type op struct {
	kind      opKind
	frame     *Frame
	partition *partition // of opBroadcast, opAdd and opRemove
	seat      *Seat      // of opAdd and opRemove; of opBroadcast: not this one; of opSend: its owner sees the frame first
	except    []*Seat    // of opBroadcast: not these
	conn      *Conn      // of opSend and opClose
	cause     error      // of opClose
	handled   bool       // of opBroadcast: the seats' owners see the frame first
}

type opKind uint8

const (
	opBroadcast opKind = iota
	opSend
	opClose
	opAdd
	opRemove
)

// pushLocked appends o. It returns true if no goroutine drains the queue: then the
// caller must do so, after releasing all locks.
func (s *shard) pushLocked(o op) (drain bool) {
	s.queue = append(s.queue, o)
	if o.frame != nil {
		s.backlog.Add(int64(o.frame.charge))
	}
	if o.kind == opSend {
		o.conn.committed.Add(int64(o.frame.charge))
	}
	drain = !s.draining
	s.draining = true
	return drain
}

// send commits a frame for one connection. If the shard is idle, the frame goes to
// the connection's outbox directly.
func (s *shard) send(w *Work, c *Conn, it item) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.draining {
		s.pushLocked(op{kind: opSend, conn: c, frame: it.frame, seat: it.seat})
		return
	}
	w.addWriter(c.push(it))
}

// close commits the last frame of a connection.
func (s *shard) close(w *Work, c *Conn, last *Frame, cause error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.draining {
		s.pushLocked(op{kind: opClose, conn: c, frame: last, cause: cause})
		return
	}
	if writer, first := c.markClosing(last, End{Cause: cause}); first {
		w.addEnd(c, writer)
	}
}

// drain delivers the commits in the queue until it is empty. It is called without
// locks, by the goroutine that set draining. If inline, the goroutine belongs to a
// sender: it delivers one batch, then a worker takes over.
func (s *shard) drain(inline bool) {
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
			s.draining = false
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
		s.deliver(batch)
		s.letWritersTry()
		clear(batch)
		if cap(batch) > 4096 {
			batch = []op{} // free the memory of a burst
		}
	}
}

// letWritersTry lets writers run that the caller prevented from running. Otherwise a
// goroutine that sends a lot could fill the outbox of a client that reads.
func (s *shard) letWritersTry() {
	if s.lagging.Load() && s.lagging.Swap(false) {
		runtime.Gosched()
	}
}

// startWorker starts a goroutine that drains the queue.
func (s *shard) startWorker() {
	s.hub.tasks.Add()
	go func() {
		defer s.hub.tasks.Done()
		s.gather()
		s.drain(false)
	}()
}

// maxYields limits how often a worker yields for more commits: one turn of the
// scheduler may take long when all processors are busy.
const maxYields = 16

// gather lets goroutines that are ready to commit do so before the queue is
// drained, because commits that are combined cost one write. It returns when no more
// commits arrive (immediately, if no other goroutine is ready to run), or when there is
// enough for a full write.
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

// pace waits until at most limit bytes are queued in this shard.
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
