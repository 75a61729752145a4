package channel_test

import (
	"errors"
	"net/http"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/pondsocket/pond"
	"github.com/pondsocket/pond/internal/suite/kit"
	"github.com/pondsocket/pond/pondtest"
)

func TestJoinBroadcastReplyLeave(t *testing.T) {
	kit.OnBothPlain(t, func(t *testing.T, d *pondtest.Driver, tr pondtest.Transport) {
		ann, bob := d.Connect(tr, "/socket"), d.Connect(tr, "/socket")
		kit.Is(t, ann.Join("/chat/1", nil), "SYSTEM", "ACKNOWLEDGE", "{}")
		bob.Join("/chat/1", nil)

		id := ann.Send("/chat/1", "say", map[string]any{"text": "hi\n"})
		for _, s := range []*pondtest.Session{ann, bob} {
			m := s.Receive()
			kit.Is(t, m, "BROADCAST", "said", `{"text":"hi\n"}`)
			if m.RequestID != id || m.Channel != "/chat/1" {
				t.Fatalf("got %v, want request %s", m, id)
			}
		}
		ann.Send("/chat/1", "tell-others", nil)
		kit.Is(t, bob.Receive(), "BROADCAST", "said", "{}")
		ann.Quiet()

		for _, event := range []string{"say", "tell-others", "ask"} {
			ann.SendID("/chat/1", event, "", nil) // an empty ID is an ID
		}
		for _, m := range append(ann.Drain(), bob.Drain()...) {
			if m.RequestID != "" {
				t.Errorf("got %v", m)
			}
		}

		ann.Send("/chat/1", "tell/"+bob.ID(), nil)
		kit.Is(t, bob.Receive(), "BROADCAST", "said", "{}")
		ann.Send("/chat/1", "tell/nobody", nil)
		ann.Quiet()
		bob.Quiet()

		kit.Is(t, ann.Request("/chat/1", "ask", map[string]int{"x": 1}), "SYSTEM", "answer", `{"x":1}`)
		bob.Quiet()

		kit.Is(t, bob.Leave("/chat/1"), "SYSTEM", "EXIT_ACKNOWLEDGE", "{}")
		kit.Is(t, bob.Leave("/chat/1"), "SYSTEM", "EXIT_ACKNOWLEDGE", "{}") // again, although bob is not a member any more
		kit.Is(t, bob.Leave("/chat/none"), "SYSTEM", "EXIT_ACKNOWLEDGE", "{}")
		ann.Send("/chat/1", "say", nil)
		ann.Expect("said")
		bob.Quiet()
	})
}

func TestPresence(t *testing.T) {
	kit.OnBothPlain(t, func(t *testing.T, d *pondtest.Driver, tr pondtest.Transport) {
		ann, bob, eve := d.Connect(tr, "/socket"), d.Connect(tr, "/socket"), d.Connect(tr, "/socket")
		for _, s := range []*pondtest.Session{ann, bob, eve} {
			s.Join("/chat/1", nil)
		}
		ann.Send("/chat/1", "track", map[string]string{"n": "ann"})
		kit.Is(t, ann.Receive(), "PRESENCE", "JOIN", `{"presence":[{"n":"ann"}],"changed":{"n":"ann"}}`)
		bob.Send("/chat/1", "track", map[string]string{"n": "bob"})
		for _, s := range []*pondtest.Session{ann, bob} {
			kit.Is(t, s.Receive(), "PRESENCE", "JOIN", `{"presence":[{"n":"ann"},{"n":"bob"}],"changed":{"n":"bob"}}`)
		}
		// An update keeps its place and replaces the value.
		ann.Send("/chat/1", "update", map[string]string{"m": "away"})
		for _, s := range []*pondtest.Session{ann, bob} {
			kit.Is(t, s.Receive(), "PRESENCE", "UPDATE", `{"presence":[{"m":"away"},{"n":"bob"}],"changed":{"m":"away"}}`)
		}
		// It is an error to track twice, and to update without a presence.
		if m := ann.Request("/chat/1", "track", nil); m.Action != "ERROR" {
			t.Fatalf("got %v", m)
		}
		if m := eve.Request("/chat/1", "update", nil); m.Action != "ERROR" {
			t.Fatalf("got %v", m)
		}
		// A member that untracks is removed from the list and gets no more presence.
		ann.Send("/chat/1", "untrack", nil)
		kit.Is(t, bob.Receive(), "PRESENCE", "LEAVE", `{"presence":[{"n":"bob"}],"changed":{"m":"away"}}`)
		ann.Send("/chat/1", "track", map[string]string{"n": "ann2"})
		ann.Expect("JOIN")
		kit.Is(t, bob.Receive(), "PRESENCE", "JOIN", `{"presence":[{"n":"bob"},{"n":"ann2"}],"changed":{"n":"ann2"}}`)
		bob.Reset()
		kit.Is(t, ann.Receive(), "PRESENCE", "LEAVE", `{"presence":[{"n":"ann2"}],"changed":{"n":"bob"}}`)
		ann.Quiet()
		eve.Quiet() // was never tracked, so gets no presence
	})
}

func TestEvict(t *testing.T) {
	kit.OnBothPlain(t, func(t *testing.T, d *pondtest.Driver, tr pondtest.Transport) {
		ann, bob := d.Connect(tr, "/socket"), d.Connect(tr, "/socket")
		for _, s := range []*pondtest.Session{ann, bob} {
			s.Join("/chat/1", nil)
			s.Send("/chat/1", "track", nil)
			s.Expect("JOIN")
		}
		ann.Expect("JOIN")
		ann.Send("/chat/1", "evict/"+bob.ID(), nil)
		kit.Is(t, bob.Receive(), "SYSTEM", "kicked_out", `{"message":"spam","code":403,"reason":"spam"}`)
		kit.Is(t, bob.Receive(), "SYSTEM", "EVICTED", `{"reason":"spam"}`)
		kit.Is(t, ann.Receive(), "SYSTEM", "kicked", `{"userId":"`+bob.ID()+`","reason":"spam"}`)
		kit.Is(t, ann.Receive(), "PRESENCE", "LEAVE", `{"presence":[{}],"changed":{}}`)
		if m := bob.Request("/chat/1", "say", nil); kit.Status(t, m) != http.StatusNotFound {
			t.Fatalf("got %v", m)
		}
		bob.Join("/chat/1", nil) // the connection is still open
		ann.Quiet()
	})
}

func TestJoinEffectsKeepTheirOrder(t *testing.T) {
	server := func() *pond.Pond {
		p := pond.New()
		p.Endpoint("/socket", kit.Accept).Lobby("/chat/:room", func(ctx *pond.JoinContext) error {
			return errors.Join(
				ctx.Accept(),
				ctx.Broadcast("b", nil),
				ctx.Reply("r", nil),
				ctx.Track(nil),
				ctx.Channel().To(ctx.User().ID).Broadcast("t", nil),
			)
		})
		return p
	}
	kit.OnBoth(t, server, func(t *testing.T, d *pondtest.Driver, tr pondtest.Transport) {
		s := d.Connect(tr, "/socket")
		s.SendID("/chat/1", "x", "ignored", nil) // not a member: one error and no other effect
		if m := s.Receive(); m.Event != "CHANNEL_NOT_FOUND" || m.RequestID != "ignored" {
			t.Fatalf("got %v", m)
		}
		s.Join("/chat/1", nil)
		for _, event := range []string{"b", "r", "JOIN", "t"} {
			s.Expect(event)
		}
		s.Quiet()
	})
}

// A client gets the messages of a channel only between the acknowledgements of its
// join and of its leave (rule S-31).
func TestAcknowledgementsEnclose(t *testing.T) {
	const cycles = 600
	kit.OnBoth(t, func() *pond.Pond {
		p := pond.New()
		e := p.Endpoint("/socket", kit.Accept)
		e.Lobby("/chat/:room", func(ctx *pond.JoinContext) error {
			var wg sync.WaitGroup
			var accepted atomic.Bool
			for range 2 { // at the same time as the join
				wg.Go(func() {
					for !accepted.Load() {
						_ = ctx.Channel().Broadcast("noise", nil)
					}
				})
			}
			runtime.Gosched()
			err := ctx.Accept()
			accepted.Store(true)
			wg.Wait()
			return err
		})
		return p
	}, func(t *testing.T, d *pondtest.Driver, tr pondtest.Transport) {
		s := d.Connect(tr, "/socket")
		for range cycles / kit.Slowdown {
			s.SendRaw([]byte(`{"action":"JOIN_CHANNEL","event":"","channelName":"/chat/1","requestId":"","payload":{}}`))
			s.SendRaw([]byte(`{"action":"LEAVE_CHANNEL","event":"","channelName":"/chat/1","requestId":"","payload":{}}`))
		}
		inside := false
		for _, m := range s.Drain() {
			switch {
			case m.Event == "ACKNOWLEDGE" && !inside:
				inside = true
			case m.Event == "EXIT_ACKNOWLEDGE" && inside:
				inside = false
			case m.Event == "noise" && inside:
			default:
				t.Fatalf("got %v, a member: %t", m, inside)
			}
		}
	})
}
