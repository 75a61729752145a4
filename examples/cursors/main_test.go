package main

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/pondsocket/pond"
	"github.com/pondsocket/pond/pondtest"

	"github.com/pondsocket/pond/examples/internal/client"
)

const (
	users  = 6
	second = 30 // updates per second
)

// board runs a test with several users on one board, over both transports.
func board(t *testing.T, channel string, test func(t *testing.T, d *pondtest.Driver, all []*pondtest.Session)) {
	t.Helper()
	p := pond.New()
	pondtest.Run(t, handler(p), func(t *testing.T, d *pondtest.Driver) {
		defer p.Shutdown(t.Context())
		var all []*pondtest.Session
		for i := range users {
			s := d.Connect(pondtest.Transports[i%2], "/socket")
			s.Join(channel, map[string]any{"name": fmt.Sprint("user ", i)})
			all = append(all, s)
		}
		for _, s := range all {
			s.Drain()
		}
		test(t, d, all)
	})
}

// place returns the position of the nth move of a user. y only grows, so a larger y is a
// later position.
func place(user, n int) Position {
	return Position{float64(user) / users, float64(n) / 10000}
}

// wiggle makes all users move 30 times per second for the given number of seconds of
// virtual time. All users move at the same time.
func wiggle(all []*pondtest.Session, channel string, seconds int) (moves int) {
	for n := range seconds * second {
		for user, s := range all {
			s.Send(channel, "move", place(user, n))
		}
		time.Sleep(time.Second / second)
	}
	return len(all) * seconds * second
}

type change struct {
	Changed  Person
	Presence []Person
}

func TestPresenceAtThirtyUpdatesASecond(t *testing.T) {
	const channel, seconds = "/presence/1", 2
	board(t, channel, func(t *testing.T, d *pondtest.Driver, all []*pondtest.Session) {
		moves := wiggle(all, channel, seconds)
		var first []Person // the order of changes that user 0 receives
		for i, s := range all {
			order, last := follow(t, s.Drain())
			if i == 0 {
				first = order
			}
			if len(order) != moves || !reflect.DeepEqual(order, first) {
				t.Fatalf("user %d: %d changes, want %d, in the order of user 0", i, len(order), moves)
			}
			for _, p := range last { // in the order in which they were tracked
				var user int
				if _, err := fmt.Sscanf(p.Name, "user %d", &user); err != nil {
					t.Fatal(err)
				}
				if want := place(user, seconds*second-1); *p.Position != want {
					t.Errorf("user %d: at the end %s is at %v, want %v", i, p.Name, *p.Position, want)
				}
			}
		}
	})
}

// follow checks the messages of one user, and returns the changes in order, and the last
// list. A list is encoded when the message is written, so it may be newer than the change in
// the same message, but never older.
func follow(t *testing.T, heard []pondtest.Message) (changes, last []Person) {
	t.Helper()
	latest := map[string]float64{}
	for _, m := range heard {
		var c change
		if m.Bind(t, &c); m.Event != "UPDATE" {
			t.Fatal(m)
		}
		if y := c.Changed.Position.Y; y < latest[c.Changed.ID] {
			t.Fatalf("%s moves back: %v", c.Changed.Name, m)
		}
		latest[c.Changed.ID] = c.Changed.Position.Y
		for _, p := range c.Presence {
			if want, moved := latest[p.ID]; moved && p.Position.Y < want {
				t.Fatalf("%s is at %v in the list, but was at %v before", p.Name, p.Position.Y, want)
			}
		}
		changes, last = append(changes, c.Changed), c.Presence
	}
	return changes, last
}

func TestNewMemberSeesPositionsOnlyInPresence(t *testing.T) {
	for channel, want := range map[string]bool{"/presence/1": true, "/events/1": false} {
		board(t, channel, func(t *testing.T, d *pondtest.Driver, all []*pondtest.Session) {
			wiggle(all[1:], channel, 1)
			all[0].Leave(channel)
			all[0].Drain()
			all[0].Join(channel, map[string]any{"name": "late"})
			var c change
			if err := json.Unmarshal(all[0].Expect("JOIN"), &c); err != nil {
				t.Fatal(err)
			}
			for _, p := range c.Presence[:users-1] {
				if got := p.Position != nil; got != want {
					t.Errorf("%s: position of %s known: %t", channel, p.Name, got)
				}
			}
		})
	}
}

func TestEventsGoToTheOthers(t *testing.T) {
	const channel, seconds = "/events/1", 2
	board(t, channel, func(t *testing.T, d *pondtest.Driver, all []*pondtest.Session) {
		moves := wiggle(all, channel, seconds)
		for _, s := range all {
			next := map[string]int{}
			heard := s.Drain()
			if want := moves * (users - 1) / users; len(heard) != want {
				t.Fatalf("%d moves of others, want %d", len(heard), want)
			}
			for _, m := range heard {
				var got Moved
				m.Bind(t, &got)
				if got.ID == s.ID() || got.Y != place(0, next[got.ID]).Y {
					t.Fatalf("%v is its own, or out of order", m)
				}
				next[got.ID]++
			}
		}
	})
}

func TestEventsCostLess(t *testing.T) {
	cost := func(channel string) (bytes int) {
		board(t, channel, func(t *testing.T, d *pondtest.Driver, all []*pondtest.Session) {
			wiggle(all, channel, 1)
			for _, m := range all[0].Drain() {
				bytes += len(m.Raw)
			}
		})
		return bytes
	}
	events, presence := cost("/events/1"), cost("/presence/1")
	t.Logf("a second of %d users costs each of them %d bytes as events, and %d as presence", users, events, presence)
	if 3*events > presence {
		t.Error("the factor differs from the README")
	}
}

func TestStalledUsersDelayNobody(t *testing.T) {
	const channel, seconds = "/presence/1", 2
	board(t, channel, func(t *testing.T, d *pondtest.Driver, all []*pondtest.Session) {
		all[0].Stall() // a WebSocket
		all[1].Stall() // an event stream
		moves := wiggle(all[2:], channel, seconds)
		if order, _ := follow(t, all[2].Drain()); len(order) != moves {
			t.Errorf("%d changes, want %d", len(order), moves)
		}
		time.Sleep(time.Minute) // until they are disconnected
		var gone []string
		for _, m := range all[2].Drain() {
			var c change
			m.Bind(t, &c)
			gone = append(gone, m.Event+" "+c.Changed.Name)
		}
		slices.Sort(gone)
		if want := []string{"LEAVE user 0", "LEAVE user 1"}; !slices.Equal(gone, want) {
			t.Errorf("%v, want %v", gone, want)
		}
	})
}

func TestTooFastIsRejectedThenClosed(t *testing.T) {
	board(t, "/events/1", func(t *testing.T, d *pondtest.Driver, all []*pondtest.Session) {
		fast := all[0] // a WebSocket
		for n := range 100 {
			fast.Send("/events/1", "move", place(0, n))
		}
		var refusal struct{ Status int }
		fast.ReceiveEvent("HANDLER_NOT_FOUND").Bind(t, &refusal)
		if refusal.Status != 429 {
			t.Errorf("rejected with %d", refusal.Status)
		}
		for n := range 100 {
			fast.SendRaw(fmt.Appendf(nil, `{"action":"BROADCAST","event":"move","channelName":"/events/1",`+
				`"requestId":"r%d","payload":{"x":0,"y":0}}`, n))
		}
		if code, _ := fast.Closed(); code != 1008 {
			t.Errorf("closed with %d", code)
		}
	})
}

func TestOffTheBoard(t *testing.T) {
	board(t, "/events/1", func(t *testing.T, d *pondtest.Driver, all []*pondtest.Session) {
		if answer := all[0].Request("/events/1", "move", Position{2, 0}); answer.Action != "ERROR" {
			t.Error(answer)
		}
		all[1].Quiet()
	})
}

func TestOnLoopback(t *testing.T) {
	for _, tr := range client.Transports {
		t.Run(string(tr), func(t *testing.T) {
			server := client.Serve(t, run)
			ann := client.Dial(t, tr, server.URL+"/socket", nil)
			bob := client.Dial(t, tr, server.URL+"/socket", nil)
			for _, channel := range []string{"/events/1", "/presence/1"} {
				ann.Join(channel, map[string]any{"name": "Ann"})
				bob.Join(channel, map[string]any{"name": "Bob"})
			}
			ann.Send("/events/1", "move", Position{0.5, 0.5})
			bob.Expect("moved")
			ann.Send("/presence/1", "move", Position{0.5, 0.5})
			bob.Expect("UPDATE")
			server.Stop()
			if code := bob.Closed(); tr == client.WebSocket && code != 1001 {
				t.Error("closed with", code)
			}
		})
	}
}
