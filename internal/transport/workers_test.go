package transport_test

import (
	"strconv"
	"strings"
	"testing"

	"github.com/pondsocket/pond/internal/transport"
)

// A slow handler delays the next messages of its client. They stay in order, for any
// number of reads.
func TestReadsAreDecodedInOrder(t *testing.T) {
	const messages = 500
	s := serve(t, testConfig())
	first, release := make(chan struct{}), make(chan struct{})
	got := make(chan string, messages)
	s.onMsg = func(_ *peer, data []byte) {
		text := string(data[:strings.IndexByte(string(data), ' ')])
		if text == "0" {
			close(first)
			<-release
		}
		got <- text
	}
	c := dial(t, s, "")
	for i := range messages {
		c.send(strconv.Itoa(i) + " " + strings.Repeat("x", i*7%1000)) // more than the size of one read
		if i == 0 {
			receive(t, first)
		}
	}
	close(release)
	for i := range messages {
		if text := receive(t, got); text != strconv.Itoa(i) {
			t.Fatalf("got %s, want %d", text, i)
		}
	}
}

// Abort does not wait for the handler of a message, even if more messages were read.
func TestAbortDoesNotWaitForMessages(t *testing.T) {
	s := serve(t, testConfig())
	taken, release := make(chan struct{}, 1), make(chan struct{})
	s.onMsg = func(*peer, []byte) {
		taken <- struct{}{}
		<-release
	}
	defer close(release)
	for range 20 {
		c := dial(t, s, "")
		p := receive(t, s.conns)
		c.send("one")
		c.send(strings.Repeat("two ", 10_000)) // is read while the first is handled
		receive(t, taken)
		done := make(chan struct{})
		go func() {
			p.Abort(transport.ErrClosed)
			close(done)
		}()
		receive(t, done)
		receive(t, p.closed)
	}
}

// No client waits for another client's handler. A few of the necessary workers are kept
// while there are connections.
func TestWorkersStayWithConnections(t *testing.T) {
	const clients = 200
	s := serve(t, testConfig())
	all := make(chan struct{}, clients)
	release := map[string]chan struct{}{"first": make(chan struct{}), "second": make(chan struct{})}
	s.onMsg = func(_ *peer, data []byte) {
		all <- struct{}{}
		<-release[string(data)]
	}
	var peers []*peer
	hello := func(clients int, text string) {
		for range clients {
			dial(t, s, "").send(text)
			peers = append(peers, receive(t, s.conns))
		}
		for range clients {
			receive(t, all)
		}
	}
	hello(clients, "first")
	close(release["first"])
	hello(clients/2, "second")
	if n := s.hub.Idle(); n > s.hub.MaxIdle() {
		t.Errorf("%d workers are idle, want %d at most", n, s.hub.MaxIdle())
	}
	for _, p := range peers { // the last of them are busy
		p.Abort(transport.ErrClosed)
	}
	close(release["second"])
	if err := s.hub.Wait(t.Context()); err != nil {
		t.Error(err)
	}
	if n := s.hub.Idle(); n > 0 {
		t.Errorf("%d workers are left", n)
	}
}

// Data after a close frame or an invalid frame is read, because unread data could
// destroy our close frame in transit. It is not decoded.
func TestNothingFollowsAnError(t *testing.T) {
	s := serve(t, testConfig())
	c := dial(t, s, "")
	p := receive(t, s.conns)
	_, _ = c.Write([]byte{0x81, 0x01, 'x'}) // not masked
	receive(t, p.broken)
	for range 100 {
		c.send("too late")
	}
	c.closed()
	receive(t, p.closed)
	if len(p.msgs)+len(p.broken) > 0 {
		t.Errorf("%d messages and %d errors after the first", len(p.msgs), len(p.broken))
	}
}
