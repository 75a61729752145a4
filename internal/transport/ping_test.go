package transport_test

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"sync/atomic"
	"testing"

	"github.com/pondsocket/pond/internal/transport"
	"github.com/pondsocket/pond/internal/ws"
)

// The pings of one read are answered in one write. Of more than 16, only the first 16
// and the last one are answered.
func TestFault19_PongsOfOneReadAreOneWrite(t *testing.T) {
	s := serve(t, testConfig())
	s.writes = new(atomic.Int64)
	c := dial(t, s, "")
	p := receive(t, s.conns)
	p.Send(frame("{}"))
	c.next() // after the response to the handshake
	// All of them fit into the 8 KiB of one read.
	for _, pings := range []int{1, 16, 17, 800} {
		before := s.writes.Load()
		var flood []byte
		for i := range pings {
			flood = ws.AppendMasked(flood, ws.Ping, true, false, [4]byte{1}, []byte(strconv.Itoa(i)))
		}
		if _, err := c.Write(flood); err != nil {
			t.Fatal(err)
		}
		for i := range min(pings, 16) {
			if got, want := c.next(), fmt.Sprintf("pong %d", i); got != want {
				t.Fatalf("%d pings: got %q, want %q", pings, got, want)
			}
		}
		if pings > 16 {
			if got, want := c.next(), fmt.Sprintf("pong %d", pings-1); got != want {
				t.Fatalf("%d pings: got %q, want %q", pings, got, want)
			}
		}
		if n := s.writes.Load() - before; n != 1 {
			t.Errorf("%d pings cost %d writes", pings, n)
		}
	}
}

// A ping is answered before a message that follows it is handled, because handling may
// be slow.
func TestPongsDoNotWaitForMessages(t *testing.T) {
	s := serve(t, testConfig())
	release := make(chan struct{})
	s.onMsg = func(*peer, []byte) { <-release }
	c := dial(t, s, "")
	receive(t, s.conns)
	both := ws.AppendMasked(nil, ws.Ping, true, false, [4]byte{1}, []byte("first"))
	if _, err := c.Write(ws.AppendMasked(both, ws.Text, true, false, [4]byte{1}, []byte("slow"))); err != nil {
		t.Fatal(err)
	}
	if got := c.next(); got != "pong first" {
		t.Errorf("got %q", got)
	}
	close(release)
}

// A client that sends too many control frames is closed.
func TestFault19_ControlRate(t *testing.T) {
	const burst = 20
	for _, op := range []ws.Opcode{ws.Ping, ws.Pong} {
		for _, frames := range []int{burst, burst + 1} {
			t.Run(fmt.Sprintf("opcode %d, %d frames", op, frames), func(t *testing.T) {
				cfg := testConfig()
				cfg.ControlRate, cfg.ControlBurst = 1.0/3600, burst
				s := serve(t, cfg)
				c := dial(t, s, "")
				p := receive(t, s.conns)
				flood := bytes.Repeat(ws.AppendMasked(nil, op, true, false, [4]byte{1}, nil), frames)
				_, _ = c.Write(ws.AppendMasked(flood, ws.Text, true, false, [4]byte{1}, []byte("after")))
				if frames <= burst {
					if got := receive(t, p.msgs); got != "after" {
						t.Errorf("got %q", got)
					}
					return
				}
				if broken := receive(t, p.broken); broken != transport.ErrControlRate {
					t.Errorf("broken: %v", broken)
				}
				if end := c.closed(); end.Code != ws.ClosePolicy {
					t.Errorf("closed with %v", end)
				}
			})
		}
	}
}

// A client that pings and never reads the pongs is closed like other slow clients. Its
// pongs count in the outbox with the memory that they use.
func TestPingsWithoutReading(t *testing.T) {
	cfg := testConfig()
	cfg.OutboxBytes = 1 << 10
	p, near, _ := pipe(t, cfg, nil)
	defer near.Close()
	go func() {
		flood := bytes.Repeat(ws.AppendMasked(nil, ws.Ping, true, false, [4]byte{}, nil), 1000)
		for {
			if _, err := near.Write(flood); err != nil {
				return
			}
		}
	}()
	if cause := receive(t, p.closed); !errors.Is(cause, transport.ErrSlow) {
		t.Errorf("the connection ended with %v", cause)
	}
}
