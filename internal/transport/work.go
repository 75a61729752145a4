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
	shards uint64 // one bit per shard to drain
	seats  int    // receivers of the commits, to estimate the cost of draining
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

// addDrain adds a shard to drain.
func (work *Work) addDrain(s *shard) {
	work.hub = s.hub
	work.shards |= 1 << s.index
}

// inlineSeats is the number of receivers up to which the goroutine that commits
// also writes. For more receivers, the shard's worker writes, so that the caller
// does not wait.
const inlineSeats = 32

// Do does the work. It does not wait for clients.
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
	*work = Work{}
}

func (f *flush) do() {
	if f.end {
		f.conn.startClose(f.writer)
	} else {
		f.writer.drain()
		f.conn.shard.letWritersTry()
	}
}
