package transport

import (
	"errors"
	"os"
	"sync"

	"github.com/pondsocket/pond/internal/ws"
)

const readSize = 8 << 10

var readBuffers = sync.Pool{New: func() any { b := make([]byte, readSize); return &b }}

// errPeerClosed ends reading after the client's close frame.
var errPeerClosed = errors.New("closed by the client")

// There are two ways to read. Direct reads are for plain TCP on Linux: see readRaw.
// All other connections are read through net.Conn.

// read is the goroutine that reads through net.Conn. It waits with a small stack and
// without a buffer. When data arrives, it handles the data, and a new goroutine
// reads on: a stack that has grown shrinks only during garbage collection, by half
// each time, so a goroutine that has run handlers must not be the one that waits.
func (c *Conn) read() {
	var err error
	if len(c.buffered) > 0 {
		err = c.received(c.buffered)
		c.buffered = nil
	} else {
		err = c.readOnce()
	}
	if err == nil {
		go c.read()
		c.recv.Process(c)
		return
	}
	defer c.hub.tasks.Done()
	if broken, ok := errors.AsType[*ws.CloseError](err); ok {
		c.reject(broken)
		err = c.readDiscarding()
	}
	c.readEnded(err)
	c.recv.Process(c)
}

// readOnce waits until data arrives, and handles it.
func (c *Conn) readOnce() error {
	if c.unfinishedPings.Load() == 0 {
		var first [2]byte
		n, err := c.net.Read(first[:]) // waiting in a small read needs no buffer
		if n > 0 {
			if err := c.received(first[:n]); err != nil {
				return err
			}
		}
		if err == nil && c.discarding.Load() {
			return c.readDiscarding() // no data is expected, so no new goroutine is needed
		}
		if err != nil || c.unfinishedPings.Load() == 0 {
			return err
		}
	}
	return c.readOn()
}

// readOn reads once with a buffer.
func (c *Conn) readOn() error {
	buf := readBuffers.Get().(*[]byte)
	defer readBuffers.Put(buf)
	n, err := c.net.Read(*buf)
	if n > 0 {
		if err := c.received((*buf)[:n]); err != nil {
			return err
		}
	}
	return err
}

// received handles bytes from the client. A [*ws.CloseError] means that the client
// broke the protocol or a limit: the caller must reject it. After other errors, no more
// data must be read.
func (c *Conn) received(b []byte) error {
	if c.discarding.Load() {
		return c.discard(b)
	}
	if !c.receivedSincePing.Load() {
		c.receivedSincePing.Store(true)
	}
	err := c.dec.Feed(b, (*frameSink)(c))
	c.sendPongs(true)
	c.noteProgress()
	return err
}

// maxDiscarded is the number of bytes that are read from a client which should not
// send any more: after the server's close frame, and on an event stream. Some must be
// read, because closing a socket with unread data could destroy our last frame in
// transit, and because a client may be in the middle of a message.
const maxDiscarded = 1 << 20

var errTooMuchDiscarded = errors.New("client does not stop sending")

// discard drops bytes of the client, and only looks for a close frame.
func (c *Conn) discard(b []byte) error {
	if c.discarded += len(b); c.discarded > maxDiscarded {
		return errTooMuchDiscarded
	}
	if !c.WebSocket() {
		return nil
	}
	c.dec.Discard()
	if err := c.dec.Feed(b, (*frameSink)(c)); errors.Is(err, errPeerClosed) {
		return err
	}
	return nil // after a protocol error, Feed does nothing
}

// reject closes the connection of a client that broke the protocol or a limit.
func (c *Conn) reject(broken *ws.CloseError) {
	c.recv.Invalid(c, broken)
	c.Close(broken.Code, broken.Reason, broken)
}

// readDiscarding reads and discards until the client closes its side or CloseTimeout
// passed. A goroutine may wait here for as long as an event stream lasts, so the buffer
// is small.
func (c *Conn) readDiscarding() error {
	var buf [256]byte
	for {
		n, err := c.net.Read(buf[:])
		if n > 0 {
			if err := c.received(buf[:n]); err != nil {
				return err
			}
		}
		if err != nil {
			return err
		}
	}
}

// frameSink is the [ws.Sink] of a Conn.
type frameSink Conn

func (s *frameSink) Message(_ ws.Opcode, data []byte) error {
	c := (*Conn)(s)
	c.sendPongs(false)
	c.paused.Store(true)
	c.recv.Message(c, data)
	c.receivedSincePing.Store(true) // before paused: a heartbeat reads them in the other order
	c.paused.Store(false)
	return nil
}

func (s *frameSink) Control(op ws.Opcode, data []byte) error {
	c := (*Conn)(s)
	if c.discarding.Load() {
		return nil
	}
	if !c.controls.take(&c.hub.cfg) {
		return ErrControlRate
	}
	if op == ws.Ping {
		c.controls.ping(data)
	}
	return nil
}

// PeerClosed answers the client's close frame.
func (s *frameSink) PeerClosed(code int, reason string) error {
	c := (*Conn)(s)
	c.mu.Lock()
	c.readDone = true // the client sends nothing more, so the connection ends with our answer
	c.mu.Unlock()
	end := End{Cause: &ws.CloseError{Code: code, Reason: reason}, ByClient: true}
	if w, first := c.markClosing(c.lastFrame(code, ""), end); first {
		c.startClose(w)
	}
	return errPeerClosed
}

// isTimeout reports whether err means that a deadline passed.
func isTimeout(err error) bool { return errors.Is(err, os.ErrDeadlineExceeded) }
