package transport

import "time"

// A writer is the right to write to the socket of one connection. The zero writer
// is not held.
//
// At most one goroutine holds it:
//
//   - Before Start, no goroutine holds it or can acquire it. So a connection whose
//     first write fails does not end before its owner registers it. Start is the first
//     to hold it.
//   - acquireLocked gives it to a goroutine that queued a frame, if no other goroutine
//     holds it.
//   - The holder calls drain or write after it released its locks. They do not wait for
//     the client: if the socket does not accept all data, they pass the right to a new
//     goroutine, which may wait.
//   - next takes the queued frames. If there are none, it releases the right. Both
//     happen under the lock under which frames are queued, so no frame is left
//     behind.
//   - After an error, the right is never released, because no goroutine may write
//     again.
//
// A goroutine that queues a frame while another one holds the right does not write: the
// holder writes the frame as well.
type writer struct{ conn *Conn }

// held reports whether w is the right to write.
func (w writer) held() bool { return w.conn != nil }

// acquireLocked returns the right to write, or the zero writer if another
// goroutine holds it.
func (c *Conn) acquireLocked() writer {
	if c.writing {
		return writer{}
	}
	c.writing = true
	return writer{c}
}

// acquireIdle returns the right to write if the connection is open and idle, and
// can be written to directly.
func (c *Conn) acquireIdle() writer {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.state != open || c.raw == nil {
		return writer{}
	}
	return c.acquireLocked()
}

// drain writes the queued frames; see write.
func (w writer) drain() { w.write(chunk{}) }

// maxRounds limits how often write looks for more frames. A goroutine that sends
// must not become the writer of others that keep sending.
const maxRounds = 5

// write writes k, which may be empty, and then the queued frames, and releases the
// right to write. It is called without locks. It does not wait: another goroutine
// continues when the socket is full, when a handler for outgoing frames must run,
// or after maxRounds.
func (w writer) write(k chunk) {
	c := w.conn
	for range maxRounds {
		if c.raw == nil {
			break
		}
		if rest := k.rest(); len(rest) > 0 {
			n, err := c.tryWrite(rest)
			if err != nil {
				k.release()
				c.writeFailed(err)
				return
			}
			if k.written += n; n < len(rest) {
				break
			}
		}
		k.release()
		var result nextResult
		if result = w.next(&k, false); result == empty {
			return
		} else if result == needsHandler {
			break
		}
	}
	if rest := len(k.rest()); rest > 0 && k.charge == 0 { // it was not queued before
		k.charge = rest
		c.mu.Lock()
		c.queuedBytes += rest
		c.mu.Unlock()
	}
	c.hub.tasks.Add()
	go w.writeAndWait(k.own())
}

// writeAndWait is write in a goroutine of its own, which may wait. It exists while
// frames are queued. If a handler for outgoing frames ends the goroutine
// (runtime.Goexit), another goroutine continues with the next frame.
func (w writer) writeAndWait(k chunk) {
	c := w.conn
	ended := true
	defer func() {
		if ended {
			go w.writeAndWait(k)
			return
		}
		c.hub.tasks.Done()
	}()
	for result := found; result != empty; result = w.next(&k, true) {
		err := c.writeAll(k.rest())
		k.release()
		if err != nil {
			c.writeFailed(err)
			break
		}
	}
	ended = false
}

// A long chunk is written in pieces, so that WriteTimeout limits the time for each of
// them, and a watch sees that the client takes them. (With direct writes, the watch
// looks at the socket.)
const (
	pieceSize    = 16 << 10 // a record of TLS, and a frame of HTTP/2
	rawPieceSize = 256 << 10
)

// writeAll writes b. For each piece it waits until the write timeout or the deadline for the
// last frame passed.
func (c *Conn) writeAll(b []byte) (err error) {
	if len(b) == 0 {
		return nil
	}
	size := pieceSize
	if c.raw != nil {
		size = rawPieceSize
	}
	c.writeBlocked.Store(true)
	defer c.writeBlocked.Store(false)
	for len(b) > 0 && err == nil {
		piece := b[:min(size, len(b))]
		b = b[len(piece):]
		began := time.Now()
		keeps := c.limitWrite(began)
		c.applyCloseDeadline() // which may have been set after the line before
		if c.net == nil {
			err = c.body.write(piece)
		} else {
			_, err = c.net.Write(piece)
		}
		c.taken.Add(int64(len(piece)))
		if keeps && time.Since(began) >= slowAfter {
			c.stalled = true
		}
	}
	if err != nil && isTimeout(err) {
		return ErrSlow
	}
	// tryWrite fails after a deadline has passed, and an HTTP/2 stream is reset when
	// one passes, even if nothing is being written.
	c.limitWrites(time.Time{})
	return err
}

// nextResult is the result of next.
type nextResult uint8

const (
	empty        nextResult = iota // no frame is queued; the right to write is released
	found                          // a chunk
	needsHandler                   // the next frame must pass through a handler
)

// next sets k, which is written and released, to the chunk to be written next: a
// single frame as it is, or several combined. If no frame is queued, it releases the
// right to write.
// Handlers for outgoing frames may be slow, so they run only if mayWait is set. It is
// called without locks.
func (w writer) next(k *chunk, mayWait bool) nextResult {
	for {
		items := w.take(k)
		if items == nil {
			return empty
		}
		if items[0].seat != nil && !mayWait {
			return needsHandler
		}
		if w.combine(k, items, mayWait); len(k.bytes) > 0 {
			return found
		}
	}
}

// take records that k is written. It returns the queued items that are not sent, or
// releases the right to write and returns nil.
func (w writer) take(k *chunk) []item {
	c := w.conn
	c.mu.Lock()
	c.queuedBytes = max(0, c.queuedBytes-k.charge)
	k.charge = 0
	if c.sending != nil && (c.dropSending || c.sent == len(c.sending.items)) {
		c.sending.release()
		c.sending = nil
	}
	c.dropSending = false
	if c.keep != nil {
		c.takeLatestLocked()
	} else if c.sending == nil {
		c.sending, c.queue, c.sent = c.queue, nil, 0
	}
	if c.state == closed || c.sending == nil {
		c.sending = nil
		c.writing = false
		lastWritten := c.state == closing
		c.mu.Unlock()
		if lastWritten {
			c.awaitPeerClose()
		}
		return nil
	}
	items := c.sending.items[c.sent:]
	c.mu.Unlock()
	return items
}

// combine combines the first of items into k, which is empty. k is complete even if a
// handler ends the goroutine.
func (w writer) combine(k *chunk, items []item, mayWait bool) {
	c, first := w.conn, items[0]
	if first.frame.reached != nil {
		c.sent++
		k.charge = first.frame.charge
		first.frame.reached()
		return
	}
	if first.seat == nil && (len(items) == 1 && first.frame.lazy == nil || first.frame.long()) {
		c.sent++
		k.charge = first.frame.charge
		k.bytes = first.frame.bytes(c.enc, c.hub.cfg.CompressFrom)
		return
	}
	*k = newChunk()
	n := 0
	defer func() {
		c.sent += n
		if c.handled != nil { // the handler ended the goroutine
			k.bytes = c.handled.append(k.bytes, c.enc, c.hub.cfg.CompressFrom)
			c.handled = nil
		}
		if len(k.bytes) == 0 {
			k.release()
		}
	}()
	for _, it := range items {
		if len(k.bytes) >= chunkSize || it.frame.reached != nil || it.seat != nil && !mayWait || it.seat == nil && n > 0 && it.frame.long() {
			break
		}
		n++
		k.charge += it.frame.charge
		if it.seat != nil {
			it.seat.Owner.Outgoing(it.frame, &c.handled)
			it.frame, c.handled = c.handled, nil
		}
		if it.frame != nil {
			k.bytes = it.frame.append(k.bytes, c.enc, c.hub.cfg.CompressFrom)
		}
	}
}
