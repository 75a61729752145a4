package transport

import (
	"runtime"
	"sync/atomic"
	"time"
)

// Commits that are delivered together cost one write per connection. So before a queue is
// drained, other goroutines may commit:
//
//   - A broadcast to many connections starts a worker. It yields while more commits arrive.
//   - After a broadcast to few connections, the goroutine yields once. If no other goroutine
//     commits in this time, it drains the queue itself. Otherwise the hub is busy, and a
//     worker drains the queue later. Meanwhile, no goroutine has claimed the queue, so a
//     commit that must not wait, such as the end of a connection, can drain it immediately.
//
// There are no timers: yielding lets goroutines run that are ready, and returns.

// Limits of a worker that yields before it drains a queue.
const (
	maxYields   = 16
	gatherTime  = 2 * time.Millisecond
	gatherBytes = 512 << 10 // in a queue that is not claimed; chunkSize in one that is
)

// startWorker starts a goroutine that drains the queue, which the caller claimed.
func (s *shard) startWorker() {
	s.hub.tasks.Add()
	go func() {
		defer s.hub.tasks.Done()
		s.gather()
		s.drain(false)
	}()
}

// scheduleWorker starts a goroutine that drains the queue later, unless another goroutine
// does so before. The caller set scheduled.
func (s *shard) scheduleWorker() {
	s.hub.tasks.Add()
	go func() {
		defer s.hub.tasks.Done()
		s.gatherShared()
		s.mu.Lock()
		s.scheduled = false
		claimed := s.claimLocked()
		s.mu.Unlock()
		if claimed {
			s.drain(false)
		}
	}()
}

// gather lets other goroutines commit to a claimed queue. It returns when no more commits
// arrive (immediately, if no other goroutine is ready to run), or when there is enough for
// a full write. It never pauses: to write to many connections once more costs more than a
// yield that takes long.
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

// gatherShared is gather for a queue that is not claimed. It also returns while yields
// pause, and at other limits.
func (s *shard) gatherShared() {
	began := time.Now()
	for range maxYields {
		if s.backlog.Load() >= gatherBytes || time.Since(began) >= gatherTime || s.hub.yields.yield(s.commits.Load) == 0 {
			return
		}
	}
}

// drainShared drains a queue that addSharedLocked added to a Work, unless another goroutine
// did. If busy, a worker drains it later.
func (s *shard) drainShared(busy bool) {
	s.mu.Lock()
	busy = busy && s.backlog.Load() < gatherBytes // otherwise, this slows down the sender
	s.scheduled = busy && !s.draining && len(s.queue) > 0
	gather, drain := s.scheduled, !busy && s.claimLocked()
	s.mu.Unlock()
	switch {
	case gather:
		s.scheduleWorker()
	case drain:
		s.drain(true)
	}
}

// A yielder yields to goroutines that commit. A goroutine that computes delays a yield by
// the time slice of the scheduler, 10 ms. So after a yield that takes long and brings few
// commits, there are no yields for a while, and for twice as long after the next such
// yield. If several goroutines yielded at this time, this is one pause.
type yielder struct {
	began time.Time
	until atomic.Int64 // no yield before this time since began, in nanoseconds
	pause atomic.Int64 // the length of the last pause, in nanoseconds; 0 after a short yield that brought commits
}

// A yield may take yieldCost, and as long again for each commit that it brings. The others
// are the limits of a pause.
const (
	yieldCost     = time.Millisecond
	minYieldPause = 20 * time.Millisecond
	maxYieldPause = 10 * time.Second
)

// yield lets goroutines run that are ready, and returns by how much count grew.
func (y *yielder) yield(count func() uint64) (grown uint64) {
	began, until := time.Since(y.began), y.until.Load()
	if int64(began) < until {
		return 0
	}
	before := count()
	runtime.Gosched()
	grown = count() - before
	now := time.Since(y.began)
	if now-began > yieldCost*time.Duration(grown+1) {
		pause := min(max(2*time.Duration(y.pause.Load()), minYieldPause), maxYieldPause)
		if y.until.CompareAndSwap(until, int64(now+pause)) { // otherwise another goroutine waited at the same time
			y.pause.Store(int64(pause))
		}
	} else if grown > 0 && y.pause.Load() != 0 {
		y.pause.Store(0)
	}
	return grown
}
