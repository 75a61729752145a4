package server_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pondsocket/pond"
	"github.com/pondsocket/pond/internal/suite/kit"
	"github.com/pondsocket/pond/pondtest"
)

// The limit of connections is exact if many clients connect at the same time.
func TestMaxConnsIsExact(t *testing.T) {
	const limit, attempts = 20, 100
	var inside, most atomic.Int32
	var met kit.Limits
	p := pond.New(met.Observer())
	p.Endpoint("/socket", func(ctx *pond.ConnectionContext) error {
		n := inside.Add(1)
		defer inside.Add(-1)
		for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
		}
		time.Sleep(time.Second) // until all clients have sent their requests
		return ctx.Accept()
	}, pond.WithMaxConns(limit))
	pondtest.Run(t, p, func(t *testing.T, d *pondtest.Driver) {
		var wg sync.WaitGroup
		codes := make(chan int, attempts)
		for range attempts {
			req := kit.Request("GET", "/socket", "", "Connection: Upgrade", "Upgrade: websocket",
				"Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==")
			wg.Go(func() { codes <- d.Do(req).StatusCode })
		}
		wg.Wait()
		close(codes)
		count := map[int]int{}
		for code := range codes {
			count[code]++
		}
		if count[101] != limit || count[503] != attempts-limit {
			t.Errorf("statuses %v", count)
		}
		if most.Load() > limit {
			t.Errorf("the connection handler ran for %d at once", most.Load())
		}
		if met.Of(pond.LimitConns) != attempts-limit {
			t.Errorf("observed %d", met.Of(pond.LimitConns))
		}
		synctest.Wait()
		// A slot is free again when its client disconnected, and a rejected client does not keep one.
		d.Connect(pondtest.WebSocket, "/socket")
	})
}

func TestMessageLimits(t *testing.T) {
	var met kit.Limits
	p := pond.New(met.Observer(), pond.WithLogger(kit.Silent))
	l := p.Endpoint("/socket", kit.Accept, pond.WithMaxMessageSize(1000), pond.WithMaxDepth(5), pond.WithMaxFragments(3)).Lobby("/chat", kit.Admit)
	l.OnMessage("ask", func(ctx *pond.EventContext) error { return ctx.Reply("answer", nil) })
	pondtest.Run(t, p, func(t *testing.T, d *pondtest.Driver) {
		s := d.Connect(pondtest.WebSocket, "/socket")
		s.Join("/chat", nil)
		s.SendRaw([]byte(`{"action":"BROADCAST","event":"ask","channelName":"/chat","requestId":"deep","payload":{"a":` +
			strings.Repeat("[", 10) + strings.Repeat("]", 10) + `}}`))
		if m := s.Receive(); m.Event != "INVALID_MESSAGE" || kit.Status(t, m) != 400 {
			t.Errorf("got %v", m)
		}
		kit.Is(t, s.Request("/chat", "ask", nil), "SYSTEM", "answer", "{}") // still a member

		s.SendRaw([]byte(strings.Repeat("x", 1001)))
		if m := s.Receive(); m.Event != "INVALID_MESSAGE" || kit.Status(t, m) != http.StatusRequestEntityTooLarge || m.Channel != "ENDPOINT" {
			t.Errorf("got %v", m)
		}
		if code, _ := s.Closed(); code != 1009 {
			t.Errorf("closed with %d", code)
		}

		s = d.Connect(pondtest.WebSocket, "/socket")
		mask := string([]byte{0, 0, 0, 0})
		s.SendFrame([]byte("\x01\x80" + mask + strings.Repeat("\x00\x80"+mask, 5)))
		if code, _ := s.Closed(); code != 1008 {
			t.Errorf("closed with %d", code)
		}
		if met.Of(pond.LimitDepth) != 1 {
			t.Errorf("observed %v", &met)
		}
		if met.Of(pond.LimitMessage) != 1 || met.Of(pond.LimitFragments) != 1 {
			t.Errorf("observed %v", &met)
		}
	})
}

// The heartbeat of old official clients is ignored. All other invalid messages get
// an error, with the names that could be decoded.
func TestInvalidMessages(t *testing.T) {
	kit.OnBothPlain(t, func(t *testing.T, d *pondtest.Driver, tr pondtest.Transport) {
		s := d.Connect(tr, "/socket")
		s.SendRaw([]byte(`{"action":"ping"}`))
		s.Quiet()
		s.SendRaw([]byte(`{"action":"FOO","event":"e","channelName":"/chat/1","requestId":"r9","payload":{}}`))
		m := s.Receive()
		if m.Action != "ERROR" || m.Event != "INVALID_MESSAGE" || m.RequestID != "r9" || m.Channel != "/chat/1" || kit.Status(t, m) != 400 {
			t.Errorf("got %v", m)
		}
		s.SendRaw([]byte("\xff\xfe"))
		if tr == pondtest.WebSocket {
			if code, _ := s.Closed(); code != 1007 {
				t.Errorf("closed with %d", code)
			}
			return
		}
		if m := s.Receive(); m.Channel != "ENDPOINT" || kit.Status(t, m) != 400 {
			t.Errorf("got %v", m)
		}
	})
}

func TestRateLimit(t *testing.T) {
	var met kit.Limits
	p := pond.New(met.Observer())
	l := p.Endpoint("/socket", kit.Accept, pond.WithRateLimit(1, 5)).Lobby("/chat", kit.Admit)
	l.OnMessage("ask", func(ctx *pond.EventContext) error { return ctx.Reply("answer", nil) })
	pondtest.Run(t, p, func(t *testing.T, d *pondtest.Driver) {
		for _, tr := range pondtest.Transports {
			s, other := d.Connect(tr, "/socket"), d.Connect(tr, "/socket")
			s.Join("/chat", nil)
			for range 4 {
				s.Request("/chat", "ask", nil)
			}
			if m := s.Request("/chat", "ask", nil); m.Event != "HANDLER_NOT_FOUND" || kit.Status(t, m) != http.StatusTooManyRequests {
				t.Errorf("got %v", m)
			}
			time.Sleep(time.Second) // one more token
			kit.Is(t, s.Request("/chat", "ask", nil), "SYSTEM", "answer", "{}")
			other.Join("/chat", nil) // has a limit of its own
			for range 6 {
				s.Send("/chat", "ask", nil)
			}
			code, _ := s.Closed()
			if want := map[pondtest.Transport]int{pondtest.WebSocket: 1008, pondtest.SSE: 0}[tr]; code != want {
				t.Errorf("closed with %d, want %d", code, want)
			}
		}
		if met.Of(pond.LimitRate) != 14 {
			t.Errorf("observed %d", met.Of(pond.LimitRate))
		}
	})
}

// Messages of an event stream wait in order while the inbox is full. Further
// messages are rejected when too many wait.
func TestStreamInbox(t *testing.T) {
	var met kit.Limits
	p := pond.New(met.Observer())
	l := p.Endpoint("/socket", kit.Accept, pond.WithInboxSize(4), pond.WithPostQueue(4, 1<<20)).Lobby("/chat", kit.Admit)
	release := make(chan struct{})
	l.OnMessage("wait", func(*pond.EventContext) error { <-release; return nil })
	l.OnMessage("n", func(ctx *pond.EventContext) error { return ctx.Reply("n", ctx.Payload()) })
	pondtest.Run(t, p, func(t *testing.T, d *pondtest.Driver) {
		release = make(chan struct{})
		s := d.Connect(pondtest.SSE, "/socket")
		s.Join("/chat", nil)
		s.Send("/chat", "wait", nil)
		var wg sync.WaitGroup
		var busy atomic.Int32
		for i := range 12 {
			wg.Go(func() {
				body, _ := json.Marshal(map[string]any{
					"action": "BROADCAST", "event": "n", "channelName": "/chat", "requestId": "r",
					"payload": map[string]int{"i": i},
				})
				if status := d.Push(s, body); status == http.StatusServiceUnavailable {
					busy.Add(1)
				} else if status != http.StatusNoContent {
					t.Errorf("status %d", status)
				}
			})
			synctest.Wait() // so that they arrive one after the other
		}
		if busy.Load() != 4 || met.Of(pond.LimitPosts) != 4 { // four in the inbox, and four requests that wait
			t.Errorf("%d were refused, %d observed", busy.Load(), met.Of(pond.LimitPosts))
		}
		close(release)
		wg.Wait()
		for range 4 {
			if m := s.Receive(); m.Event != "INVALID_MESSAGE" || m.Channel != "ENDPOINT" || kit.Status(t, m) != http.StatusServiceUnavailable {
				t.Fatalf("got %v", m)
			}
		}
		for want := range 8 {
			var got struct{ I int }
			s.Receive().Bind(t, &got)
			if got.I != want {
				t.Fatalf("message %d came as number %d", got.I, want)
			}
		}
		s.Quiet()
	})
}

// The messages that wait for a slow handler are also bounded in bytes.
func TestInboxIsBoundedInBytes(t *testing.T) {
	const messages, size = 20, 900 << 10
	release := make(chan struct{})
	p, _, l := kit.NewPond()
	l.OnMessage("wait", func(ctx *pond.EventContext) error {
		<-release
		return ctx.Reply("done", nil)
	})
	pondtest.Run(t, p, func(t *testing.T, d *pondtest.Driver) {
		release = make(chan struct{})
		s := d.Connect(pondtest.WebSocket, "/socket")
		s.Join("/chat/1", nil)
		body := []byte(`{"action":"BROADCAST","event":"wait","channelName":"/chat/1","requestId":"r","payload":{"x":"` +
			strings.Repeat("x", size) + `"}}`)
		base := kit.Heap()
		var wg sync.WaitGroup
		wg.Go(func() {
			for range messages {
				s.SendRaw(body)
			}
		})
		synctest.Wait()
		if grown := kit.Heap() - base; grown > 8<<20 {
			t.Errorf("memory has grown by %d bytes", grown)
		}
		close(release)
		wg.Wait()
		for range messages {
			s.Expect("done")
		}
	})
}

// Clients get a heartbeat every 30 s. Clients that answer stay connected for hours,
// and clients that do not are disconnected within a minute.
func TestHeartbeats(t *testing.T) {
	var met kit.Limits
	p := pond.New(met.Observer())
	e := p.Endpoint("/socket", kit.Accept)
	l := e.Lobby("/chat/:room", kit.Admit)
	var left atomic.Int32
	l.OnLeave(func(*pond.LeaveContext) error { left.Add(1); return nil })
	pondtest.Run(t, p, func(t *testing.T, d *pondtest.Driver) {
		alive, stream, dead := d.Connect(pondtest.WebSocket, "/socket"), d.Connect(pondtest.SSE, "/socket"), d.Connect(pondtest.WebSocket, "/socket")
		for _, s := range []*pondtest.Session{alive, stream, dead} {
			s.Join("/chat/1", nil)
		}
		began := time.Now()
		dead.Stall()
		for left.Load() == 0 {
			time.Sleep(time.Second)
			synctest.Wait()
		}
		if took := time.Since(began); took < 30*time.Second || took > 61*time.Second {
			t.Errorf("detected after %v", took)
		}
		time.Sleep(3 * time.Hour)
		if e.Len() != 2 || met.Of(pond.LimitSilence) != 1 {
			t.Errorf("%d clients are connected, %d were idle for too long", e.Len(), met.Of(pond.LimitSilence))
		}
		if n := strings.Count(string(stream.Bytes()), ": keepalive\n\n"); n < 3*120-1 || n > 3*120+4 {
			t.Errorf("%d comments", n)
		}
		alive.Quiet()
		stream.Quiet()
	})
}

// A client that starts a message must finish it in time.
func TestMessageThatTakesForEver(t *testing.T) {
	p, _, _ := kit.NewPond()
	pondtest.Run(t, p, func(t *testing.T, d *pondtest.Driver) {
		s := d.Connect(pondtest.WebSocket, "/socket")
		s.SendFrame([]byte{0x82, 0xfe, 4, 0, 0, 0, 0, 0, 'x'}) // one byte of 1024; after it, the client only sends pongs
		began := time.Now()
		for time.Since(began) < 2*time.Minute {
			time.Sleep(time.Second)
		}
		if code, _ := s.Closed(); code != 1008 {
			t.Errorf("closed with %d", code)
		}
	})
}
