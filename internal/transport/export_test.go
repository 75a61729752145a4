package transport

import (
	"sync/atomic"
	"syscall"
)

// Waiting returns the bytes that wait for the client.
func (c *Conn) Waiting() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.waiting
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

// Encoded returns the frame as clients with that encoding get it.
func (f *Frame) Encoded(e encoding) []byte { return f.bytes(e, 0) }

// Hold makes all shards busy, so that what is committed piles up until release
// works it off. Nothing must be under way.
func (h *Hub) Hold() (release func()) {
	for _, s := range h.shards {
		s.mu.Lock()
		s.working = true
		s.mu.Unlock()
	}
	return func() {
		for _, s := range h.shards {
			s.work(false)
		}
	}
}

// Drop forgets what is queued in shards that are held.
func (h *Hub) Drop() {
	for _, s := range h.shards {
		s.mu.Lock()
		clear(s.queue)
		s.queue = s.queue[:0]
		s.backlog.Store(0)
		s.mu.Unlock()
	}
}

// Idle returns how many workers wait for work.
func (h *Hub) Idle() (n int) {
	for _, s := range h.shards {
		s.crew.mu.Lock()
		n += len(s.crew.idle)
		s.crew.mu.Unlock()
	}
	return n
}

// MaxIdle returns how many those may be.
func (h *Hub) MaxIdle() int { return maxIdle * len(h.shards) }

// CountWrites counts how often the connection sends something on the raw path. It is
// called before [Conn.Start], and so is CountReads.
func (c *Conn) CountWrites(n *atomic.Int64) { c.raw = countedRaw{c.raw, new(atomic.Int64), n} }

// CountReads counts how often the connection looks for something to read.
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
