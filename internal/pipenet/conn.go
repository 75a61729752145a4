package pipenet

import (
	"errors"
	"io"
	"net"
	"time"
)

// A Conn is one end of a connection, a [net.Conn]. The data of concurrent Writes is
// not interleaved. After one end is closed, the other end reads the data in transit
// and then [io.EOF], and its writes fail.
//
// The methods are safe for concurrent use.
type Conn struct {
	in, out       *stream
	local, remote net.Addr
}

// Pipe returns both ends of a new connection, which buffers up to buffer bytes in
// each direction. Zero or less means [DefaultBuffer].
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

// Read reads data that arrived. It waits until there is some.
func (c *Conn) Read(p []byte) (int, error) {
	n, err := c.in.read(p)
	return n, c.wrap("read", err)
}

// Write writes p. It waits while the buffer is full.
func (c *Conn) Write(p []byte) (int, error) {
	n, err := c.out.write(p)
	return n, c.wrap("write", err)
}

// wrap makes an error look like one of a TCP connection.
func (c *Conn) wrap(op string, err error) error {
	if err == nil || errors.Is(err, io.EOF) {
		return err
	}
	return &net.OpError{Op: op, Net: network, Source: c.local, Addr: c.remote, Err: err}
}

// Close closes this end. Data already written still arrives.
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

// Hold blocks the reads of this end until [Conn.Release], as if no data and no end
// arrived any more. Writes of the other end fill the buffer and then block.
func (c *Conn) Hold() { c.in.set(func() { c.in.held = true }) }

// Release ends [Conn.Hold].
func (c *Conn) Release() { c.in.set(func() { c.in.held = false }) }

// Unplug interrupts the connection without an error. Neither end receives data or
// the end of the connection from the other until [Conn.Plug]. Writes fill the buffer
// and then block.
func (c *Conn) Unplug() { c.both(func(s *stream) { s.down = true }) }

// Plug ends [Conn.Unplug]. Data in transit arrives.
func (c *Conn) Plug() { c.both(func(s *stream) { s.down = false }) }

// Delay delays everything that either end sends from now on by d, including the end
// of the connection, and keeps the order. Data in transit counts as buffered.
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

// SetDeadline sets both the read and the write deadline.
func (c *Conn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

// SetReadDeadline makes reads fail with [os.ErrDeadlineExceeded] after t, including
// reads that are already blocked. The zero time means no deadline.
func (c *Conn) SetReadDeadline(t time.Time) error {
	return c.wrap("set", c.in.setDeadline(&c.in.reader, t))
}

// SetWriteDeadline is like [Conn.SetReadDeadline], but for writes.
func (c *Conn) SetWriteDeadline(t time.Time) error {
	return c.wrap("set", c.out.setDeadline(&c.out.writer, t))
}
