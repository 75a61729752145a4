package transport

import (
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/pondsocket/pond/internal/ws"
)

// Why connections end. Whoever handles a connection finds one of these, a
// [*ws.CloseError] or an error of the network in [Receiver.Closed].
var (
	ErrClosed   = errors.New("connection closed")
	ErrSlow     = errors.New("client too slow")
	ErrTimeout  = errors.New("client did not answer")
	ErrOverload = errors.New("too much is waiting to be sent")
)

// A Receiver handles what one connection brings. Message and Invalid are called
// by one goroutine at a time; Closed may come at any moment.
type Receiver interface {
	// Message takes one complete message. It is text in valid UTF-8, or binary.
	// The slice is valid only during the call. Message may wait; that keeps the
	// client from sending more.
	Message(c *Conn, data []byte)

	// Proceed follows when all messages of one read have been taken. It may take
	// its time: it is called while the connection is read on already.
	Proceed(c *Conn)

	// Invalid reports that the client broke RFC 6455 or a limit, before the
	// connection is closed with that code. What is sent now still gets out.
	Invalid(c *Conn, err *ws.CloseError)

	// Closed reports once that nothing will be sent to this client any more,
	// and why. It does not wait.
	Closed(c *Conn, cause error)
}

// state is a connection's way through life. It only grows.
type state uint8

const (
	open     state = iota
	draining       // the goodbye is queued; nothing else is accepted
	closed         // the network is gone
)

// A Conn is one WebSocket or one event stream. Its methods are safe for
// concurrent use.
type Conn struct {
	// Static after construction.
	hub   *Hub
	shard *shard
	recv  Receiver
	net   net.Conn        // nil for a stream that cannot be hijacked
	raw   syscall.RawConn // nil where only net works: TLS, pipes
	body  *bodyStream     // instead of net
	enc   encoding

	// Owned by the reading goroutine. On the raw path, the decoder goes with what
	// there is to be decoded.
	dec    ws.Decoder
	reader *rawReader
	early  []byte // what the client sent right behind its handshake

	mu      sync.Mutex // guards the following fields; see Locks in the package comment
	queue   *queue     // what waits; nil if nothing does
	waiting int        // bytes in queue
	state   state
	busy    bool      // somebody writes: the others only queue
	ending  bool      // Closed has been, or is being called
	deaf    bool      // reading has ended
	said    bool      // the goodbye is written
	cause   error     // why, once state is not open
	until   time.Time // when the goodbye must be written; zero before it is queued

	// Owned by whoever set busy.
	sending *queue
	sent    int // items of sending that are on their way

	// Guarded by shard.mu.
	slot, pos int // place in the wheel
	pinged    bool

	heard  atomic.Bool  // something arrived since the last heartbeat
	paused atomic.Bool  // the Receiver makes us wait, so silence proves nothing
	middle atomic.Int32 // 0, or how many heartbeats have seen the current message unfinished, plus 1
}

// WebSocket reports whether the connection is a WebSocket; it is an event
// stream otherwise.
func (c *Conn) WebSocket() bool { return c.enc <= wsDeflate }

// Start begins to read, and writes what has been queued. It is called once,
// when recv is ready to be called.
func (c *Conn) Start() {
	c.hub.tasks.Add()
	c.shard.register(c)
	switch {
	case c.raw != nil:
		go c.readRaw()
	case c.body == nil:
		go c.read()
	}
	c.kick()
}

// Send queues f for this client alone and writes it if nothing is in the way.
// It never waits. Frames for a connection that has ended are dropped.
func (c *Conn) Send(f *Frame) {
	var w Work
	c.Queue(&w, f, nil)
	w.Do()
}

// Queue commits f for this client alone; w.Do sends it. A frame with a seat
// passes through [Owner.Outgoing] of the seat's owner first.
func (c *Conn) Queue(w *Work, f *Frame, seat *Seat) {
	c.shard.send(w, c, item{f, seat}, nil)
}

// Close says goodbye when all that was committed before is written: with a close
// frame that carries code and reason, or by ending the event stream. A client
// that does not take it within [Config.CloseTimeout] is cut off.
func (c *Conn) Close(code int, reason string, cause error) {
	var w Work
	c.QueueClose(&w, code, reason, cause)
	w.Do()
}

// QueueClose commits what [Conn.Close] does; w.Do carries it out.
func (c *Conn) QueueClose(w *Work, code int, reason string, cause error) {
	c.shard.send(w, c, item{c.goodbye(code, reason), nil}, cause)
}

// goodbye returns the last frame of a connection.
func (c *Conn) goodbye(code int, reason string) *Frame {
	switch c.enc {
	case wsText, wsDeflate:
		return rawFrame(ws.AppendClose(nil, code, reason))
	case sseNamedChunked, sseUnnamedChunked:
		return rawFrame([]byte(lastChunk))
	default:
		return rawFrame(nil)
	}
}

// leave begins the goodbye: from now on nothing else is queued, and nothing that
// waits is sent if drop is set. If it was the first to do so, the caller must
// [Conn.settle].
func (c *Conn) leave(last *Frame, cause error, drop bool) (flush, first bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if drop && c.state == open {
		c.dropLocked() // in one step, or something later could still get out
	}
	if !c.leaveLocked(last, cause) {
		return false, false
	}
	flush = !c.busy
	c.busy = true
	return flush, true
}

func (c *Conn) leaveLocked(last *Frame, cause error) bool {
	if c.state != open {
		return false
	}
	c.state, c.cause = draining, cause
	c.until = time.Now().Add(c.hub.cfg.CloseTimeout)
	c.pushLocked(item{last, nil})
	return true
}

// end tells the Receiver that the connection has ended, once. No lock is held.
func (c *Conn) end() {
	c.mu.Lock()
	if c.ending {
		c.mu.Unlock()
		return
	}
	c.ending = true
	cause := c.cause
	c.mu.Unlock()
	c.recv.Closed(c, cause)
}

func (c *Conn) is(s state) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.state == s
}

// Cut takes the network away, without a goodbye.
func (c *Conn) Cut(cause error) {
	c.mu.Lock()
	if c.state == closed {
		c.mu.Unlock()
		return
	}
	if c.state == open {
		c.cause = cause
	}
	c.state = closed
	c.dropLocked()
	c.mu.Unlock()
	if c.net != nil {
		c.net.Close()
	} else {
		c.body.close()
	}
	c.shard.unregister(c)
	c.end()
}

// farewell follows the goodbye: the client has CloseTimeout to close its side.
// Closing at once could destroy the goodbye on its way, when the client has sent
// something that we have not read (RFC 6455 section 7.1.1, RFC 9293 section 3.6.1).
func (c *Conn) farewell() {
	c.mu.Lock()
	c.said = true
	deaf := c.deaf
	c.mu.Unlock()
	if deaf || c.net == nil {
		c.Cut(ErrClosed)
		return
	}
	_ = c.net.SetReadDeadline(time.Now().Add(c.hub.cfg.CloseTimeout))
	if half, ok := c.net.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
	}
}

// hangUp follows the end of reading. If a goodbye is on its way, it still gets
// out.
func (c *Conn) hangUp(cause error) {
	c.mu.Lock()
	c.deaf = true
	wait := c.state == draining && !c.said
	c.mu.Unlock()
	if !wait {
		c.Cut(cause)
	}
}
