package pipenet

import (
	"errors"
	"io"
	"net"
	"time"
)

// A Conn is one end of a connection, a [net.Conn]. What one Write writes is not
// mixed with what others write. An end that is closed makes the other one read
// what is on its way and then [io.EOF], and fail to write.
//
// Methods are safe for concurrent use.
type Conn struct {
	in, out       *stream
	local, remote net.Addr
}

// Pipe returns both ends of a new connection, which holds buffer bytes in each
// direction. Zero or less means [DefaultBuffer].
func Pipe(buffer int) (client, server *Conn) {
	return pipe(buffer, address(2, firstPort), address(1, 80))
}

func pipe(buffer int, clientAddr, serverAddr net.Addr) (client, server *Conn) {
	if buffer <= 0 {
		buffer = DefaultBuffer
	}
	up, down := newStream(buffer), newStream(buffer)
	return &Conn{in: down, out: up, local: clientAddr, remote: serverAddr},
		&Conn{in: up, out: down, local: serverAddr, remote: clientAddr}
}

// Read reads what has arrived. It waits if there is nothing.
func (c *Conn) Read(p []byte) (int, error) {
	n, err := c.in.read(p)
	return n, c.wrap("read", err)
}

// Write writes p. It waits while the buffer is full.
func (c *Conn) Write(p []byte) (int, error) {
	n, err := c.out.write(p)
	return n, c.wrap("write", err)
}

// wrap gives errors the form that those of a TCP connection have.
func (c *Conn) wrap(op string, err error) error {
	if err == nil || errors.Is(err, io.EOF) {
		return err
	}
	return &net.OpError{Op: op, Net: network, Source: c.local, Addr: c.remote, Err: err}
}

// Close closes this end. What was written still arrives.
func (c *Conn) Close() error {
	c.in.close(&c.in.reader)
	c.out.close(&c.out.writer)
	return nil
}

// Reset resets the connection. Data in transit is lost, and from now on reads
// and writes of both ends fail with [syscall.ECONNRESET].
func (c *Conn) Reset() {
	c.in.abort()
	c.out.abort()
}

// Hold makes the reads of this end wait as if nothing arrived any more, not even
// the end, until [Conn.Release]. What is written to it is buffered, and then
// makes the other end wait.
func (c *Conn) Hold() { c.in.set(func() { c.in.held = true }) }

// Release ends [Conn.Hold].
func (c *Conn) Release() { c.in.set(func() { c.in.held = false }) }

// Unplug pulls the cable: both ends hear nothing of each other any more, not even
// the end, and what they write is buffered until that makes them wait. Nothing
// tells them, until [Conn.Plug].
func (c *Conn) Unplug() { c.both(func(s *stream) { s.down = true }) }

// Plug ends [Conn.Unplug]. What was on its way arrives.
func (c *Conn) Plug() { c.both(func(s *stream) { s.down = false }) }

// Delay makes what either end sends from now on, the end included, arrive after
// d and in order. What is on its way counts as buffered.
func (c *Conn) Delay(d time.Duration) { c.both(func(s *stream) { s.delay = d }) }

// Trickle makes every read of both ends return one byte.
func (c *Conn) Trickle() { c.both(func(s *stream) { s.trickle = true }) }

func (c *Conn) both(change func(*stream)) {
	for _, s := range []*stream{c.in, c.out} {
		s.set(func() { change(s) })
	}
}

// LocalAddr returns the address of this end.
func (c *Conn) LocalAddr() net.Addr { return c.local }

// RemoteAddr returns the address of the other end.
func (c *Conn) RemoteAddr() net.Addr { return c.remote }

// SetDeadline is [Conn.SetReadDeadline] and [Conn.SetWriteDeadline].
func (c *Conn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

// SetReadDeadline makes reads fail with [os.ErrDeadlineExceeded] from t on, also
// those that wait already. The zero time is no deadline.
func (c *Conn) SetReadDeadline(t time.Time) error {
	return c.wrap("set", c.in.setDeadline(&c.in.reader, t))
}

// SetWriteDeadline does for writes what [Conn.SetReadDeadline] does for reads.
func (c *Conn) SetWriteDeadline(t time.Time) error {
	return c.wrap("set", c.out.setDeadline(&c.out.writer, t))
}
