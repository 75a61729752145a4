package pondtest_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/pondsocket/pond"
	"github.com/pondsocket/pond/brokertest/memorybroker"
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

// newLog is a server whose lobbies have a history, or presence differences.
func newLog(opts ...pond.Option) *pond.Pond {
	p := pond.New(opts...)
	endpoint := p.Endpoint("/socket", func(ctx *pond.ConnectionContext) error { return ctx.Accept() }, pond.WithJoinByURL())

	log := endpoint.Lobby("/log/:room", func(ctx *pond.JoinContext) error { return ctx.Accept() },
		pond.WithHistory(pond.History{Newcomers: 10}))
	log.OnMessage("say", func(ctx *pond.EventContext) error { return ctx.Broadcast("said", ctx.Payload()) })

	endpoint.Lobby("/floor/:number", func(ctx *pond.JoinContext) error {
		if err := ctx.Accept(); err != nil {
			return err
		}
		return ctx.Track(map[string]string{"status": "online"})
	}, pond.WithPresenceDiffs())
	return p
}

// A client reconnects, and receives only the message that it missed.
func TestMissedMessages(t *testing.T) {
	pondtest.Run(t, newLog(), func(t *testing.T, d *pondtest.Driver) {
		ann, bob := d.Connect(pondtest.WebSocket, "/socket"), d.Connect(pondtest.SSE, "/socket")
		bob.Join("/log/1", nil)
		bob.Send("/log/1", "say", said{Text: "old"})
		bob.Expect("said")

		ann.Join("/log/1", nil, pondtest.Last(10)) // a newcomer
		ann.Expect("said")
		position := ann.Position("/log/1")
		ann.Reset()
		bob.Send("/log/1", "say", said{Text: "missed"})

		ann = ann.Reconnect()
		ann.Join("/log/1", nil, pondtest.From(position, ""))
		var missed said
		ann.ReceiveEvent("said").Bind(t, &missed)
		if missed.Text != "missed" {
			t.Errorf("Ann received %q", missed.Text)
		}
	})
}

// An EventSource receives what it missed without a client library.
func TestStreamByURL(t *testing.T) {
	pondtest.Run(t, newLog(), func(t *testing.T, d *pondtest.Driver) {
		bob := d.Connect(pondtest.WebSocket, "/socket")
		bob.Join("/log/1", nil)
		stream := d.Connect(pondtest.SSE, "/socket?join=/log/1&last=10")
		stream.Expect("ACKNOWLEDGE")
		stream.Reset()
		bob.Send("/log/1", "say", said{Text: "missed"})

		stream = stream.Reconnect() // sends Last-Event-ID
		var ack struct {
			Recover struct{ Recovered bool }
		}
		stream.ReceiveEvent("ACKNOWLEDGE").Bind(t, &ack)
		if !ack.Recover.Recovered {
			t.Error("the stream did not recover")
		}
		stream.ReceiveEvent("said")
	})
}

// Members that ask for differences receive the list once, and then changes.
func TestDifferences(t *testing.T) {
	pondtest.Run(t, newLog(), func(t *testing.T, d *pondtest.Driver) {
		ann, bob := d.Connect(pondtest.WebSocket, "/socket"), d.Connect(pondtest.SSE, "/socket")
		ann.Join("/floor/3", nil, pondtest.Want("diff"))
		ann.ReceiveEvent("PRESENCE_STATE")
		time.Sleep(time.Second) // changes are collected for a short time
		ann.Drain()
		bob.Join("/floor/3", nil)

		var diff struct {
			Joins []struct{ ID string }
			Total int
		}
		ann.ReceiveEvent("PRESENCE_DIFF").Bind(t, &diff)
		if len(diff.Joins) != 1 || diff.Joins[0].ID != bob.ID() || diff.Total != 2 {
			t.Errorf("difference: %+v", diff)
		}
	})
}

// Members on two nodes of a cluster are in the same channel.
func TestTwoNodes(t *testing.T) {
	mux := http.NewServeMux()
	pondtest.Run(t, mux, func(t *testing.T, d *pondtest.Driver) {
		bus := memorybroker.New()
		for _, name := range []string{"one", "two"} {
			node := newLog(pond.WithBroker(bus.Broker(name)))
			defer node.Shutdown(t.Context()) // Run cannot do it: the handler is the mux
			mux.Handle("/"+name+"/", http.StripPrefix("/"+name, node))
		}
		ann, bob := d.Connect(pondtest.WebSocket, "/one/socket"), d.Connect(pondtest.SSE, "/two/socket")
		ann.Join("/log/1", nil)
		bob.Join("/log/1", nil)
		ann.Send("/log/1", "say", said{Text: "hi"})
		bob.Expect("said")
	})
}
