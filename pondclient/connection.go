package pondclient

import (
	"bytes"
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// A connection is one attempt to connect, and the connection that results from it.
// Three goroutines use it: one that reads, the client's goroutine, which writes, and a
// timer that detects dead connections.
type connection struct {
	// Static after construction.
	client    *Client
	transport Transport
	link      link
	ctx       context.Context // done when the connection ended; its cause is a *ConnectionError
	cancel    context.CancelCauseFunc
	began     time.Time
	welcomed  chan struct{} // closed by the server's first message
	wake      chan struct{} // a value means that there are messages to write; its capacity is one
	release   func() bool   // cancels aborting the link at the end of the client

	received atomic.Int64 // when data last arrived, since began
	asking   atomic.Bool  // a probe was sent, and nothing arrived since
	probe    atomic.Bool  // the writer must send a probe

	watchMu sync.Mutex // guards the following fields
	watch   *time.Timer
	asked   time.Duration // when the last probe was sent, since began

	// Guarded by client.mu.
	userID   string
	secret   string // of an event stream
	features []string
	pond     bool              // the server calls itself as a Pond does, not GATEWAY
	out      []*outgoing       // to be written, the oldest first
	writing  []*outgoing       // in a call of link.write
	leaving  map[string]string // IDs of unconfirmed leaves, by channel
	advice   time.Duration     // when to reconnect, if the server advised it
	advised  time.Time         // when it did

	largest     *outgoing // of all sent messages
	largestSize int       // its size
}

// A link is the transport of a connection.
type link interface {
	// read delivers the received messages until the connection ends, and returns the
	// reason. It is called once.
	read() error

	// write sends messages in order, and returns the result of each. An error means that
	// the connection must end. It also sends the control frames of the transport. Only the
	// writer calls write and the next three methods.
	write(batch []*outgoing) ([]verdict, error)

	// ping sends a probe, which the server answers.
	ping()

	// finish cleans up after a connection that ended. shutdown closes a connection that
	// works.
	finish()
	shutdown()

	// heartbeat returns the interval of the server's heartbeats, if it is known, and
	// whether the server answers probes.
	heartbeat() (interval time.Duration, answers bool)

	// abort ends the network connection at once. Any goroutine may call it, and more than
	// once.
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

// noLink is the link of an attempt that failed.
type noLink struct{}

func (noLink) read() error                                { return nil }
func (noLink) write([]*outgoing) ([]verdict, error)       { return nil, nil }
func (noLink) ping()                                      {}
func (noLink) finish()                                    {}
func (noLink) shutdown()                                  {}
func (noLink) heartbeat() (d time.Duration, answers bool) { return 0, true }
func (noLink) abort()                                     {}

// dial opens the network connection and starts to watch it.
func (n *connection) dial(ctx context.Context, token string) *ConnectionError {
	var l link
	var err error
	if n.transport == WebSocket {
		l, err = n.dialWebSocket(ctx, token)
	} else {
		l, err = n.dialStream(ctx, token)
	}
	if err != nil {
		e := asConnectionError(n.transport, err)
		if ctx.Err() != nil && e.Status == 0 {
			return &ConnectionError{Transport: n.transport, Err: context.Cause(ctx), reached: e.reached}
		}
		return e
	}
	n.link = l
	n.release = context.AfterFunc(n.client.ctx, l.abort)
	n.watchMu.Lock()
	defer n.watchMu.Unlock()
	n.watch = time.AfterFunc(n.client.cfg.probeAfter, n.check)
	return nil
}

// read runs in its own goroutine.
func (n *connection) read() {
	err := errGoexit // unless it returns
	defer func() { n.end(asConnectionError(n.transport, err)) }()
	err = n.link.read()
}

// end records that the connection ended. The writer may still send a close frame.
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

// reason returns why the connection ended, or nil if it did not.
func (n *connection) reason() *ConnectionError {
	if n.ctx.Err() == nil {
		return nil
	}
	return asConnectionError(n.transport, context.Cause(n.ctx))
}

// alive records that data arrived.
func (n *connection) alive() {
	n.received.Store(int64(time.Since(n.began)))
	n.asking.Store(false)
}

// idle returns the time since data last arrived.
func (n *connection) idle() time.Duration {
	return time.Since(n.began) - time.Duration(n.received.Load())
}

// check checks whether data arrived in time. It runs when the timer fires.
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

// askLocked makes the writer send a probe.
func (n *connection) askLocked(now time.Duration) {
	n.asked = now
	n.asking.Store(true)
	n.watch.Reset(n.client.cfg.probeTimeout)
	n.probe.Store(true)
	n.writeSoon()
}

// probeNow sends a probe, unless one is in progress.
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

// flush writes all queued messages. Only the writer calls it.
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

// message handles one message of the transport. Some servers send several JSON
// documents in one message, one per line.
func (n *connection) message(data []byte) {
	for len(data) > 0 {
		line, rest, _ := bytes.Cut(data, []byte{'\n'})
		data = rest
		if line = bytes.TrimSpace(line); len(line) > 0 {
			n.client.receive(n, line)
		}
	}
}

// takeAdvice returns the delay before a reconnect that the server advised not long ago.
func (n *connection) takeAdvice() time.Duration {
	n.client.mu.Lock()
	defer n.client.unlock()
	if time.Since(n.advised) > maxAdvice {
		return 0
	}
	return n.advice
}

// isPond reports whether the server answers as a Pond does.
func (n *connection) isPond() bool {
	n.client.mu.Lock()
	defer n.client.unlock()
	return n.pond
}

// arrays reports whether the server accepts several messages in one POST.
func (n *connection) arrays() bool {
	n.client.mu.Lock()
	defer n.client.unlock()
	return len(n.features) > 0
}

// connectionSecret returns the ID that POST requests of an event stream must contain.
func (n *connection) connectionSecret(otherwise string) string {
	n.client.mu.Lock()
	defer n.client.unlock()
	if n.secret != "" {
		return n.secret
	}
	return otherwise
}

// An interval is the time between two heartbeats. It is safe for concurrent use.
type interval struct{ nanoseconds atomic.Int64 }

func (i *interval) load() time.Duration { return time.Duration(i.nanoseconds.Load()) }

// raise records the time without data before a heartbeat, and keeps the longest. It
// ignores times below a second, because then other data arrived shortly before.
func (i *interval) raise(gap time.Duration) {
	if gap >= time.Second && gap > i.load() {
		i.nanoseconds.Store(int64(gap))
	}
}
