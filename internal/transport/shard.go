package transport

import (
	"runtime"
	"sync"
	"sync/atomic"
)

// A shard contains a part of the hub's connections. While a goroutine drains it, or will do
// so soon, commits are appended to its queue. The goroutine that drains it takes the whole queue at once, and
// so combines the accumulated commits.
type shard struct {
	hub   *Hub
	index int

	mu        sync.Mutex // guards the following fields; see Locks in the package comment
	queue     []op
	spare     []op // the previous queue, to be reused
	draining  bool // a goroutine drains the queue, or has the Work to do so
	scheduled bool // a goroutine, or its Work, will claim the queue, unless another one does before
	drained   sync.Cond
	wheel     wheel

	segment uint64 // see repeats; owned by the goroutine that drains the queue

	workers workerPool

	commits atomic.Uint64 // that were appended to the queue
	backlog atomic.Int64  // bytes in queue, and in the batch being delivered
	lagging atomic.Bool   // more than OutboxBytes are queued for a client, and no writer tried to write them
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

// pushLocked appends o. If the shard was idle, the caller must add it to a Work. Otherwise
// another goroutine, or its Work, drains the queue.
func (s *shard) pushLocked(o op) {
	s.queue = append(s.queue, o)
	s.commits.Add(1)
	if o.frame != nil {
		s.backlog.Add(int64(o.frame.charge))
	}
	if o.kind == opSend {
		o.conn.committed.Add(int64(o.frame.charge))
	}
}

// idleLocked reports whether all commits were delivered. Then a commit for one connection
// can go to it directly.
func (s *shard) idleLocked() bool { return !s.draining && len(s.queue) == 0 }

// claimLocked makes the caller the goroutine that drains the queue. It returns false if
// there is one, or if the queue is empty.
func (s *shard) claimLocked() bool {
	if s.draining || len(s.queue) == 0 {
		return false
	}
	s.draining = true
	return true
}

// send commits a frame for one connection. If the shard is idle, the frame goes to
// the connection's outbox directly.
func (s *shard) send(w *Work, c *Conn, it item) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.idleLocked() {
		w.addWriter(c.push(it))
		return
	}
	s.pushLocked(op{kind: opSend, conn: c, frame: it.frame, seat: it.seat})
	w.addSharedLocked(s)
}

// close commits the last frame of a connection. It does not wait for more commits.
func (s *shard) close(w *Work, c *Conn, last *Frame, cause error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.idleLocked() {
		if writer, first := c.markClosing(last, End{Cause: cause}); first {
			w.addEnd(c, writer)
		}
		return
	}
	s.pushLocked(op{kind: opClose, conn: c, frame: last, cause: cause})
	w.addDrainLocked(s)
}

// drain delivers the commits in the queue until it is empty. It is called without
// locks, by the goroutine that claimed the queue. If inline, the goroutine belongs to a
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
