// Package faultproxy is a TCP proxy that fails on demand, for tests of clients of a
// server such as Redis or NATS.
package faultproxy

import (
	"bytes"
	"net"
	"sync"
	"time"
)

// A Proxy forwards connections to a server. Its methods are safe for concurrent use.
type Proxy struct {
	listener net.Listener
	done     sync.WaitGroup

	mu      sync.Mutex // guards the following fields
	target  string
	links   map[*link]bool
	severed bool
	stalled chan struct{} // nil, unless stalled; closed by Resume
	lose    []byte        // the response to a request that contains it
	delay   time.Duration // of data in each direction
}

// A link is one connection, with its two sides.
type link struct {
	client, server net.Conn
	marked         bool // the client sent SUBSCRIBE; guarded by Proxy.mu
	lost           bool // its next response is lost; guarded by Proxy.mu
}

// Start starts a proxy on a loopback port, for a server.
func Start(target string) (*Proxy, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // it returns at once
	if err != nil {
		return nil, err
	}
	p := &Proxy{listener: l, target: target, links: map[*link]bool{}}
	p.done.Go(p.serve)
	return p, nil
}

// Addr returns the address of the proxy.
func (p *Proxy) Addr() string { return p.listener.Addr().String() }

// Close ends the proxy and all connections.
func (p *Proxy) Close() {
	_ = p.listener.Close()
	p.Resume()
	p.Sever()
	p.done.Wait()
}

func (p *Proxy) serve() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.done.Go(func() { p.handle(client) })
	}
}

// handle serves one connection.
func (p *Proxy) handle(client net.Conn) {
	defer client.Close()
	p.mu.Lock()
	target := p.target
	p.mu.Unlock()
	server, err := net.Dial("tcp", target) //nolint:noctx // to the same machine
	if err != nil {
		return
	}
	defer server.Close()
	l := &link{client: client, server: server}
	if !p.add(l) {
		return
	}
	defer p.remove(l)
	var wg sync.WaitGroup
	wg.Go(func() {
		defer l.close()
		p.copy(server, client, func(data []byte) bool { return p.request(l, data) })
	})
	wg.Go(func() {
		defer l.close()
		p.copy(client, server, func([]byte) bool { return p.response(l) })
	})
	wg.Wait()
}

func (p *Proxy) add(l *link) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.severed {
		return false
	}
	p.links[l] = true
	return true
}

func (p *Proxy) remove(l *link) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.links, l)
}

func (l *link) close() {
	_ = l.client.Close()
	_ = l.server.Close()
}

// request inspects the data that a client sends.
func (p *Proxy) request(l *link, data []byte) (pass bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	l.marked = l.marked || bytes.Contains(data, []byte("SUBSCRIBE"))
	if p.lose != nil && bytes.Contains(data, p.lose) {
		p.lose = nil
		l.lost = true
	}
	return true
}

func (p *Proxy) response(l *link) (pass bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return !l.lost
}

// A chunk is data in transit.
type chunk struct {
	data []byte
	due  time.Time
}

// maxChunks limits the chunks in transit on a connection, in each direction.
const maxChunks = 1024

// copy copies until pass returns false. While the proxy is stalled, it does not pass
// data.
func (p *Proxy) copy(dst, src net.Conn, pass func(data []byte) bool) {
	transit := make(chan chunk, maxChunks)
	var reader sync.WaitGroup
	reader.Go(func() {
		defer close(transit)
		p.read(src, transit)
	})
	defer reader.Wait()
	for c := range transit {
		if wait := time.Until(c.due); wait > 0 {
			<-time.After(wait)
		}
		p.mu.Lock()
		stalled := p.stalled
		p.mu.Unlock()
		if stalled != nil {
			<-stalled
		}
		if !pass(c.data) {
			break
		}
		if _, err := dst.Write(c.data); err != nil {
			break
		}
	}
	_ = src.Close()
	for range transit { // the reader may wait
	}
}

func (p *Proxy) read(src net.Conn, transit chan<- chunk) {
	for {
		buf := make([]byte, 16<<10)
		n, err := src.Read(buf)
		if n > 0 {
			p.mu.Lock()
			due := time.Now().Add(p.delay)
			p.mu.Unlock()
			transit <- chunk{buf[:n], due}
		}
		if err != nil {
			return
		}
	}
}

// Delay delays data in each direction, until the next call.
func (p *Proxy) Delay(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.delay = d
}

// Reset breaks all connections.
func (p *Proxy) Reset() { p.reset(func(*link) bool { return true }) }

// reset breaks connections with a TCP reset.
func (p *Proxy) reset(match func(l *link) bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for l := range p.links {
		if !match(l) {
			continue
		}
		for _, c := range []net.Conn{l.client, l.server} {
			if tcp, ok := c.(*net.TCPConn); ok {
				_ = tcp.SetLinger(0)
			}
		}
		l.close()
	}
}

// Sever breaks all connections and accepts no others until Restore.
func (p *Proxy) Sever() {
	p.mu.Lock()
	p.severed = true
	p.mu.Unlock()
	p.Reset()
}

// Restore accepts connections again after Sever.
func (p *Proxy) Restore() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.severed = false
}

// Stall keeps connections open, but passes no data until Resume.
func (p *Proxy) Stall() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stalled == nil {
		p.stalled = make(chan struct{})
	}
}

// Resume passes data again after Stall.
func (p *Proxy) Resume() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stalled != nil {
		close(p.stalled)
		p.stalled = nil
	}
}

// LoseResponse breaks the connection of the next request that contains a text, instead
// of passing the response.
func (p *Proxy) LoseResponse(text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lose = []byte(text)
}

// Redirect forwards new connections to another server, and breaks the existing ones.
func (p *Proxy) Redirect(target string) {
	p.setTarget(target)
	p.Reset()
}

// RedirectCommands is like Redirect, but does not break connections on which a Redis
// client has subscriptions.
func (p *Proxy) RedirectCommands(target string) {
	p.setTarget(target)
	p.reset(func(l *link) bool { return !l.marked })
}

func (p *Proxy) setTarget(target string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.target = target
}
