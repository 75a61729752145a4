package verify

import (
	"context"
	"net"
	"slices"
	"sync"
)

// A network opens and breaks the connections of one client.
type network struct {
	dial func(ctx context.Context, network, addr string) (net.Conn, error) // static

	mu    sync.Mutex // guards the following field
	conns []*conn
}

// Dial opens a connection.
func (n *network) Dial(ctx context.Context, network, addr string) (net.Conn, error) {
	c, err := n.dial(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.conns = slices.DeleteFunc(n.conns, (*conn).isClosed)
	made := &conn{Conn: c, closed: make(chan struct{})}
	n.conns = append(n.conns, made)
	return made, nil
}

// A fault is a way to break a connection.
type fault int

const (
	reset  fault = iota // both sides get an error
	silent              // no data passes, and neither side gets an error
)

// cut breaks all connections. It reports whether there were any.
func (n *network) cut(f fault) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.conns = slices.DeleteFunc(n.conns, (*conn).isClosed)
	for _, c := range n.conns {
		c.cut(f)
	}
	return len(n.conns) > 0
}

func (n *network) close() { n.cut(reset) }

// A conn is a connection that can be broken.
type conn struct {
	net.Conn
	closed chan struct{}

	mu     sync.Mutex // guards the following fields
	ended  bool       // closed is closed
	silent bool       // no data passes
}

func (c *conn) isClosed() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ended
}

func (c *conn) isSilent() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.silent && !c.ended
}

func (c *conn) cut(f fault) {
	if f == silent {
		c.mu.Lock()
		c.silent = true
		c.mu.Unlock()
		return
	}
	if l, ok := c.Conn.(interface{ SetLinger(sec int) error }); ok {
		_ = l.SetLinger(0) // the server gets a reset instead of EOF
	}
	_ = c.Close() // it was in use
}

// Read blocks when the connection is silent. It does not even return the end of the
// connection.
func (c *conn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if c.isSilent() {
		<-c.closed
		return 0, net.ErrClosed
	}
	return n, err
}

// Write discards the data when the connection is silent.
func (c *conn) Write(p []byte) (int, error) {
	if c.isSilent() {
		return len(p), nil
	}
	return c.Conn.Write(p)
}

func (c *conn) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended {
		return nil
	}
	c.ended = true
	close(c.closed)
	return c.Conn.Close()
}
