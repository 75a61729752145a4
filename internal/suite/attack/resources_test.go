package attack_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pondsocket/pond"
	"github.com/pondsocket/pond/internal/suite/kit"
	"github.com/pondsocket/pond/internal/ws"
	"github.com/pondsocket/pond/pondtest"
)

// U4: a client that reads a kilobyte per second is too slow, like a client that does
// not read at all, but it is harder to detect. Other members get every message at
// once. The slow client is disconnected at the limit.
func TestProbeU4TrickleReader(t *testing.T) {
	const messages = 200
	for _, tr := range pondtest.Transports {
		t.Run(string(tr), func(t *testing.T) {
			var met kit.Limits
			p := pond.New(met.Observer())
			e := p.Endpoint("/socket", kit.Accept, pond.WithOutboxSize(64<<10))
			l := e.Lobby("/chat/:room", kit.Admit)
			reasons := make(chan pond.LeaveReason, 10)
			l.OnLeave(func(ctx *pond.LeaveContext) error {
				select {
				case reasons <- ctx.Reason():
				default:
				}
				return nil
			})
			serveOnPipes(t, p, 4<<10, func(t *testing.T, dial func() net.Conn) {
				slow, fast := dial(), dial()
				var secret string
				if tr == pondtest.SSE {
					secret, _ = openStream(t, slow)
					io.WriteString(dial(), post(secret)+fmt.Sprintf("Content-Length: %d\r\n\r\n", len(joinOf("/chat/1")))+joinOf("/chat/1"))
				} else {
					io.WriteString(slow, upgrade+"\r\n"+string(ws.AppendMasked(nil, ws.Text, true, false, someMask, []byte(joinOf("/chat/1")))))
				}
				io.WriteString(fast, upgrade+"\r\n"+string(ws.AppendMasked(nil, ws.Text, true, false, someMask, []byte(joinOf("/chat/1")))))
				var received atomic.Int64
				go io.Copy(counter{&received}, fast)
				synctest.Wait()
				ch, ok := e.Channel("/chat/1")
				if !ok || ch.Len() != 2 {
					t.Fatal("not all members joined")
				}
				go func() {
					buf := make([]byte, 1<<10)
					for {
						if _, err := slow.Read(buf); err != nil {
							return
						}
						time.Sleep(time.Second)
					}
				}()
				payload := map[string]string{"text": strings.Repeat("x", 2000)}
				for i := range messages {
					before := received.Load()
					if err := ch.Broadcast("n", payload); err != nil {
						t.Fatal(err)
					}
					synctest.Wait() // time does not advance
					if n := received.Load() - before; n < 2000 {
						t.Fatalf("message %d: the fast client got %d bytes", i, n)
					}
					time.Sleep(100 * time.Millisecond)
				}
				select {
				case why := <-reasons:
					if why != pond.LeaveSlow || met.Of(pond.LimitOutbox) != 1 || ch.Len() != 1 {
						t.Errorf("the slow client left with %s, %d are left", why, ch.Len())
					}
				default:
					t.Error("the slow client is still connected")
				}
			})
		})
	}
}

// A counter is a writer that counts bytes.
type counter struct{ n *atomic.Int64 }

func (c counter) Write(p []byte) (int, error) {
	c.n.Add(int64(len(p)))
	return len(p), nil
}

// With a rate limit, every flood of messages has the same result: errors for one more
// burst, and then the client is disconnected.
func TestAttackFloodsMeetTheRateLimit(t *testing.T) {
	const burst = 20
	message := func(action, channel, event, payload string) string {
		return `{"action":"` + action + `","channelName":"` + channel + `","event":"` + event + `","requestId":"r","payload":` + payload + `}`
	}
	for name, flood := range map[string]func(i int) string{
		"joins":   func(i int) string { return message("JOIN_CHANNEL", fmt.Sprint("/chat/", i), "", "{}") },
		"rejoins": func(int) string { return message("JOIN_CHANNEL", "/chat/1", "", "{}") },
		"nowhere": func(i int) string { return message("JOIN_CHANNEL", fmt.Sprint("/nowhere/", i), "", "{}") },
		"in and out": func(i int) string {
			return message([]string{"JOIN_CHANNEL", "LEAVE_CHANNEL"}[i%2], "/chat/2", "", "{}")
		},
		"leaves":     func(int) string { return message("LEAVE_CHANNEL", "/chat/9", "", "{}") },
		"presence":   func(i int) string { return message("BROADCAST", "/chat/1", "update", fmt.Sprintf(`{"i":%d}`, i)) },
		"requests":   func(int) string { return message("BROADCAST", "/chat/1", "ask", "{}") },
		"unknown":    func(i int) string { return message("BROADCAST", "/chat/1", fmt.Sprint("no-", i), "{}") },
		"outside":    func(i int) string { return message("BROADCAST", fmt.Sprint("/chat/no-", i), "ask", "{}") },
		"garbage":    func(int) string { return "garbage" },
		"heartbeats": func(int) string { return `{"action":"ping"}` },
	} {
		t.Run(name, func(t *testing.T) {
			for _, tr := range pondtest.Transports {
				var met kit.Limits
				p := pond.New(met.Observer(), pond.WithLogger(kit.Silent))
				l := p.Endpoint("/socket", kit.Accept, pond.WithRateLimit(1, burst)).Lobby("/chat/:room", kit.Admit)
				l.OnMessage("ask", func(ctx *pond.EventContext) error { return ctx.Reply("answer", nil) })
				l.OnMessage("update", func(ctx *pond.EventContext) error { return ctx.Channel().Upsert(ctx.User().ID, ctx.Payload()) })
				pondtest.Run(t, p, func(t *testing.T, d *pondtest.Driver) {
					s, other := d.Connect(tr, "/socket"), d.Connect(pondtest.WebSocket, "/socket")
					s.Join("/chat/1", nil)
					other.Join("/chat/1", nil)
					for i := range 2 * burst { // including the first join
						s.SendRaw([]byte(flood(i)))
					}
					code, _ := s.Closed()
					if want := map[pondtest.Transport]int{pondtest.WebSocket: ws.ClosePolicy, pondtest.SSE: 0}[tr]; code != want {
						t.Errorf("%s: closed with %d", tr, code)
					}
					refused := 0
					for _, m := range s.Drain() {
						if m.Action == "ERROR" && strings.Contains(string(m.Payload), `"status":429`) {
							refused++
						}
					}
					if n := met.Of(pond.LimitRate); n != burst+1 || refused != n {
						t.Errorf("%s: %d were refused, and %d observed", tr, refused, n)
					}
					other.Request("/chat/1", "ask", nil)
				})
			}
		})
	}
}

// A client can join as many channels as the limit allows, with any number of names.
// Names of rejected joins use no memory.
func TestAttackChannelNameFlood(t *testing.T) {
	const most = 128
	const names = 20_000 / min(kit.Slowdown, 2)
	for _, tr := range pondtest.Transports {
		var met kit.Limits
		p := pond.New(met.Observer())
		e := p.Endpoint("/socket", kit.Accept)
		e.Lobby("/chat/:room", kit.Admit)
		pondtest.Run(t, p, func(t *testing.T, d *pondtest.Driver) {
			s := d.Connect(tr, "/socket")
			n := names
			if tr == pondtest.SSE {
				n = 500 // each message is a request
			}
			events := map[string]int{}
			var before int64
			for i := range n {
				s.SendRaw([]byte(joinOf(fmt.Sprint("/chat/", i))))
				if i%500 == 499 || i == n-1 {
					for _, m := range s.Drain() {
						events[m.Event]++
					}
				}
				if i == 499 {
					before = kit.Heap()
				}
			}
			if grown := kit.Heap() - before; n > 5000 && grown > 256<<10 {
				t.Errorf("%s: memory has grown by %d bytes", tr, grown)
			}
			live := 0
			for range e.Channels() {
				live++
			}
			if live != most || events["ACKNOWLEDGE"] != most || events["UNAUTHORIZED"] != n-most || met.Of(pond.LimitChannels) != n-most {
				t.Errorf("%s: %d channels, answers %v, observed %d", tr, live, events, met.Of(pond.LimitChannels))
			}
		})
	}
}

// The limit of channels is exact if many joins of one client arrive at the same
// time.
func TestAttackParallelJoins(t *testing.T) {
	const most, attempts = 10, 200
	var joined, left atomic.Int32
	p := pond.New()
	e := p.Endpoint("/socket", kit.Accept, pond.WithMaxChannels(most), pond.WithInboxSize(attempts))
	l := e.Lobby("/chat/:room", func(ctx *pond.JoinContext) error {
		time.Sleep(time.Millisecond) // all joins arrived
		joined.Add(1)
		return ctx.Accept()
	})
	l.OnLeave(func(*pond.LeaveContext) error { left.Add(1); return nil })
	pondtest.Run(t, p, func(t *testing.T, d *pondtest.Driver) {
		s := d.Connect(pondtest.SSE, "/socket")
		var wg sync.WaitGroup
		for i := range attempts {
			wg.Go(func() {
				if status := d.Push(s, []byte(joinOf(fmt.Sprint("/chat/", i)))); status != http.StatusNoContent {
					t.Errorf("status %d", status)
				}
			})
		}
		wg.Wait()
		time.Sleep(time.Second)
		count := map[string]int{}
		for _, m := range s.Drain() {
			count[m.Event]++
		}
		if count["ACKNOWLEDGE"] != most || count["UNAUTHORIZED"] != attempts-most || joined.Load() != most {
			t.Errorf("answers %v, the handler ran %d times", count, joined.Load())
		}
		s.Reset()
		synctest.Wait()
		if left.Load() != most {
			t.Errorf("%d members left", left.Load())
		}
	})
}

// All values that an observer can use as metric labels, except names of users,
// channels and events, are from a small set that clients cannot extend.
func TestAttackMetricsCardinality(t *testing.T) {
	var mu sync.Mutex
	labels := map[string]bool{}
	note := func(values ...any) {
		mu.Lock()
		defer mu.Unlock()
		for _, v := range values {
			labels[fmt.Sprintf("%T %v", v, v)] = true
		}
	}
	p := pond.New(pond.WithLogger(kit.Silent), pond.WithObserver(&pond.Observer{
		Connected:    func(e *pond.Endpoint, _ string, tr pond.Transport) { note(e.Path(), tr) },
		Disconnected: func(e *pond.Endpoint, _ string, tr pond.Transport, _ error) { note(e.Path(), tr) },
		Rejected:     func(e *pond.Endpoint, status int) { note(e.Path(), status) },
		Left:         func(_ *pond.Channel, _ pond.User, reason pond.LeaveReason) { note(reason) },
		Limited:      func(e *pond.Endpoint, l pond.Limit) { note(e.Path(), l) },
	}))
	e := p.Endpoint("/:tenant/socket", kit.Accept, pond.WithMaxChannels(3), pond.WithRateLimit(1, 30), pond.WithMaxMessageSize(2000))
	e.Lobby("/chat/:room", kit.Admit)
	pondtest.Run(t, p, func(t *testing.T, d *pondtest.Driver) {
		flood := func(salt string) int {
			for i := range 20 {
				name := fmt.Sprint(salt, i)
				s := d.Connect(pondtest.Transports[i%2], "/"+name+"/socket?x="+name)
				d.Declined(pondtest.SSE, "/"+name+"/socket", pondtest.Header("Origin", "https://"+name+".example"))
				for j := range 10 {
					s.SendRaw([]byte(joinOf("/chat/" + name + strconv.Itoa(j))))
					s.SendRaw([]byte(joinOf("/" + name)))
					s.SendRaw([]byte(joinOf("/chat/" + name + strings.Repeat("x", 1000))))
					s.SendRaw([]byte(name))
				}
				if i%4 == 0 {
					s.SendRaw([]byte(strings.Repeat("x", 3000)))
				}
				synctest.Wait()
				s.Reset()
			}
			synctest.Wait()
			mu.Lock()
			defer mu.Unlock()
			return len(labels)
		}
		first := flood("a")
		if second := flood("b"); second != first || first < 8 {
			t.Errorf("%d labels become %d: %v", first, second, labels)
		}
	})
}

// joinOf returns a message that asks to join a channel.
func joinOf(channel string) string {
	return `{"action":"JOIN_CHANNEL","event":"","channelName":"` + channel + `","requestId":"r","payload":{}}`
}
