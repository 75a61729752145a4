package transport

import (
	"errors"
	"net"
	"time"

	"github.com/pondsocket/pond/internal/ws"
)

// A connection ends in one of two ways.
//
// Close queues the last frame after all frames that were committed before it: a close
// frame, or the end of an event stream. After it is written, the client has
// CloseTimeout to close its side.
//
// Abort closes the network connection immediately. It also ends a Close, when the
// client closed its side or did not do so in time.

// Close closes the connection after all frames that were committed before are
// written: with a close frame that carries code and reason, or by ending the
// event stream. A client that does not take it within [Config.CloseTimeout] is
// aborted.
func (c *Conn) Close(code int, reason string, cause error) {
	var w Work
	c.QueueClose(&w, code, reason, cause)
	w.Do()
}

// QueueClose commits a [Conn.Close]; w.Do executes it.
func (c *Conn) QueueClose(w *Work, code int, reason string, cause error) {
	c.shard.close(w, c, c.lastFrame(code, reason), cause)
}

// lastFrame returns the last frame of a connection.
func (c *Conn) lastFrame(code int, reason string) *Frame {
	if c.stream {
		return endOfStream
	}
	return rawFrame(ws.AppendClose(nil, code, reason))
}

// endOfStream is the last frame of an event stream.
var endOfStream = newEndOfStream()

func newEndOfStream() *Frame {
	f := &Frame{}
	empty, chunk := []byte{}, []byte(lastChunk)
	for e := range encodings {
		b := &empty
		if plain := e.withoutID(); plain == sseNamedChunked || plain == sseUnnamedChunked {
			b = &chunk
		}
		f.other().encoded[e].Store(b)
	}
	return f
}

// markClosing queues the last frame of an open connection, after which no frame is
// accepted. If the client ended the connection, the frames in the queue are dropped,
// because the client does not expect them any more. If the connection was open,
// first is true and the caller must call [Conn.startClose] with w.
func (c *Conn) markClosing(last *Frame, end End) (w writer, first bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.state != open {
		return writer{}, false
	}
	if end.ByClient {
		c.dropLocked()
	}
	c.markClosingLocked(last, end)
	return c.acquireLocked(), true
}

// markClosingLocked is markClosing for a connection that is open.
func (c *Conn) markClosingLocked(last *Frame, end End) {
	c.state, c.end = closing, end
	c.discarding.Store(true)
	c.closeDeadline = time.Now().Add(c.hub.cfg.CloseTimeout)
	c.appendLocked(item{last, nil})
}

// startClose follows markClosing: it limits the time for the last frame, writes
// if w is held, and notifies the Receiver.
func (c *Conn) startClose(w writer) {
	c.applyCloseDeadline()
	if w.held() {
		w.drain()
	}
	c.notify()
}

// notify notifies the Receiver, once, that the connection ended. It is called without
// locks.
func (c *Conn) notify() {
	c.mu.Lock()
	if c.notified {
		c.mu.Unlock()
		return
	}
	c.notified = true
	end := c.end
	c.mu.Unlock()
	c.recv.Closed(c, end)
}

// Abort closes the network connection at once, without a close frame.
func (c *Conn) Abort(cause error) { c.abort(End{Cause: cause}) }

// disconnected closes the network connection after an error of the network, or after
// the client closed its side.
func (c *Conn) disconnected(cause error) { c.abort(End{Cause: cause, ByClient: true}) }

func (c *Conn) abort(end End) {
	c.mu.Lock()
	if c.state == closed {
		c.mu.Unlock()
		return
	}
	if c.state == open {
		c.end = end
	}
	c.state = closed
	c.dropLocked()
	conn, body := c.net, c.body
	c.mu.Unlock()
	switch {
	case conn != nil:
		conn.Close()
	case body != nil:
		body.close()
	}
	c.shard.unregister(c)
	c.notify()
	if body == nil {
		c.recv.Released(c) // otherwise Serve does this when the response ends
	}
}

// writeFailed ends a connection after an error of a write. A client that disconnects
// with unread data resets the connection. The messages that it sent before must still
// be read, so the end of reading ends the connection.
func (c *Conn) writeFailed(err error) {
	if c.net == nil || errors.Is(err, ErrSlow) {
		c.abort(End{Cause: err, ByClient: !errors.Is(err, ErrSlow)})
		return
	}
	c.mu.Lock()
	if c.state == open {
		c.state, c.end = closing, End{Cause: err, ByClient: true}
	}
	c.dropLocked()
	c.closeSent = true
	readDone := c.readDone
	c.mu.Unlock()
	if readDone {
		c.disconnected(err)
		return
	}
	_ = c.net.SetReadDeadline(time.Now().Add(c.hub.cfg.CloseTimeout))
}

// awaitPeerClose is called when the last frame is written. The client of a WebSocket
// has CloseTimeout to answer it or to close its side. Closing immediately could destroy
// the frame in transit if there is unread data of the client (RFC 6455 section 7.1.1,
// RFC 9293 section 3.6.1). The client of an event stream sends nothing, and may keep
// its side open for further requests, so we only wait until it received all data.
func (c *Conn) awaitPeerClose() {
	c.mu.Lock()
	c.closeSent = true
	readDone := c.readDone
	c.mu.Unlock()
	if readDone || c.net == nil {
		c.Abort(ErrClosed)
		return
	}
	_ = c.net.SetReadDeadline(time.Now().Add(c.hub.cfg.CloseTimeout))
	if half, ok := c.net.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
	}
	if !c.WebSocket() {
		c.awaitDelivery(time.Millisecond)
	}
}

// maxLinger is the time that the server waits before it closes an event stream if it
// cannot find out whether the client received all data.
const maxLinger = time.Second

// awaitDelivery closes an event stream when the client's host acknowledged all data. It
// checks again after wait. The deadline for reading ends the wait.
func (c *Conn) awaitDelivery(wait time.Duration) {
	switch n, known := unacknowledged(c.net); {
	case !known:
		_ = c.net.SetReadDeadline(time.Now().Add(min(maxLinger, c.hub.cfg.CloseTimeout)))
	case n == 0:
		c.Abort(ErrClosed)
	case !c.is(closed):
		time.AfterFunc(wait, func() { c.awaitDelivery(min(2*wait, 100*time.Millisecond)) })
	}
}

// tcpConn returns the TCP connection under conn, or nil.
func tcpConn(conn net.Conn) *net.TCPConn {
	for {
		switch c := conn.(type) {
		case *net.TCPConn:
			return c
		case interface{ NetConn() net.Conn }: // such as *tls.Conn
			conn = c.NetConn()
		default:
			return nil
		}
	}
}

// readEnded is called when reading ends. It aborts the connection, unless its last
// frame is not written yet.
func (c *Conn) readEnded(cause error) {
	c.mu.Lock()
	c.readDone = true
	wait := c.state == closing && !c.closeSent
	c.mu.Unlock()
	if !wait {
		c.disconnected(cause)
	}
}

func (c *Conn) is(s state) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.state == s
}

// applyCloseDeadline limits the current write, once the last frame is queued.
func (c *Conn) applyCloseDeadline() {
	c.mu.Lock()
	deadline := c.closeDeadline
	c.mu.Unlock()
	if !deadline.IsZero() {
		c.limitWrites(deadline)
	}
}

// limitWrites sets the deadline of writes; the zero time means no deadline.
func (c *Conn) limitWrites(deadline time.Time) {
	c.mu.Lock()
	conn, body := c.net, c.body
	c.mu.Unlock()
	setWriteDeadline(conn, body, deadline)
}

// limitWrite limits the time of a write that begins now. It reports whether only the
// newest frames are kept for the client.
func (c *Conn) limitWrite(now time.Time) (keeps bool) {
	timeout := c.hub.cfg.WriteTimeout
	c.mu.Lock()
	conn, body := c.net, c.body
	if keeps = c.keep != nil; keeps {
		timeout = max(timeout, c.keep.patience)
	}
	c.mu.Unlock()
	setWriteDeadline(conn, body, now.Add(timeout))
	return keeps
}

func setWriteDeadline(conn net.Conn, body *bodyStream, deadline time.Time) {
	switch {
	case conn != nil:
		_ = conn.SetWriteDeadline(deadline)
	case body != nil:
		body.limit(deadline)
	}
}
