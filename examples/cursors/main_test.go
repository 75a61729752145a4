package main

import (
	"fmt"
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

// A user is a client, and the people that it sees.
type user struct {
	*pondtest.Session
	people map[string]Person // by user ID
	seen   []string          // differences, in order
}

// An entry is a part of a presence list or difference.
type entry struct {
	ID       string
	Presence Person
}

// read applies what the user received about presence. It returns the number of bytes that
// the user received, and the other messages.
func (u *user) read(t *testing.T) (bytes int, others []pondtest.Message) {
	t.Helper()
	for _, m := range u.Drain() {
		bytes += len(m.Raw)
		switch m.Event {
		case "PRESENCE_STATE", "PRESENCE_DIFF":
			var p struct{ Users, Joins, Updates, Leaves []entry }
			m.Bind(t, &p)
			for _, e := range slices.Concat(p.Users, p.Joins, p.Updates) {
				if before := u.people[e.ID].Position; before != nil && e.Presence.Position.Y <= before.Y {
					t.Fatalf("%s does not move, or moves back: %v", e.Presence.Name, m)
				}
				u.people[e.ID] = e.Presence
			}
			for _, e := range p.Leaves {
				delete(u.people, e.ID)
			}
			if m.Event == "PRESENCE_DIFF" {
				u.seen = append(u.seen, string(m.Payload))
			}
		default:
			others = append(others, m)
		}
	}
	return bytes, others
}

// join makes the user a member that receives differences.
func (u *user) join(channel, name string) {
	u.people = map[string]Person{}
	u.Join(channel, map[string]any{"name": name}, pondtest.Want("diff"))
}

// board runs a test with several users on one board, over both transports.
func board(t *testing.T, channel string, test func(t *testing.T, all []*user)) {
	t.Helper()
	p := pond.New()
	pondtest.Run(t, handler(p), func(t *testing.T, d *pondtest.Driver) {
		defer p.Shutdown(t.Context())
		var all []*user
		for i := range users {
			u := &user{Session: d.Connect(pondtest.Transports[i%2], "/socket")}
			u.join(channel, fmt.Sprint("user ", i))
			all = append(all, u)
		}
		time.Sleep(time.Second) // until all see each other
		for _, u := range all {
			if u.read(t); len(u.people) != users {
				t.Fatalf("a user sees %d people", len(u.people))
			}
			u.seen = nil
		}
		test(t, all)
	})
}

// place returns the position of the nth move of a user. y only grows, so a larger y is a
// later position.
func place(user, n int) Position {
	return Position{float64(user) / users, float64(n+1) / 10000}
}

// wiggle makes all users move 30 times per second for the given number of seconds of
// virtual time. All users move at the same time.
func wiggle(all []*user, channel string, seconds int) (moves int) {
	for n := range seconds * second {
		for i, u := range all {
			u.Send(channel, "move", place(i, n))
		}
		time.Sleep(time.Second / second)
	}
	return len(all) * seconds * second
}

// All users see the same changes in the same order, at most 20 times per second, and in the
// end the last position of each user.
func TestPresenceAtThirtyUpdatesASecond(t *testing.T) {
	const channel, seconds = "/presence/1", 2
	board(t, channel, func(t *testing.T, all []*user) {
		wiggle(all, channel, seconds)
		time.Sleep(time.Second)
		for i, u := range all {
			u.read(t)
			if n := len(u.seen); n < 10*seconds || n > 20*seconds+2 {
				t.Errorf("user %d received %d differences", i, n)
			}
			if !slices.Equal(u.seen, all[0].seen) {
				t.Errorf("user %d sees other changes than user 0", i)
			}
			for _, p := range u.people {
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

func TestNewMemberSeesPositionsOnlyInPresence(t *testing.T) {
	for channel, want := range map[string]bool{"/presence/1": true, "/events/1": false} {
		board(t, channel, func(t *testing.T, all []*user) {
			wiggle(all[1:], channel, 1)
			late := all[0]
			late.Leave(channel)
			late.Drain()
			late.join(channel, "late")
			time.Sleep(time.Second)
			if late.read(t); len(late.people) != users {
				t.Fatalf("%d people", len(late.people))
			}
			for _, p := range late.people {
				if got := p.Position != nil; got != (want && p.Name != "late") {
					t.Errorf("%s: position of %s known: %t", channel, p.Name, got)
				}
			}
		})
	}
}

func TestEventsGoToTheOthers(t *testing.T) {
	const channel, seconds = "/events/1", 2
	board(t, channel, func(t *testing.T, all []*user) {
		moves := wiggle(all, channel, seconds)
		for _, u := range all {
			next := map[string]int{}
			_, received := u.read(t)
			if want := moves * (users - 1) / users; len(received) != want || len(u.seen) > 0 {
				t.Fatalf("%d moves of others, want %d, and %d differences", len(received), want, len(u.seen))
			}
			for _, m := range received {
				var got Moved
				m.Bind(t, &got)
				if got.ID == u.ID() || got.Y != place(0, next[got.ID]).Y {
					t.Fatalf("%v is its own, or out of order", m)
				}
				next[got.ID]++
			}
		}
	})
}

func TestPresenceCostsLess(t *testing.T) {
	cost := func(channel string) (bytes int) {
		board(t, channel, func(t *testing.T, all []*user) {
			wiggle(all, channel, 1)
			time.Sleep(time.Second)
			bytes, _ = all[0].read(t)
		})
		return bytes
	}
	events, presence := cost("/events/1"), cost("/presence/1")
	t.Logf("a second of %d users costs each of them %d bytes as events, and %d as presence", users, events, presence)
	if presence > events || 3*presence < events {
		t.Error("the factor differs from the README")
	}
}

func TestStalledUsersDelayNobody(t *testing.T) {
	const channel, seconds = "/presence/1", 20
	board(t, channel, func(t *testing.T, all []*user) {
		all[0].Stall() // a WebSocket
		all[1].Stall() // an event stream
		wiggle(all[2:], channel, seconds)
		all[2].read(t)
		if n := len(all[2].seen); n < 10*seconds {
			t.Errorf("%d differences", n)
		}
		time.Sleep(5 * time.Minute) // until they are disconnected
		all[2].read(t)
		for id, p := range all[2].people {
			if id == all[0].ID() || id == all[1].ID() {
				t.Errorf("%s is still here", p.Name)
			}
		}
		if len(all[2].people) != users-2 {
			t.Errorf("%d people", len(all[2].people))
		}
	})
}

func TestTooFastIsRejectedThenClosed(t *testing.T) {
	board(t, "/events/1", func(t *testing.T, all []*user) {
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
	board(t, "/events/1", func(t *testing.T, all []*user) {
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
			for _, channel := range []string{"/events/1", "/presence/1"} { // this client receives lists
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
