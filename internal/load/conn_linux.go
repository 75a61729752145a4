package load

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"syscall"
)

// A conn is one TCP connection of a client or of a poster.
type conn struct {
	fd      int
	age     int32
	owner   owner
	in      []byte // received data that is incomplete
	out     []byte // data to write
	dialing bool
	dirty   bool // is in loop.dirty
	blocked bool // waits for EPOLLOUT
	stalled bool // stopped reading
	ending  bool // shut down after everything is written
}

// An owner handles the data of a connection.
type owner interface {
	// feed handles b and returns the incomplete rest, which may be a part of b.
	feed(l *loop, b []byte) (rest []byte, err error)

	// closed handles the end of the connection.
	closed(l *loop, err error)
}

// dial starts to connect. Data can be queued at once; loop.serve writes it when the
// connection is open.
func (l *loop) dial(owner owner, target netip.AddrPort, number, receiveBuffer int) (*conn, error) {
	family := syscall.AF_INET6
	if target.Addr().Is4() {
		family = syscall.AF_INET
	}
	fd, err := syscall.Socket(family, syscall.SOCK_STREAM|syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	l.age++
	c := &conn{fd: fd, age: l.age, owner: owner, dialing: true}
	_ = syscall.SetsockoptInt(fd, syscall.IPPROTO_TCP, syscall.TCP_NODELAY, 1) // only for speed
	if receiveBuffer > 0 {
		_ = syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_RCVBUF, receiveBuffer)
	}
	err = connect(fd, target, number)
	if err == nil {
		err = l.watch(syscall.EPOLL_CTL_ADD, fd, c.age, syscall.EPOLLIN|syscall.EPOLLOUT)
	}
	if err != nil {
		return nil, errors.Join(err, syscall.Close(fd))
	}
	c.blocked = true
	for len(l.conns) <= fd {
		l.conns = append(l.conns, make([]*conn, 1024)...)
	}
	l.conns[fd] = c
	return c, nil
}

// sources is the number of source addresses of clients on loopback. A single address
// does not have enough ports for all clients.
const sources = 64

func connect(fd int, target netip.AddrPort, number int) error {
	ip, port := target.Addr(), int(target.Port())
	if !ip.Is4() {
		return connectTo(fd, &syscall.SockaddrInet6{Addr: ip.As16(), Port: port})
	}
	if ip.IsLoopback() {
		const bindAddressNoPort = 24 // IP_BIND_ADDRESS_NO_PORT: the port is chosen in connect
		_ = syscall.SetsockoptInt(fd, syscall.IPPROTO_IP, bindAddressNoPort, 1)
		from := &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, byte(2 + number%sources)}} //nolint:gosec // small
		if err := syscall.Bind(fd, from); err != nil {
			return fmt.Errorf("bind to 127.0.0.%d: %w", from.Addr[3], err)
		}
	}
	return connectTo(fd, &syscall.SockaddrInet4{Addr: ip.As4(), Port: port})
}

func connectTo(fd int, addr syscall.Sockaddr) error {
	if err := syscall.Connect(fd, addr); err != nil && !errors.Is(err, syscall.EINPROGRESS) {
		return fmt.Errorf("connect: %w", err)
	}
	return nil
}

// markDirty adds c to the connections that have data to write.
func (l *loop) markDirty(c *conn) {
	if !c.dirty {
		c.dirty = true
		l.dirty = append(l.dirty, c)
	}
}

// flush writes the data of all dirty connections.
func (l *loop) flush() {
	for i := 0; i < len(l.dirty); i++ { // the list may grow
		c := l.dirty[i]
		c.dirty = false
		if c.fd >= 0 && !c.dialing {
			if err := l.write(c); err != nil {
				l.closeConn(c, err)
			}
		}
	}
	l.dirty = l.dirty[:0]
}

func (l *loop) write(c *conn) error {
	for len(c.out) > 0 {
		n, err := syscall.Write(c.fd, c.out)
		switch {
		case errors.Is(err, syscall.EINTR):
			continue
		case errors.Is(err, syscall.EAGAIN):
			return l.block(c, true)
		case err != nil:
			return fmt.Errorf("write: %w", err)
		}
		c.out = c.out[:copy(c.out, c.out[n:])]
	}
	if cap(c.out) > keep {
		c.out = nil
	}
	if c.ending {
		c.ending = false
		_ = syscall.Shutdown(c.fd, syscall.SHUT_WR) // if this fails, the connection is closed already
	}
	return l.block(c, false)
}

// keep is the largest capacity of an empty buffer that a connection keeps.
const keep = 4 << 10

// block sets whether c waits until it is writable.
func (l *loop) block(c *conn, blocked bool) error {
	if c.blocked == blocked {
		return nil
	}
	c.blocked = blocked
	return l.interest(c)
}

func (l *loop) interest(c *conn) error {
	var events uint32
	if !c.stalled {
		events |= syscall.EPOLLIN
	}
	if c.blocked {
		events |= syscall.EPOLLOUT
	}
	return l.watch(syscall.EPOLL_CTL_MOD, c.fd, c.age, events)
}

// read reads once. If there is more data, epoll reports the connection again.
func (l *loop) read(c *conn) {
	if c.stalled {
		l.closeConn(c, io.EOF) // epoll reports only the end of a stalled connection
		return
	}
	for len(c.in) > len(l.buf)/2 {
		l.buf = make([]byte, 2*len(l.buf))
	}
	had := copy(l.buf, c.in)
	n, err := syscall.Read(c.fd, l.buf[had:])
	switch {
	case errors.Is(err, syscall.EINTR), errors.Is(err, syscall.EAGAIN):
		return
	case err != nil:
		l.closeConn(c, fmt.Errorf("read: %w", err))
		return
	case n == 0:
		l.closeConn(c, io.EOF)
		return
	}
	l.now = l.clock()
	l.counters.BytesIn += int64(n)
	rest, err := c.owner.feed(l, l.buf[:had+n])
	if err != nil {
		l.closeConn(c, err)
		return
	}
	if c.in = append(c.in[:0], rest...); len(rest) == 0 && cap(c.in) > keep {
		c.in = nil
	}
}

// closeConn closes c and passes the reason to its owner.
func (l *loop) closeConn(c *conn, err error) {
	if c.fd < 0 {
		return
	}
	l.conns[c.fd] = nil
	_ = syscall.Close(c.fd)
	c.fd, c.in, c.out = -1, nil, nil
	c.owner.closed(l, err)
}
