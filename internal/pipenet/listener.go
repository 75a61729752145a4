// Package pipenet is a network in memory: connections that behave like TCP over
// loopback, but for goroutines in a bubble of [testing/synctest], where waiting
// for a real network is no standstill.
//
// A connection buffers what is written, so that two sides that write to each
// other do not wait for each other, and no more than that: a side that does not
// read makes the other one wait, as a TCP window of zero does.
package pipenet

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
)

// DefaultBuffer is how many bytes of each direction a connection holds.
const DefaultBuffer = 64 << 10

// firstPort is the first of the ports that clients seem to dial from.
const firstPort = 49152

// A Listener is a [net.Listener] for those who dial it. Its methods are safe for
// concurrent use. Make it in the bubble in which it is used.
type Listener struct {
	buffer int
	conns  chan *Conn    // never closed
	done   chan struct{} // closed by Close
	close  sync.Once
	dialed atomic.Int32
}

// Listen returns a Listener. Its connections hold buffer bytes in each
// direction. Zero or less means [DefaultBuffer].
func Listen(buffer int) *Listener {
	return &Listener{buffer: buffer, conns: make(chan *Conn), done: make(chan struct{})}
}

// Dial connects to the listener, from an address of its own. It waits until the
// connection is accepted, the listener is closed, or ctx is done.
func (l *Listener) Dial(ctx context.Context) (*Conn, error) {
	return l.DialFrom(ctx, address(2, firstPort+int(l.dialed.Add(1))-1))
}

// DialFrom is [Listener.Dial] from a given address.
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
	case <-l.done: // comes first, also if somebody dials
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

// Close refuses all further connections. Those that exist stay.
func (l *Listener) Close() error {
	l.close.Do(func() { close(l.done) })
	return nil
}

// Addr returns the address that clients seem to dial.
func (l *Listener) Addr() net.Addr { return l.addr() }

func (*Listener) addr() net.Addr { return address(1, 80) }

// network is what connections seem to be made of. Code that asks a request for
// its remote address finds what it finds in production.
const network = "tcp"

// address is in TEST-NET-1, which no machine has (RFC 5737).
func address(host byte, port int) net.Addr {
	return &net.TCPAddr{IP: net.IPv4(192, 0, 2, host), Port: port}
}
