// Package pipenet is an in-memory network. Its connections behave like TCP over
// loopback, but they work in a bubble of [testing/synctest]: a goroutine that waits
// for them is durably blocked, unlike one that waits for a real network.
//
// A connection has a limited buffer in each direction, so that both sides can write
// at the same time. If one side does not read, the writes of the other side block
// when the buffer is full, as with a TCP window of zero.
package pipenet

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
)

// DefaultBuffer is the default size of the buffer in each direction, in bytes.
const DefaultBuffer = 64 << 10

// firstPort is the first port in the addresses of clients.
const firstPort = 49152

// A Listener is an in-memory [net.Listener]. Clients connect with [Listener.Dial].
// Its methods are safe for concurrent use. It must be created in the bubble in which
// it is used.
type Listener struct {
	buffer int
	conns  chan *Conn    // never closed
	done   chan struct{} // closed by Close
	close  sync.Once
	dialed atomic.Int32
}

// Listen returns a Listener. Its connections buffer up to buffer bytes in each
// direction. Zero or less means [DefaultBuffer].
func Listen(buffer int) *Listener {
	return &Listener{buffer: buffer, conns: make(chan *Conn), done: make(chan struct{})}
}

// Dial connects to the listener, from a new address. It waits until the connection
// is accepted, the listener is closed, or ctx is done.
func (l *Listener) Dial(ctx context.Context) (*Conn, error) {
	return l.DialFrom(ctx, address(2, firstPort+int(l.dialed.Add(1))-1))
}

// DialFrom is like [Listener.Dial], but from a given address.
func (l *Listener) DialFrom(ctx context.Context, from net.Addr) (*Conn, error) {
	client, server := pipe(l.buffer, from, l.addr())
	var err error
	select {
	case l.conns <- server:
		return client, nil
	case <-l.done:
		err = syscall.ECONNREFUSED
	case <-ctx.Done():
		err = ctx.Err()
	}
	return nil, &net.OpError{Op: "dial", Net: network, Addr: l.addr(), Err: err}
}

// Accept waits for the next connection.
func (l *Listener) Accept() (net.Conn, error) {
	select {
	case <-l.done: // checked first, even if a client is dialing
		return nil, l.closed()
	default:
	}
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, l.closed()
	}
}

func (l *Listener) closed() error {
	return &net.OpError{Op: "accept", Net: network, Addr: l.addr(), Err: net.ErrClosed}
}

// Close closes the listener. Existing connections stay open.
func (l *Listener) Close() error {
	l.close.Do(func() { close(l.done) })
	return nil
}

// Addr returns the address of the listener.
func (l *Listener) Addr() net.Addr { return l.addr() }

func (*Listener) addr() net.Addr { return address(1, 80) }

// network is the network of all addresses. It is "tcp", so that code that parses
// the remote address of a request works as in production.
const network = "tcp"

// address returns an address in TEST-NET-1, which no machine uses (RFC 5737).
func address(host byte, port int) net.Addr {
	return &net.TCPAddr{IP: net.IPv4(192, 0, 2, host), Port: port}
}
