package transport

import (
	"sync"

	"github.com/pondsocket/pond/internal/ws"
)

// An item is a frame that is queued for one client.
type item struct {
	frame *Frame
	seat  *Seat // not nil: the frame passes through the owner of the seat
}

// A queue holds the frames that are queued for one client. Idle connections have
// none.
type queue struct{ items []item }

var queues = sync.Pool{New: func() any { return &queue{items: make([]item, 0, 8)} }}

func (q *queue) release() {
	clear(q.items)
	if cap(q.items) <= 256 {
		q.items = q.items[:0]
		queues.Put(q)
	}
}

// push is pushLocked for a caller that does not hold mu.
func (c *Conn) push(it item) writer {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.pushLocked(it)
}

// maxOutbox is the factor of OutboxBytes that may be queued for a client that reads too
// slowly. A client that does not read is closed earlier: see watch.
const maxOutbox = 4

// pushLocked queues it, unless the connection ended or its outbox is full. If the
// result is held, the caller must call its drain after releasing all locks.
func (c *Conn) pushLocked(it item) writer {
	if c.state != open {
		return writer{}
	}
	if charge := it.frame.charge; c.queuedBytes+charge > c.hub.crowdedBytes && !c.makeRoomLocked(charge) {
		return writer{}
	}
	c.appendLocked(it)
	return c.acquireLocked()
}

// HasRoom reports whether f can be queued for the client without closing it because
// its outbox is full. Frames of other senders may still use this space.
func (c *Conn) HasRoom(f *Frame) bool {
	c.mu.Lock()
	queued := c.queuedBytes
	c.mu.Unlock()
	queued += int(c.committed.Load())
	return queued == 0 || queued+f.charge <= maxOutbox*c.hub.cfg.OutboxBytes
}

func (c *Conn) appendLocked(it item) {
	if c.queue == nil {
		c.queue = queues.Get().(*queue)
	}
	c.queue.items = append(c.queue.items, it)
	c.queuedBytes += it.frame.charge
}

// prependLocked queues a frame before all others.
func (c *Conn) prependLocked(it item) {
	c.appendLocked(it)
	items := c.queue.items
	copy(items[1:], items)
	items[0] = it
}

// dropLocked drops the queued frames. A writer drops the frames that it took.
func (c *Conn) dropLocked() {
	if c.queue != nil {
		c.queue.release()
		c.queue = nil
	}
	c.queuedBytes = 0
	c.dropSending = true
}

// overflowLocked closes a connection whose client does not keep up. The queued
// frames are dropped; the close frame follows the current write, if the client
// still takes it. Another goroutine does that, because the caller holds locks.
func (c *Conn) overflowLocked() {
	c.dropLocked()
	c.markClosingLocked(c.lastFrame(ws.CloseTryAgainLater, "too slow"), End{Cause: ErrSlow})
	w := c.acquireLocked()
	c.hub.tasks.Add()
	go func() {
		defer c.hub.tasks.Done()
		c.startClose(w)
	}()
}
