package pondtest_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/pondsocket/pond"
	"github.com/pondsocket/pond/pondtest"
)

// newChat is the server under test, the same as in production.
func newChat(opts ...pond.EndpointOption) *pond.Pond {
	p := pond.New()
	endpoint := p.Endpoint("/socket", func(ctx *pond.ConnectionContext) error {
		if !ctx.Query().Has("name") {
			return ctx.Decline(http.StatusForbidden, "who are you?")
		}
		ctx.Assign("name", ctx.Query().Get("name"))
		return ctx.Accept()
	}, opts...)

	chat := endpoint.Lobby("/chat/:room", func(ctx *pond.JoinContext) error { return ctx.Accept() })
	chat.OnMessage("say", func(ctx *pond.EventContext) error { return ctx.Broadcast("said", ctx.Payload()) })
	chat.OnLeave(func(ctx *pond.LeaveContext) error { return ctx.Broadcast("left", nil) })

	endpoint.Lobby("/office/:room", func(ctx *pond.JoinContext) error {
		if ctx.Get("name") == "Eve" {
			return ctx.Decline(http.StatusForbidden, "not on the list")
		}
		if err := ctx.Accept(); err != nil {
			return err
		}
		return ctx.Track(map[string]any{"name": ctx.Get("name")})
	})
	return p
}

type said struct {
	Text string `json:"text"`
}

func TestSay(t *testing.T) {
	pondtest.Run(t, newChat(), func(t *testing.T, d *pondtest.Driver) {
		ann := d.Connect(pondtest.WebSocket, "/socket?name=Ann")
		ann.Join("/chat/1", nil)
		ann.Send("/chat/1", "say", said{Text: "hi"})
		ann.Expect("said")
		ann.Quiet() // no further message
	})
}

func TestMembersReceiveTheSame(t *testing.T) {
	pondtest.Run(t, newChat(), func(t *testing.T, d *pondtest.Driver) {
		var all []*pondtest.Session
		for _, tr := range pondtest.Transports {
			s := d.Connect(tr, "/socket", pondtest.Query("name", "Ann"))
			s.Join("/chat/1", nil)
			all = append(all, s)
		}
		for _, s := range all {
			s.Send("/chat/1", "say", said{Text: "hi"})
		}
		var first said
		received := d.SameOrder("said", all...)
		received[0].Bind(t, &first)
		if len(received) != 2 || first.Text != "hi" {
			t.Errorf("received %v", received)
		}
	})
}

func TestIdleClientStaysConnected(t *testing.T) {
	for _, tr := range pondtest.Transports {
		t.Run(string(tr), func(t *testing.T) {
			pondtest.Run(t, newChat(), func(t *testing.T, d *pondtest.Driver) {
				ann := d.Connect(tr, "/socket?name=Ann")
				time.Sleep(24 * time.Hour) // virtual time: takes milliseconds
				ann.Quiet()
				if ann.Ended() {
					t.Error("Ann was disconnected")
				}
			})
		})
	}
}

func TestClock(t *testing.T) {
	made := time.Now() // outside of the bubble
	pondtest.Run(t, newChat(), func(t *testing.T, _ *pondtest.Driver) {
		if now := time.Now(); now.UTC().Format(time.DateOnly) != "2000-01-01" || !now.Before(made) {
			t.Errorf("it is %v", now)
		}
	})
}

func TestRejections(t *testing.T) {
	for _, tr := range pondtest.Transports {
		t.Run(string(tr), func(t *testing.T) {
			pondtest.Run(t, newChat(), func(t *testing.T, d *pondtest.Driver) {
				if resp := d.Declined(tr, "/socket"); resp.StatusCode != http.StatusForbidden {
					t.Errorf("without a name: %s", resp.Status)
				}
				eve := d.Connect(tr, "/socket?name=Eve")
				if answer := eve.Join("/office/1", nil); answer.Event != "UNAUTHORIZED" {
					t.Errorf("Eve joined: %v", answer)
				}
			})
		})
	}
}

func TestLostNetwork(t *testing.T) {
	pondtest.Run(t, newChat(), func(t *testing.T, d *pondtest.Driver) {
		ann := d.Connect(pondtest.WebSocket, "/socket?name=Ann")
		bob := d.Connect(pondtest.WebSocket, "/socket?name=Bob")
		ann.Join("/chat/1", nil)
		bob.Join("/chat/1", nil)

		ann.Vanish()
		bob.Quiet()                 // the server has not detected it yet
		time.Sleep(2 * time.Minute) // heartbeats remain unanswered
		bob.Expect("left")

		ann = ann.Reconnect()
		ann.Join("/chat/1", nil)
		bob.Send("/chat/1", "say", said{Text: "welcome back"})
		ann.Expect("said")
	})
}

func TestSlowNetwork(t *testing.T) {
	for _, tr := range pondtest.Transports {
		t.Run(string(tr), func(t *testing.T) {
			pondtest.Run(t, newChat(), func(t *testing.T, d *pondtest.Driver) {
				ann := d.Connect(tr, "/socket?name=Ann")
				ann.Trickle()          // one byte at a time
				ann.Delay(time.Second) // one second in each direction
				began := time.Now()
				ann.Join("/chat/1", nil)
				if took := time.Since(began); took != 2*time.Second {
					t.Errorf("the join took %v", took)
				}
			})
		})
	}
}

func TestSleepyClient(t *testing.T) {
	server := newChat(pond.WithOutboxSize(64 << 10))
	pondtest.Run(t, server, func(t *testing.T, d *pondtest.Driver) {
		ann := d.Connect(pondtest.WebSocket, "/socket?name=Ann")
		bob := d.Connect(pondtest.WebSocket, "/socket?name=Bob")
		ann.Join("/chat/1", nil)
		bob.Join("/chat/1", nil)

		bob.Stall() // stops reading
		for range 5 {
			ann.Send("/chat/1", "say", said{Text: strings.Repeat("x", 32<<10)})
			ann.ReceiveEvent("said") // Ann is not delayed
		}
		ann.ReceiveEvent("left") // Bob is disconnected
	})
}

func TestOffice(t *testing.T) {
	pondtest.Run(t, newChat(), func(t *testing.T, d *pondtest.Driver) {
		ann, bob := d.Connect(pondtest.SSE, "/socket?name=Ann"), d.Connect(pondtest.SSE, "/socket?name=Bob")
		ann.Join("/office/1", nil)
		bob.Join("/office/1", nil)
		ann.Drain() // presence of the joins
		bob.Reset() // no close frame

		var left struct {
			Changed  struct{ Name string }
			Presence []struct{ Name string }
		}
		ann.ReceiveEvent("LEAVE").Bind(t, &left)
		if left.Changed.Name != "Bob" || len(left.Presence) != 1 {
			t.Errorf("presence says %+v", left)
		}
	})
}

func TestShutdown(t *testing.T) {
	server := newChat()
	pondtest.Run(t, server, func(t *testing.T, d *pondtest.Driver) {
		ann := d.Connect(pondtest.WebSocket, "/socket?name=Ann")
		if err := server.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		if code, _ := ann.Closed(); code != 1001 {
			t.Errorf("closed with %d", code)
		}
		if resp := d.Declined(pondtest.SSE, "/socket?name=Bob"); resp.StatusCode != http.StatusServiceUnavailable {
			t.Errorf("response during shutdown: %s", resp.Status)
		}
	})
}

// prices make all earlier prices obsolete.
type prices struct {
	Second int    `json:"second"`
	List   string `json:"list"`
}

func TestSleepyTrader(t *testing.T) {
	p := pond.New()
	endpoint := p.Endpoint("/socket", func(ctx *pond.ConnectionContext) error { return ctx.Accept() })
	endpoint.Lobby("/board/:market", func(ctx *pond.JoinContext) error { return ctx.Accept() },
		pond.WithSlowClients(pond.KeepLatest(nil)))

	pondtest.Run(t, p, func(t *testing.T, d *pondtest.Driver) {
		bob := d.Connect(pondtest.WebSocket, "/socket")
		bob.Join("/board/nyse", nil)
		board, _ := endpoint.Channel("/board/nyse")

		bob.Stall() // stops reading, for a minute of virtual time
		for second := range 60 {
			if err := board.Broadcast("prices", prices{second, strings.Repeat("x", 4<<10)}); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
		}
		bob.Resume()

		received := bob.Drain()
		if n := len(received); n > 20 { // what the network had taken before, and the latest
			t.Errorf("Bob received %d messages of 60", n)
		}
		var latest prices
		received[len(received)-1].Bind(t, &latest)
		if latest.Second != 59 {
			t.Errorf("Bob's latest prices are those of second %d", latest.Second)
		}
	})
}
