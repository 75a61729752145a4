package transport

import "time"

// A client is slow if its socket accepted no data for a second while more than
// OutboxBytes are queued for it. Data that the server did not try to write yet says
// nothing about the client: other goroutines may have prevented the writer from
// running.
//
// Each check compares the state with that of the previous check. So a client has
// several chances after the whole process was stopped for a while.
const (
	slowAfter  = time.Second
	slowChecks = 4
)

// A watch checks whether a client is slow, while more than OutboxBytes are queued for
// it.
type watch struct {
	conn  *Conn
	timer *time.Timer

	// Owned by check.
	taken   int64 // at the previous check
	unacked int   // at the previous check
	stalled int   // checks without progress
}

// watchLocked starts a watch, unless there is one.
func (c *Conn) watchLocked() {
	if !c.writeBlocked.Load() {
		c.shard.lagging.Store(true)
	}
	if c.watched {
		return
	}
	c.watched = true
	w := &watch{conn: c, taken: c.taken.Load(), unacked: -1}
	w.timer = time.AfterFunc(slowAfter/slowChecks, func() { w.check() })
}

func (w *watch) check() {
	c := w.conn
	taken := c.taken.Load()
	c.mu.Lock()
	conn := c.net
	c.mu.Unlock()
	// The kernel wakes a writer only when a good part of the socket's buffer is free,
	// so the acknowledgements of its host show that a slow client reads.
	unacked, _ := unacknowledged(conn)
	if !c.writeBlocked.Load() || taken != w.taken || unacked != w.unacked {
		w.stalled = 0
	} else {
		w.stalled++
	}
	w.taken, w.unacked = taken, unacked

	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.state != open || c.queuedBytes <= c.hub.cfg.OutboxBytes:
		c.watched = false
	case w.stalled >= slowChecks && c.fitsLocked():
		c.watched = false
	case w.stalled >= slowChecks:
		c.overflowLocked()
	default:
		w.timer.Reset(slowAfter / slowChecks)
	}
}
