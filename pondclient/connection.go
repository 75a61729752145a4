package pondclient

import (
	"bytes"
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// A connection is one attempt to connect, and what comes of it. Three goroutines
// use it: the one that reads, the one that writes, which is the client's, and a
// timer that watches for silence.
type connection struct {
	// Static after construction.
	client    *Client
	transport Transport
	link      link
	ctx       context.Context // done when the connection has ended; its cause is a *ConnectionError
	cancel    context.CancelCauseFunc
	began     time.Time
	welcomed  chan struct{} // closed by the server's first message
	wake      chan struct{} // has room for one: there is something to write
	release   func() bool   // forgets that the end of the client aborts the link

	heard  atomic.Int64 // when something arrived last, since began
	asking atomic.Bool  // a sign of life was asked for, and nothing arrived since
	probe  atomic.Bool  // the writer must ask for a sign of life

	watchMu sync.Mutex // guards the following fields
	watch   *time.Timer
	asked   time.Duration // when a sign of life was asked for last, since began

	// Guarded by client.mu.
	userID   string
	secret   string // of an event stream
	features []string
	out      []*outgoing       // to be written, the oldest first
	writing  []*outgoing       // the writer has them
	leaving  map[string]string // IDs of leaves that are not confirmed, by channel
	advice   time.Duration     // when to connect again, if the server said so
}

// A link is a connection as bytes.
type link interface {
	// read delivers what arrives, until the connection ends, and returns why.
	// Only one goroutine calls it, once.
	read() error

	// write sends messages in order and returns what became of each. An error
	// means that the connection has to end. It also sends what the protocol of
	// the transport needs. Only the writer calls it, and the next three.
	write(batch []*outgoing) ([]verdict, error)

	// ping asks the server for a sign of life.
	ping()

	// finish ends a connection that has ended by itself. farewell ends one that
	// works.
	finish()
	farewell()

	// heartbeat returns the interval of the server's heartbeats as far as it is
	// known, and whether the server answers when it is asked.
	heartbeat() (interval time.Duration, answers bool)

	// abort ends the network connection at once. Any goroutine may call it,
	// several times.
	abort()
}

func (c *Client) newConnection(t Transport) *connection {
	n := &connection{
		client:    c,
		transport: t,
		began:     time.Now(),
		welcomed:  make(chan struct{}),
		wake:      make(chan struct{}, 1),
		leaving:   map[string]string{},
		release:   func() bool { return true },
		link:      noLink{},
	}
	n.ctx, n.cancel = context.WithCancelCause(c.ctx)
	return n
}

// noLink is the link of a connection that was not made.
type noLink struct{}

func (noLink) read() error                                { return nil }
func (noLink) write([]*outgoing) ([]verdict, error)       { return nil, nil }
func (noLink) ping()                                      {}
func (noLink) finish()                                    {}
func (noLink) farewell()                                  {}
func (noLink) heartbeat() (d time.Duration, answers bool) { return 0, true }
func (noLink) abort()                                     {}

// dial opens the network connection and begins to watch it.
func (n *connection) dial(ctx context.Context, token string) *ConnectionError {
	var l link
	var err error
	if n.transport == WebSocket {
		l, err = n.dialWebSocket(ctx, token)
	} else {
		l, err = n.dialStream(ctx, token)
	}
	if err != nil {
		if ctx.Err() != nil {
			reached := asConnectionError(n.transport, err).reached
			return &ConnectionError{Transport: n.transport, Err: context.Cause(ctx), reached: reached}
		}
		return asConnectionError(n.transport, err)
	}
	n.link = l
	n.release = context.AfterFunc(n.client.ctx, l.abort)
	n.watchMu.Lock()
	defer n.watchMu.Unlock()
	n.watch = time.AfterFunc(n.client.cfg.probeAfter, n.check)
	return nil
}

// read runs in a goroutine of its own.
func (n *connection) read() {
	err := n.link.read()
	n.end(asConnectionError(n.transport, err))
}

// end says that the connection has ended by itself. The writer may still have a
// close frame to send.
func (n *connection) end(reason *ConnectionError) {
	n.cancel(reason)
	n.watchMu.Lock()
	defer n.watchMu.Unlock()
	n.release()
	n.watch.Reset(closeWait) // the writer may be blocked
}

// abort ends the connection at once.
func (n *connection) abort(reason *ConnectionError) {
	n.cancel(reason)
	n.link.abort()
	n.watchMu.Lock()
	defer n.watchMu.Unlock()
	n.release()
	if n.watch != nil {
		n.watch.Stop()
	}
}

// reason returns why the connection has ended, or nil if it has not.
func (n *connection) reason() *ConnectionError {
	if n.ctx.Err() == nil {
		return nil
	}
	return asConnectionError(n.transport, context.Cause(n.ctx))
}

// alive takes note that something arrived.
func (n *connection) alive() {
	n.heard.Store(int64(time.Since(n.began)))
	n.asking.Store(false)
}

// idle returns how long nothing arrived.
func (n *connection) idle() time.Duration {
	return time.Since(n.began) - time.Duration(n.heard.Load())
}

// check looks whether the connection is silent. It runs when the timer fires.
func (n *connection) check() {
	if n.ctx.Err() != nil {
		n.link.abort()
		return
	}
	n.watchMu.Lock()
	defer n.watchMu.Unlock()
	cfg := &n.client.cfg
	limit := cfg.probeAfter
	interval, answers := n.link.heartbeat()
	if !answers {
		limit = max(3*limit, interval*5/2)
	}
	idle := n.idle()
	now := time.Since(n.began)
	asked := n.asking.Load()
	switch {
	case asked && now-n.asked >= cfg.probeTimeout, !asked && idle >= limit && !answers && interval > 0:
		n.cancel(&ConnectionError{Transport: n.transport, Err: ErrSilence})
		n.link.abort()
	case asked:
		n.watch.Reset(cfg.probeTimeout - (now - n.asked))
	case idle >= limit:
		n.askLocked(now)
	default:
		n.watch.Reset(limit - idle)
	}
}

// askLocked makes the writer ask for a sign of life.
func (n *connection) askLocked(now time.Duration) {
	n.asked = now
	n.asking.Store(true)
	n.watch.Reset(n.client.cfg.probeTimeout)
	n.probe.Store(true)
	n.writeSoon()
}

// probeNow asks for a sign of life, unless that is in progress.
func (n *connection) probeNow() {
	n.watchMu.Lock()
	defer n.watchMu.Unlock()
	if n.ctx.Err() == nil && !n.asking.Load() {
		n.askLocked(time.Since(n.began))
	}
}

// writeSoon wakes the writer.
func (n *connection) writeSoon() {
	select {
	case n.wake <- struct{}{}:
	default:
	}
}

// flush writes everything that waits. Only the writer calls it.
func (n *connection) flush() {
	if n.probe.Swap(false) {
		n.link.ping()
	}
	for n.ctx.Err() == nil {
		batch := n.client.takeBatch(n)
		verdicts, err := n.link.write(batch)
		n.client.settle(n, batch, verdicts)
		if err != nil {
			n.abort(asConnectionError(n.transport, err))
			return
		}
		if len(batch) == 0 {
			return
		}
	}
}

// message takes one message of the transport. Some servers put several documents
// into one, in lines.
func (n *connection) message(data []byte) {
	for len(data) > 0 {
		line, rest, _ := bytes.Cut(data, []byte{'\n'})
		data = rest
		if line = bytes.TrimSpace(line); len(line) > 0 {
			n.client.receive(n, line)
		}
	}
}

// takeAdvice returns when the server wants the client to connect again.
func (n *connection) takeAdvice() time.Duration {
	n.client.mu.Lock()
	defer n.client.unlock()
	return n.advice
}

// arrays reports whether the server takes several messages in one POST.
func (n *connection) arrays() bool {
	n.client.mu.Lock()
	defer n.client.unlock()
	return len(n.features) > 0
}

// connectionSecret returns the ID with which an event stream sends.
func (n *connection) connectionSecret(otherwise string) string {
	n.client.mu.Lock()
	defer n.client.unlock()
	if n.secret != "" {
		return n.secret
	}
	return otherwise
}

// An interval is the time between two heartbeats, which goroutines share.
type interval struct{ nanoseconds atomic.Int64 }

func (i *interval) load() time.Duration { return time.Duration(i.nanoseconds.Load()) }

// raise takes note of the gap before a heartbeat. The longest counts. What comes within
// a second of something else does not show an interval.
func (i *interval) raise(gap time.Duration) {
	if gap >= time.Second && gap > i.load() {
		i.nanoseconds.Store(int64(gap))
	}
}
