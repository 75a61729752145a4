package transport

import (
	"errors"
	"os"
	"sync"

	"github.com/pondsocket/pond/internal/ws"
)

const readSize = 8 << 10

var readBuffers = sync.Pool{New: func() any { b := make([]byte, readSize); return &b }}

// errGoodbye ends reading after the client's close frame.
var errGoodbye = errors.New("goodbye")

// read is the connection's goroutine on the general path. It waits with a shallow
// stack and without a buffer. When something has come, it handles that as deep as
// need be, and a new goroutine reads on: a stack that has grown shrinks only when
// memory is collected, by half each time, so a goroutine that has handled something
// must not be the one that waits.
func (c *Conn) read() {
	var err error
	if len(c.early) > 0 {
		err = c.received(c.early)
		c.early = nil
	} else {
		err = c.readOnce()
	}
	if err == nil {
		go c.read()
		c.recv.Proceed(c)
		return
	}
	defer c.hub.tasks.Done()
	if broken, ok := errors.AsType[*ws.CloseError](err); ok {
		c.refuse(broken)
		err = c.discard()
	}
	c.hangUp(err)
	c.recv.Proceed(c)
}

// readOnce waits until something comes, and handles it.
func (c *Conn) readOnce() error {
	if c.middle.Load() == 0 {
		var first [2]byte
		n, err := c.net.Read(first[:]) // waiting in a small read costs no buffer
		if n > 0 {
			if err := c.received(first[:n]); err != nil {
				return err
			}
		}
		if err == nil && !c.WebSocket() {
			return c.discard() // nothing is expected, so it is not worth a goroutine each
		}
		if err != nil || c.middle.Load() == 0 {
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
	if !c.heard.Load() {
		c.heard.Store(true)
	}
	if !c.WebSocket() {
		return nil
	}
	err := c.dec.Feed(b, (*frameSink)(c))
	c.progress()
	return err
}

// refuse answers a client that broke the rules, and says goodbye.
func (c *Conn) refuse(broken *ws.CloseError) {
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

// frameSink is a Conn as the decoder sees it.
type frameSink Conn

func (s *frameSink) Message(_ ws.Opcode, data []byte) error {
	c := (*Conn)(s)
	c.paused.Store(true)
	c.recv.Message(c, data)
	c.heard.Store(true) // before paused: a heartbeat looks at them in the other order
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

// PeerClosed answers the client's close frame. What still waits is dropped: the
// client has said that it is not interested any more.
func (s *frameSink) PeerClosed(code int, reason string) error {
	c := (*Conn)(s)
	c.mu.Lock()
	c.deaf = true // nothing more is expected, so the answer is the end
	c.mu.Unlock()
	if write, first := c.leave(c.goodbye(code, ""), &ws.CloseError{Code: code, Reason: reason}, true); first {
		c.settle(write)
	}
	return errGoodbye
}

// isTimeout reports whether err is a deadline that has passed.
func isTimeout(err error) bool { return errors.Is(err, os.ErrDeadlineExceeded) }
