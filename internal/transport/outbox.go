package transport

import (
	"sync"
	"time"
)

// chunkSize is how much is joined into one write. A write costs the same for a
// hundred bytes and for some thousands, so joining is what saves time.
const chunkSize = 32 << 10

// An item is a frame that waits for one client.
type item struct {
	frame *Frame
	seat  *Seat // not nil: the frame passes through the owner of the seat
}

// A queue holds what waits for one client. Idle connections have none.
type queue struct{ items []item }

var queues = sync.Pool{New: func() any { return &queue{items: make([]item, 0, 8)} }}

func (q *queue) release() {
	clear(q.items)
	if cap(q.items) <= 256 {
		q.items = q.items[:0]
		queues.Put(q)
	}
}

// push queues it and reports whether the caller must [Conn.flush], because
// nobody is writing. It is called with mu held.
func (c *Conn) push(it item) (flush bool) {
	if c.state != open {
		return false
	}
	if c.waiting+it.frame.charge > c.hub.cfg.OutboxBytes && c.waiting > 0 {
		c.overflowLocked()
		return false
	}
	c.pushLocked(it)
	if c.busy {
		return false
	}
	c.busy = true
	return true
}

func (c *Conn) pushLocked(it item) {
	if c.queue == nil {
		c.queue = queues.Get().(*queue)
	}
	c.queue.items = append(c.queue.items, it)
	c.waiting += it.frame.charge
}

func (c *Conn) dropLocked() {
	if c.queue != nil {
		c.queue.release()
		c.queue = nil
	}
	c.waiting = 0
}

// overflowLocked ends a connection whose client does not keep up. What waits is
// dropped; the goodbye follows what is being written, if the client still takes
// it. The Receiver hears of it from a goroutine of its own, because the caller
// holds locks.
func (c *Conn) overflowLocked() {
	c.dropLocked()
	c.leaveLocked(c.goodbye(slowCode, "too slow"), ErrSlow)
	start := !c.busy
	c.busy = true
	c.hub.tasks.Add()
	go func() {
		defer c.hub.tasks.Done()
		c.settle(start)
	}()
}

// settle does what follows when a connection begins to end: it tells the
// Receiver, and sees to it that the goodbye does not wait for ever. flush says
// whether the caller set busy.
func (c *Conn) settle(flush bool) {
	c.limitGoodbye()
	if flush {
		c.flush()
	}
	c.end()
}

// slowCode is 1013, try again later: the client may come back (rule S-5).
const slowCode = 1013

// limitGoodbye bounds the write that is under way when a connection begins to end.
func (c *Conn) limitGoodbye() {
	c.mu.Lock()
	until := c.until
	c.mu.Unlock()
	if !until.IsZero() {
		c.limitWrites(until)
	}
}

// limitWrites sets the deadline of writes; the zero time is none.
func (c *Conn) limitWrites(deadline time.Time) {
	if c.net != nil {
		_ = c.net.SetWriteDeadline(deadline)
	} else {
		c.body.limit(deadline)
	}
}

// kick flushes what was queued before Start.
func (c *Conn) kick() {
	c.mu.Lock()
	start := !c.busy && c.queue != nil
	c.busy = c.busy || start
	c.mu.Unlock()
	if start {
		c.flush()
	}
}

// flush writes what waits, and is called by whoever set busy, without locks. It
// does not wait: what the socket does not take at once is left to a writer, and
// so is what keeps coming.
func (c *Conn) flush() {
	for range 4 {
		if c.raw == nil {
			break
		}
		next, found := c.next(false)
		if found == nothing {
			return
		}
		if found == handlers {
			break
		}
		n, err := c.tryWrite(next.bytes)
		if err != nil {
			next.release()
			c.Cut(err)
			return
		}
		if n < len(next.bytes) {
			next.written = n
			c.startWriter(next)
			return
		}
		next.release()
	}
	c.startWriter(chunk{})
}

func (c *Conn) startWriter(first chunk) {
	c.hub.tasks.Add()
	go c.write(first)
}

// write is the writer: it exists while something waits, and joins what does.
func (c *Conn) write(next chunk) {
	defer c.hub.tasks.Done()
	for found := something; found != nothing; next, found = c.next(true) {
		var err error
		if rest := next.bytes[next.written:]; len(rest) > 0 {
			err = c.writeAll(rest)
		}
		next.release()
		if err != nil {
			c.Cut(err)
			return
		}
	}
}

// writeAll writes b, and waits for the client as long as WriteTimeout allows, or
// the goodbye.
func (c *Conn) writeAll(b []byte) (err error) {
	c.limitWrites(time.Now().Add(c.hub.cfg.WriteTimeout))
	c.limitGoodbye() // which may have begun while we set another limit
	if c.net == nil {
		err = c.body.write(b)
	} else {
		_, err = c.net.Write(b)
	}
	if err != nil && isTimeout(err) {
		return ErrSlow
	}
	// tryWrite refuses to work behind a deadline that has passed, and an HTTP/2
	// stream is reset by one although nobody writes.
	c.limitWrites(time.Time{})
	return err
}

// A chunk is what goes out in one write.
type chunk struct {
	bytes   []byte
	written int
	pooled  *[]byte // where bytes comes from, if it goes back
}

var chunks = sync.Pool{New: func() any { b := make([]byte, 0, chunkSize); return &b }}

func (k *chunk) release() {
	if k.pooled != nil && cap(k.bytes) <= 4*chunkSize {
		*k.pooled = k.bytes[:0]
		chunks.Put(k.pooled)
	}
	*k = chunk{}
}

// What next has found.
type found uint8

const (
	nothing   found = iota // the caller is no longer busy
	something              // a chunk
	handlers               // the next frame has to pass through handlers
)

// next returns what is to be written next: a single frame as it is, or several
// joined. If nothing waits, it gives up busy. Handlers for outgoing frames may
// take their time, so they run only if mayWait says so. It is called by whoever
// set busy, without locks.
func (c *Conn) next(mayWait bool) (chunk, found) {
	for {
		items := c.take()
		if items == nil {
			return chunk{}, nothing
		}
		if items[0].seat != nil && !mayWait {
			return chunk{}, handlers
		}
		if k := c.join(items, mayWait); len(k.bytes) > 0 {
			return k, something
		}
	}
}

// join joins the first of items into a chunk.
func (c *Conn) join(items []item, mayWait bool) chunk {
	first := items[0]
	if first.seat == nil && (len(items) == 1 && first.frame.lazy == nil || first.frame.long()) {
		c.took(1, first.frame.charge)
		return chunk{bytes: first.frame.bytes(c.enc, c.hub.cfg.CompressFrom)}
	}
	k := chunk{pooled: chunks.Get().(*[]byte)}
	k.bytes = *k.pooled
	n, charge := 0, 0
	for _, it := range items {
		if len(k.bytes) >= chunkSize || it.seat != nil && !mayWait || it.seat == nil && n > 0 && it.frame.long() {
			break
		}
		n++
		charge += it.frame.charge
		if it.seat != nil {
			it.frame = it.seat.Owner.Outgoing(it.frame)
		}
		if it.frame != nil {
			k.bytes = it.frame.append(k.bytes, c.enc, c.hub.cfg.CompressFrom)
		}
	}
	c.took(n, charge)
	if len(k.bytes) == 0 {
		k.release()
	}
	return k
}

// took records that n items will not wait any more.
func (c *Conn) took(n, charge int) {
	c.sent += n
	c.mu.Lock()
	c.waiting = max(0, c.waiting-charge)
	c.mu.Unlock()
}

// take returns what waits, or gives up busy and returns nil.
func (c *Conn) take() []item {
	c.mu.Lock()
	if c.sending != nil && c.sent == len(c.sending.items) {
		c.sending.release()
		c.sending = nil
	}
	if c.sending == nil {
		c.sending, c.queue, c.sent = c.queue, nil, 0
	}
	if c.state == closed || c.sending == nil {
		c.sending = nil
		c.busy = false
		said := c.state == draining
		c.mu.Unlock()
		if said {
			c.farewell()
		}
		return nil
	}
	items := c.sending.items[c.sent:]
	c.mu.Unlock()
	return items
}
