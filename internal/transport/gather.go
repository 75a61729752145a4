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
//     worker drains the queue later. Meanwhile, no goroutine has the right to drain it, so a
//     commit that must not wait, such as the end of a connection, does so immediately.
//
// There are no timers: yielding lets goroutines run that are ready, and returns.

// Limits of a worker that yields before it drains a queue.
const (
	maxYields   = 16
	gatherTime  = 2 * time.Millisecond
	gatherBytes = 512 << 10 // in the queue, if it has broadcasts to few connections
)

// startWorker starts a goroutine that drains the queue. The caller set draining.
func (s *shard) startWorker() {
	s.hub.tasks.Add()
	go func() {
		defer s.hub.tasks.Done()
		s.gather(chunkSize)
		s.drain(false)
	}()
}

// startGathering starts a goroutine that drains the queue later, unless another goroutine
// does so before. The caller set gathering.
func (s *shard) startGathering() {
	s.hub.tasks.Add()
	go func() {
		defer s.hub.tasks.Done()
		s.gather(gatherBytes)
		s.mu.Lock()
		s.gathering = false
		claimed := s.claimLocked()
		s.mu.Unlock()
		if claimed {
			s.drain(false)
		}
	}()
}

// gather lets other goroutines commit. It returns when no more commits arrive
// (immediately, if no other goroutine is ready to run), or at a limit.
func (s *shard) gather(limit int64) {
	began := time.Now()
	for range maxYields {
		if s.backlog.Load() >= limit || time.Since(began) >= gatherTime || s.hub.yields.yield(s.commits.Load) == 0 {
			return
		}
	}
}

// share ends what addSharedLocked began: it drains the queue, unless another goroutine
// does. If the hub is busy, a worker drains it later.
func (s *shard) share(busy bool) {
	s.mu.Lock()
	s.gathering = busy && !s.draining && len(s.queue) > 0
	gather, drain := s.gathering, !busy && s.claimLocked()
	s.mu.Unlock()
	switch {
	case gather:
		s.startGathering()
	case drain:
		s.drain(true)
	}
}

// A yielder yields to goroutines that commit. A goroutine that computes delays a yield by
// the time slice of the scheduler, 10 ms. So after a yield that takes long and brings few
// commits, there are no yields for a while, and for twice as long after the next one.
type yielder struct {
	began time.Time
	until atomic.Int64 // no yield before this time since began, in nanoseconds
	pause atomic.Int64 // the length of the last pause, in nanoseconds; 0 if a yield was short since
}

// Limits of a yielder: the time that each commit may cost, and of pauses.
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
