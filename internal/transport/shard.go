package transport

import (
	"runtime"
	"sync"
	"sync/atomic"
	"time"
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

	// Owned by the goroutine that drains the queue.
	segment       uint64        // the number of the last segment
	noYieldBefore time.Time     // see yield
	yieldPause    time.Duration // the last one; zero if a yield since then was worth its time

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

// Limits of gather: how often it yields, for how long, and the size of the queue.
const (
	maxYields   = 16
	gatherTime  = 2 * time.Millisecond
	gatherBytes = 512 << 10
)

// gather lets other goroutines commit before the queue is drained, because commits that
// are combined cost one write. It returns when no more commits arrive (immediately, if no
// other goroutine is ready to run), or at one of its limits.
func (s *shard) gather() {
	began := time.Now()
	for range maxYields {
		if s.backlog.Load() >= gatherBytes || s.yield() == 0 || time.Since(began) >= gatherTime {
			return
		}
	}
}

// Limits of yield: the time that each commit may cost, and of pauses.
const (
	yieldCost     = time.Millisecond
	minYieldPause = 20 * time.Millisecond
	maxYieldPause = 10 * time.Second
)

// yield lets goroutines run that are ready, and returns how many commits they queued. A
// goroutine that computes delays it by the time slice of the scheduler, 10 ms. So after a
// yield that takes long and brings few commits, the shard does not yield for a while, and
// for twice as long after the next one. The caller is the goroutine that set draining.
func (s *shard) yield() (commits int) {
	began := time.Now()
	if began.Before(s.noYieldBefore) {
		return 0
	}
	before := s.queued()
	runtime.Gosched()
	commits = s.queued() - before
	if now := time.Now(); now.Sub(began) > yieldCost*time.Duration(commits+1) {
		s.yieldPause = min(max(2*s.yieldPause, minYieldPause), maxYieldPause)
		s.noYieldBefore = now.Add(s.yieldPause)
	} else if commits > 0 {
		s.yieldPause = 0
	}
	return commits
}

// queued returns the number of commits in the queue.
func (s *shard) queued() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.queue)
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
