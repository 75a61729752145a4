package promise_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
	"weak"

	"github.com/pondsocket/pond"
	"github.com/pondsocket/pond/internal/suite/kit"
	"github.com/pondsocket/pond/pondtest"
)

// Promise 1: 20,000 messages, and 100,000 in "make stress", cause replies, broadcasts and presence. All recipients
// see the same order, and each client gets the effects of its own messages in the
// order in which it sent them.
func TestPromiseOrder(t *testing.T) {
	const clients, burst = 5, 500
	const rounds = 40 / kit.Slowdown
	type numbered struct {
		From string
		N    int
	}
	p := pond.New()
	l := p.Endpoint("/socket", kit.Accept).Lobby("/chat/:room", func(ctx *pond.JoinContext) error {
		return errors.Join(ctx.Accept(), ctx.Track(numbered{ctx.User().ID, -1}))
	})
	pond.On(l, pond.Event[numbered]("mix"), func(ctx *pond.EventContext, m numbered) error {
		switch m.N % 5 {
		case 0:
			return ctx.Reply("reply", m)
		case 1:
			return ctx.Update(m)
		case 2:
			return errors.Join(ctx.Broadcast("all", m), ctx.Reply("reply", m))
		default:
			return ctx.Broadcast("all", m)
		}
	})
	pondtest.Run(t, p, func(t *testing.T, d *pondtest.Driver) {
		sessions := make([]*pondtest.Session, clients)
		for i := range sessions {
			sessions[i] = d.Connect(pondtest.Transports[i%2], "/socket")
			sessions[i].Join("/chat/1", nil)
		}
		synctest.Wait()
		for _, s := range sessions {
			s.Drain()
		}
		last := make([]map[string]int, clients) // of each client: the latest number of each sender
		for i := range last {
			last[i] = map[string]int{}
		}
		for round := range rounds {
			for i := range burst {
				n := round*burst + i
				for _, s := range sessions {
					s.Send("/chat/1", "mix", numbered{s.ID(), n})
				}
			}
			synctest.Wait()
			var first []string // broadcasts and presence, in the order of the first client
			for i, s := range sessions {
				var seen []string
				for _, m := range s.Drain() {
					var got numbered
					payload := m.Payload
					if m.Action == "PRESENCE" {
						var change struct{ Changed json.RawMessage }
						m.Bind(t, &change)
						payload = change.Changed
					}
					if err := json.Unmarshal(payload, &got); err != nil {
						t.Fatalf("%v: %v", m, err)
					}
					if m.Action != "SYSTEM" {
						seen = append(seen, fmt.Sprint(got.From, got.N))
					} else if got.From != s.ID() {
						t.Fatalf("client %d got the reply %v", i, m)
					}
					if before, known := last[i][got.From]; known && got.N < before {
						t.Fatalf("client %d: %d of %s came after %d", i, got.N, got.From, before)
					}
					last[i][got.From] = got.N
				}
				if first == nil {
					first = seen
				}
				if strings.Join(seen, ",") != strings.Join(first, ",") {
					t.Fatalf("clients 0 and %d received different orders", i)
				}
				if len(seen) != clients*burst*4/5 {
					t.Fatalf("client %d got %d messages of %d", i, len(seen), clients*burst*4/5)
				}
			}
		}
	})
}

// Promises 2 and 3: 10 of 200 members, and of 1,000 in "make stress", stop reading. They are disconnected with a
// reason, and the others get everything.
func TestPromiseSlowClients(t *testing.T) {
	const members, slow, messages = 1000 / kit.Slowdown, 10, 100
	var reasons atomic.Int32
	p, e, l := kit.NewPond(pond.WithOutboxSize(64 << 10))
	l.OnLeave(func(ctx *pond.LeaveContext) error {
		if ctx.Reason() == pond.LeaveSlow {
			reasons.Add(1)
		}
		return nil
	})
	pondtest.Run(t, p, func(t *testing.T, d *pondtest.Driver) {
		sessions := make([]*pondtest.Session, members)
		for i := range sessions {
			tr := pondtest.WebSocket
			if i < slow {
				tr = pondtest.Transports[i%2]
			}
			sessions[i] = d.Connect(tr, "/socket")
			sessions[i].Join("/chat/1", nil)
		}
		ch, _ := e.Channel("/chat/1")
		for _, s := range sessions[:slow] {
			s.Stall()
		}
		payload := map[string]string{"text": strings.Repeat("x", 2000)}
		for i := range messages {
			if err := ch.Broadcast("n", payload); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			for j, s := range sessions[slow:] {
				if got := len(s.Drain()); got != 1 {
					t.Fatalf("message %d: client %d got %d messages", i, j, got)
				}
			}
		}
		time.Sleep(2 * time.Second) // of virtual time: until they are slow
		if got := reasons.Load(); got != slow {
			t.Errorf("%d clients were found slow, want %d", got, slow)
		}
		if got := ch.Len(); got != members-slow {
			t.Errorf("%d members are left, want %d", got, members-slow)
		}
		for i, s := range sessions[:slow] {
			s.Resume()
			want := map[pondtest.Transport]int{pondtest.WebSocket: 1013, pondtest.SSE: 0}[pondtest.Transports[i%2]]
			if code, _ := s.Closed(); code != want {
				t.Errorf("client %d: closed with %d, want %d", i, code, want)
			}
		}
	})
}

// Promise 2: the queue for a client that does not read is bounded in bytes.
func TestPromiseBoundedOutbox(t *testing.T) {
	kit.OnBoth(t, func() *pond.Pond { p, _, _ := kit.NewPond(); return p }, func(t *testing.T, d *pondtest.Driver, tr pondtest.Transport) {
		stalled, sender := d.Connect(tr, "/socket"), d.Connect(pondtest.WebSocket, "/socket")
		stalled.Join("/chat/1", nil)
		sender.Join("/chat/1", nil)
		stalled.Stall()
		payload := map[string]string{"text": strings.Repeat("x", 100<<10)}
		base := kit.Heap()
		for range 320 { // 32 MiB
			sender.Send("/chat/1", "tell-others", payload)
			synctest.Wait()
		}
		if grown := kit.Heap() - base; grown > 4<<20 {
			t.Errorf("memory has grown by %d bytes", grown)
		}
	})
}

// Promise 4: a panic in any handler affects only its own event, and every membership
// still ends once.
func TestPromisePanic(t *testing.T) {
	var left atomic.Int32
	p := pond.New(pond.WithLogger(kit.Silent))
	e := p.Endpoint("/socket", func(ctx *pond.ConnectionContext) error {
		if ctx.Query().Has("panic") {
			panic("connect")
		}
		return ctx.Accept()
	})
	l := e.Lobby("/chat/:room", func(ctx *pond.JoinContext) error {
		if ctx.Channel().Param("room") == "panic" {
			panic("join")
		}
		err := ctx.Accept()
		if ctx.Channel().Param("room") == "late" {
			panic("join, late")
		}
		return err
	})
	l.OnMessage("panic", func(*pond.EventContext) error { panic("message") })
	l.OnMessage("index", func(ctx *pond.EventContext) error { _ = ctx.Payload()[99]; return nil })
	l.OnMessage("say", func(ctx *pond.EventContext) error { return ctx.Broadcast("said", nil) })
	l.OnMessage("out", func(ctx *pond.EventContext) error { return ctx.Broadcast("out", nil) })
	l.OnOutgoing("out", func(*pond.OutgoingContext) error { panic("outgoing") })
	l.OnLeave(func(*pond.LeaveContext) error { left.Add(1); panic("leave") })
	pondtest.Run(t, p, func(t *testing.T, d *pondtest.Driver) {
		for _, tr := range pondtest.Transports {
			if resp := d.Declined(tr, "/socket?panic"); resp.StatusCode != http.StatusInternalServerError {
				t.Errorf("%s: status %d", tr, resp.StatusCode)
			}
			bad, good := d.Connect(tr, "/socket"), d.Connect(tr, "/socket")
			good.Join("/chat/1", nil)
			bad.Join("/chat/1", nil)
			bad.Join("/chat/panic", nil)
			bad.Join("/chat/late", nil)
			if m := bad.Receive(); m.Event != "CHANNEL_ERROR" {
				t.Errorf("got %v", m)
			}
			for _, event := range []string{"panic", "index"} {
				if m := bad.Request("/chat/1", event, nil); kit.Status(t, m) != 500 {
					t.Errorf("got %v", m)
				}
			}
			bad.Send("/chat/1", "out", nil)
			bad.Send("/chat/1", "say", nil)
			for _, s := range []*pondtest.Session{bad, good} {
				s.Expect("said")
				s.Quiet()
			}
			left.Store(0)
			bad.Reset()
			synctest.Wait()
			if left.Load() != 2 {
				t.Errorf("%d leave handlers ran, want 2", left.Load())
			}
			good.Send("/chat/1", "say", nil)
			good.Expect("said")
		}
	})
}

// Promise 4: slow handlers delay neither the heartbeats of their own client nor
// other clients.
func TestPromiseSlowHandler(t *testing.T) {
	p, _, l := kit.NewPond()
	l.OnMessage("sleep", func(ctx *pond.EventContext) error {
		time.Sleep(10 * time.Minute)
		return ctx.Reply("slept", nil)
	})
	pondtest.Run(t, p, func(t *testing.T, d *pondtest.Driver) {
		s, other := d.Connect(pondtest.WebSocket, "/socket"), d.Connect(pondtest.WebSocket, "/socket")
		s.Join("/chat/1", nil)
		other.Join("/chat/1", nil)
		for range 200 { // more than fit into the inbox
			s.Send("/chat/1", "sleep", nil)
		}
		other.Request("/chat/1", "ask", nil)
		time.Sleep(11 * time.Minute)
		s.Expect("slept")
		s.Reset()
		time.Sleep(40 * time.Hour)
	})
}

// Promise 5: a client gets no credentials of another client in any message.
func TestPromiseNoSecrets(t *testing.T) {
	p, e, _ := kit.NewPond()
	pondtest.Run(t, p, func(t *testing.T, d *pondtest.Driver) {
		victim, spy := d.Connect(pondtest.SSE, "/socket"), d.Connect(pondtest.SSE, "/socket")
		for _, s := range []*pondtest.Session{victim, spy} {
			s.Join("/chat/1", nil)
			s.Send("/chat/1", "track", nil)
		}
		victim.Send("/chat/1", "say", nil)
		victim.Send("/chat/1", "tell/"+spy.ID(), nil)
		ch, _ := e.Channel("/chat/1")
		_ = ch.Evict(victim.ID(), "x")
		ch.Close("")
		synctest.Wait()
		if victim.ConnectionID() == victim.ID() || len(victim.ConnectionID()) < 22 {
			t.Errorf("connection ID %q", victim.ConnectionID())
		}
		if strings.Contains(string(spy.Bytes()), victim.ConnectionID()) {
			t.Error("another client knows a connection ID")
		}
	})
}

// Promise 6: memory returns to its base when clients leave, and declined joins leave
// nothing behind. The server does not keep handled messages, even if their client
// stays idle.
func TestPromiseMemoryOfMessages(t *testing.T) {
	var payload weak.Pointer[byte]
	p := pond.New()
	p.Endpoint("/socket", kit.Accept).Lobby("/chat/:n", kit.Admit).OnMessage("say", func(ctx *pond.EventContext) error {
		payload = weak.Make(&ctx.Payload()[0])
		return nil
	})
	pondtest.Run(t, p, func(t *testing.T, d *pondtest.Driver) {
		s := d.Connect(pondtest.WebSocket, "/socket")
		s.Join("/chat/1", nil)
		s.Send("/chat/1", "say", map[string]string{"text": strings.Repeat("x", 50_000)})
		s.Quiet()
		runtime.GC()
		if payload.Value() != nil {
			t.Error("the message is still in memory")
		}
	})
}

func TestPromiseMemory(t *testing.T) {
	p := pond.New()
	e := p.Endpoint("/socket", kit.Accept)
	e.Lobby("/declined/:n", func(ctx *pond.JoinContext) error { return ctx.Decline(403, "") })
	e.Lobby("/chat/:n", kit.Admit)
	pondtest.Run(t, p, func(t *testing.T, d *pondtest.Driver) {
		s := d.Connect(pondtest.WebSocket, "/socket")
		flood := func(format string, n int, leave bool) {
			for i := range n {
				ch := fmt.Sprintf(format, i)
				s.SendRaw([]byte(`{"action":"JOIN_CHANNEL","event":"","channelName":"` + ch + `","requestId":"","payload":{}}`))
				if leave {
					s.SendRaw([]byte(`{"action":"LEAVE_CHANNEL","event":"","channelName":"` + ch + `","requestId":"","payload":{}}`))
				}
				if i%1000 == 999 {
					synctest.Wait()
					s.Drain()
				}
			}
		}
		flood("/declined/%d", 1000, false)
		flood("/chat/%d", 1000, true)
		base := kit.Heap()
		flood("/declined/%d", 100_000/kit.Slowdown, false)
		flood("/chat/%d", 20_000/kit.Slowdown, true)
		if grown := kit.Heap() - base; grown > 256<<10 {
			t.Errorf("memory has grown by %d bytes", grown)
		}
	})
}
