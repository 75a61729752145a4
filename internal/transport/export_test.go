package transport

import (
	"fmt"
	"sync/atomic"
	"syscall"
	"time"
)

// Queued returns the bytes that are queued for the client.
func (c *Conn) Queued() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.queuedBytes
}

// Registered returns the number of connections on the wheels.
func (h *Hub) Registered() (n int) {
	for _, s := range h.shards {
		n += len(s.connections())
	}
	return n
}

// The encodings of event streams.
const (
	SSENamed          = sseNamed
	SSEUnnamed        = sseUnnamed
	SSENamedChunked   = sseNamedChunked
	SSEUnnamedChunked = sseUnnamedChunked
)

// Encoded returns the frame as clients with that encoding receive it.
func (f *Frame) Encoded(e encoding) []byte { return f.bytes(e, 0) }

// Hold makes all shards busy, so that commits are queued until release delivers
// them. The shards must be idle.
func (h *Hub) Hold() (release func()) {
	for _, s := range h.shards {
		s.mu.Lock()
		s.draining = true
		s.mu.Unlock()
	}
	return func() {
		for _, s := range h.shards {
			s.drain(false)
		}
	}
}

// Schedule makes all shards leave their queues to a worker that does not exist.
func (h *Hub) Schedule() {
	for _, s := range h.shards {
		s.mu.Lock()
		s.scheduled = true
		s.mu.Unlock()
	}
}

// YieldsPaused reports whether goroutines yield rarely, because that took too long.
func (h *Hub) YieldsPaused() bool { return h.yields.pause.Load() > 0 }

// ResumeYields ends a pause of yields.
func (h *Hub) ResumeYields() { h.yields.until.Store(0) }

// Drop drops the queues of shards that are held.
func (h *Hub) Drop() {
	for _, s := range h.shards {
		s.mu.Lock()
		for _, o := range s.queue {
			if o.kind == opSend {
				o.conn.committed.Add(-int64(o.frame.charge))
			}
		}
		clear(s.queue)
		s.queue = s.queue[:0]
		s.backlog.Store(0)
		s.mu.Unlock()
	}
}

// Idle returns the number of workers that wait for work.
func (h *Hub) Idle() (n int) {
	for _, s := range h.shards {
		s.workers.mu.Lock()
		n += len(s.workers.idle)
		s.workers.mu.Unlock()
	}
	return n
}

// MaxIdle returns the largest number of workers that wait for work.
func (h *Hub) MaxIdle() int { return maxIdle * len(h.shards) }

// CountWrites counts the direct writes to the connection. Call it before
// [Conn.Start]; the same holds for CountReads.
func (c *Conn) CountWrites(n *atomic.Int64) { c.raw = countedRaw{c.raw, new(atomic.Int64), n} }

// CountReads counts the direct reads from the connection.
func (c *Conn) CountReads(n *atomic.Int64) { c.raw = countedRaw{c.raw, n, new(atomic.Int64)} }

type countedRaw struct {
	syscall.RawConn
	reads, writes *atomic.Int64
}

func (r countedRaw) Read(f func(fd uintptr) bool) error {
	r.reads.Add(1)
	return r.RawConn.Read(f)
}

func (r countedRaw) Write(f func(fd uintptr) bool) error {
	r.writes.Add(1)
	return r.RawConn.Write(f)
}

// A Yielder is a yielder for tests.
type Yielder struct{ y yielder }

// NewYielder returns a Yielder that did not yield yet.
func NewYielder() *Yielder { return &Yielder{yielder{began: time.Now()}} }

// Yield yields, and reports whether it did. Instead of other goroutines, during runs, and
// returns the number of their commits.
func (y *Yielder) Yield(during func() uint64) (yielded bool) {
	y.y.yield(func() uint64 {
		if !yielded {
			yielded = true
			return 0
		}
		return during()
	})
	return yielded
}

// Unsettled describes a shard that still has work, or a commit that was not counted right,
// after all goroutines ended. It returns "" if there is none.
func (h *Hub) Unsettled() string {
	for i, s := range h.shards {
		s.mu.Lock()
		queued, draining, scheduled, backlog := len(s.queue), s.draining, s.scheduled, s.backlog.Load()
		s.mu.Unlock()
		committed := int64(0)
		for _, c := range s.connections() {
			committed += c.committed.Load()
			c.mu.Lock()
			if c.queuedBytes != 0 || c.queue != nil || c.combining || c.writing && c.state == open {
				committed += 1 << 40
			}
			c.mu.Unlock()
		}
		if queued != 0 || draining || scheduled || backlog != 0 || committed != 0 {
			return fmt.Sprintf("shard %d has %d commits, draining %v, scheduled %v, backlog %d, committed %d",
				i, queued, draining, scheduled, backlog, committed)
		}
	}
	return ""
}
