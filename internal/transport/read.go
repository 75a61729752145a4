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
		err = c.discard()
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
		if err == nil && !c.WebSocket() {
			return c.discard() // nothing is expected, so no new goroutine is needed
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

// received handles bytes from the client. An event stream expects none.
func (c *Conn) received(b []byte) error {
	if !c.receivedSincePing.Load() {
		c.receivedSincePing.Store(true)
	}
	if !c.WebSocket() {
		return nil
	}
	err := c.dec.Feed(b, (*frameSink)(c))
	c.noteProgress()
	return err
}

// reject closes the connection of a client that broke the protocol or a limit.
func (c *Conn) reject(broken *ws.CloseError) {
	c.recv.Invalid(c, broken)
	c.Close(broken.Code, broken.Reason, broken)
}

// discard reads until the client closes its side or CloseTimeout is over.
func (c *Conn) discard() error {
	buf := readBuffers.Get().(*[]byte)
	defer readBuffers.Put(buf)
	for {
		if _, err := c.net.Read(*buf); err != nil {
			return err
		}
	}
}

// frameSink is the [ws.Sink] of a Conn.
type frameSink Conn

func (s *frameSink) Message(_ ws.Opcode, data []byte) error {
	c := (*Conn)(s)
	c.paused.Store(true)
	c.recv.Message(c, data)
	c.receivedSincePing.Store(true) // before paused: a heartbeat reads them in the other order
	c.paused.Store(false)
	return nil
}

func (s *frameSink) Control(op ws.Opcode, data []byte) error {
	if op == ws.Ping {
		c := (*Conn)(s)
		c.Send(rawFrame(ws.AppendFrame(nil, ws.Pong, false, data)))
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

// isTimeout reports whether err says that a deadline has passed.
func isTimeout(err error) bool { return errors.Is(err, os.ErrDeadlineExceeded) }
