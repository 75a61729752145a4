package server_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/pondsocket/pond"
	"github.com/pondsocket/pond/internal/suite/kit"
)

// Clients that reset their connection right behind the handshake and a join, while a
// room is busy, are all gone in the end, and every Connected has a Disconnected.
func TestFault04_NothingIsLeftOfClientsThatReset(t *testing.T) {
	const resets = 10_000 / kit.Slowdown
	heads := map[string]string{
		"WebSocket": handshake + string(masked(1, kit.JoinMessage(1))),
		"SSE":       "GET /socket HTTP/1.1\r\nHost: pond\r\nAccept: text/event-stream\r\n\r\n",
	}
	for name, head := range heads {
		t.Run(name, func(t *testing.T) {
			var connected atomic.Int64
			p := pond.New(pond.WithLogger(kit.Silent), pond.WithObserver(&pond.Observer{
				Connected:    func(*pond.Endpoint, string, pond.Transport) { connected.Add(1) },
				Disconnected: func(*pond.Endpoint, string, pond.Transport, error) { connected.Add(-1) },
			}))
			e := p.Endpoint("/socket", kit.Accept, kit.NoPings())
			l := e.Lobby("/chat/:room", kit.Admit)
			kit.Handlers(l)
			server := httptest.NewServer(p)
			defer server.Close()
			addr := server.Listener.Addr().String()
			members := kit.Clients(t, addr, 20)
			base, idle := runtime.NumGoroutine(), 8*runtime.GOMAXPROCS(0) // workers that wait for messages

			stop := make(chan struct{})
			var busy sync.WaitGroup
			for _, m := range members {
				go func() { _, _ = io.Copy(io.Discard, m) }()
				defer m.Close()
			}
			busy.Go(func() {
				ch, _ := e.Channel("/chat/1")
				for {
					select {
					case <-stop:
						return
					default:
						_ = ch.Broadcast("tick", nil) // a full outbox is not the subject
						runtime.Gosched()
					}
				}
			})
			var clients sync.WaitGroup
			for range 8 {
				clients.Go(func() {
					for range resets / 8 {
						if err := resetBehind(addr, head); err != nil {
							t.Error(err)
							return
						}
					}
				})
			}
			clients.Wait()
			close(stop)
			busy.Wait()
			kit.Eventually(t, "the clients that reset are gone", func() bool { return e.Len() == len(members) })
			kit.Eventually(t, "each was reported twice", func() bool { return int(connected.Load()) == len(members) })
			kit.Eventually(t, "no goroutine is left", func() bool { return runtime.NumGoroutine() <= base+len(members)+2+idle })
		})
	}
}

// resetBehind sends head and resets the connection at once.
func resetBehind(addr, head string) error {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return err
	}
	_, err = io.WriteString(conn, head)
	return errors.Join(err, conn.(*net.TCPConn).SetLinger(0), conn.Close())
}

// Ten members that do not read, of 200 and of 1,000 in "make stress", cost less than 50 MB, and are disconnected. The
// others receive everything.
func TestFault11_MembersThatDoNotReadCostLittle(t *testing.T) {
	const members, deaf, size, limit = 1000 / kit.Slowdown, 10, 16 << 10, 50 << 20
	left := make(chan pond.LeaveReason, deaf+members)
	p, e, l := kit.NewPond(kit.NoPings())
	l.OnLeave(func(ctx *pond.LeaveContext) error {
		left <- ctx.Reason()
		return nil
	})
	server := httptest.NewServer(p)
	defer server.Close()
	addr := server.Listener.Addr().String()
	reading := kit.Clients(t, addr, members)
	ch, _ := e.Channel("/chat/1")
	readers := ids(ch)
	for i := range deaf {
		conn, err := kit.Joined(addr, i)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
	}
	marks := make(chan int, members)
	for _, conn := range reading {
		defer conn.Close()
		go func() {
			for n := 1; ; n++ {
				if err := readUntil(conn, fmt.Sprintf(`"mark-%d."`, n)); err != nil {
					marks <- 0 // fails the test unless it ended
					return
				}
				marks <- n
			}
		}()
	}
	base, highest := kit.Heap(), int64(0)
	payload := map[string]string{"text": strings.Repeat("x", size)}
	for range 4 << 20 / size { // the kernel takes more than this for a client that does not read
		if err := ch.Except(readers...).Broadcast("tick", payload); err != nil {
			t.Fatal(err)
		}
	}
	for n, gone := 1, 0; gone < deaf; n++ {
		for range 4 {
			if err := ch.Broadcast("tick", payload); err != nil {
				t.Fatal(err)
			}
		}
		if err := ch.Broadcast(fmt.Sprintf("mark-%d.", n), nil); err != nil {
			t.Fatal(err)
		}
		for range members {
			if got := <-marks; got != n {
				t.Fatalf("a member is at mark %d, want %d", got, n)
			}
		}
		highest = max(highest, kit.Heap()-base)
		for more := true; more; {
			select {
			case reason := <-left:
				if gone++; reason != pond.LeaveSlow {
					t.Fatalf("a member left: %s", reason)
				}
			default:
				more = false
			}
		}
	}
	t.Logf("%d members that do not read cost %d KiB at most", deaf, highest>>10)
	if highest > limit {
		t.Errorf("%d members that do not read cost %d bytes, more than %d", deaf, highest, limit)
	}
	if e.Len() != members {
		t.Errorf("%d members are left, want %d", e.Len(), members)
	}
}

// ids returns the IDs of all users of ch.
func ids(ch *pond.Channel) (all []string) {
	for u := range ch.Users() {
		all = append(all, u.ID)
	}
	return all
}
