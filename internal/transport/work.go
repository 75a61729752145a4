package transport

import "math/bits"

// Work is the part of commits that must be done after all locks are released. There are
// two kinds of it: connections that a commit reached directly, because their shard was
// idle, and shards whose queues must be drained. The zero Work is empty. Commits under
// one lock may share a Work.
type Work struct {
	first flush // the connections; usually there is one
	more  []flush

	hub    *Hub
	shards uint64 // one bit per shard whose queue is claimed
	shared uint64 // one bit per shard to drain, unless another goroutine does
	seats  int    // receivers of the commits; decides whether a worker drains the claimed shards
}

// A flush is a connection that must be written to, or whose end must be started.
type flush struct {
	conn   *Conn
	writer writer // held, unless another goroutine writes
	end    bool
}

// addWriter adds a connection to write to, if w is held.
func (work *Work) addWriter(w writer) {
	if w.held() {
		work.addFlush(flush{conn: w.conn, writer: w})
	}
}

// addEnd adds a connection that is closing.
func (work *Work) addEnd(c *Conn, w writer) { work.addFlush(flush{c, w, true}) }

func (work *Work) addFlush(f flush) {
	if work.first.conn == nil {
		work.first = f
	} else {
		work.more = append(work.more, f)
	}
}

// addDrainLocked adds a shard with a queue, unless another goroutine drains it.
func (work *Work) addDrainLocked(s *shard) {
	if s.claimLocked() {
		work.hub = s.hub
		work.shards |= 1 << s.index
	}
}

// addSharedLocked adds a shard with a queue. Until the Work is done, other goroutines may
// drain it instead.
func (work *Work) addSharedLocked(s *shard) {
	if !s.draining && !s.scheduled {
		s.scheduled = true
		work.hub = s.hub
		work.shared |= 1 << s.index
	}
}

// addBroadcastLocked adds a shard whose queue has a message for this number of seats.
func (work *Work) addBroadcastLocked(s *shard, seats int) {
	if seats <= inlineSeats {
		work.addSharedLocked(s)
	} else {
		work.addDrainLocked(s)
	}
}

// inlineSeats is the number of receivers up to which the goroutine that commits
// also writes, if the hub is not busy. Otherwise a worker of the shard writes, so that
// the caller does not wait.
const inlineSeats = 32

// Do does the work. It does not wait for clients, but may yield the processor.
func (work *Work) Do() {
	if work.first.conn != nil {
		work.first.do()
		for i := range work.more {
			work.more[i].do()
		}
	}
	for set := work.shards; set != 0; set &= set - 1 {
		s := work.hub.shards[bits.TrailingZeros64(set)]
		if work.seats <= inlineSeats {
			s.drain(true)
		} else {
			s.startWorker()
		}
	}
	if work.shared != 0 {
		work.drainShared()
	}
	*work = Work{}
}

// drainShared lets other goroutines commit. If none does, it drains the shared shards;
// otherwise their workers do.
func (work *Work) drainShared() {
	busy := work.hub.yields.yield(work.commits) > 0
	for set := work.shared; set != 0; set &= set - 1 {
		work.hub.shards[bits.TrailingZeros64(set)].drainShared(busy)
	}
}

// commits returns the number of commits to the shared shards.
func (work *Work) commits() (n uint64) {
	for set := work.shared; set != 0; set &= set - 1 {
		n += work.hub.shards[bits.TrailingZeros64(set)].commits.Load()
	}
	return n
}

func (f *flush) do() {
	if f.end {
		f.conn.startClose(f.writer)
	} else {
		f.writer.drain()
		f.conn.shard.letWritersTry()
	}
}
