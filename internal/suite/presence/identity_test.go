package presence_test

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pondsocket/pond"
	"github.com/pondsocket/pond/brokertest/memorybroker"
	"github.com/pondsocket/pond/internal/suite/kit"
	"github.com/pondsocket/pond/pondtest"
)

const grace = 10 * time.Second

// newIdentities returns a server whose lobbies publish identities, with and without a
// grace. The query of a client has its identity. Its join says whether it is tracked.
func newIdentities(opts ...pond.Option) (*pond.Pond, *pond.Endpoint) {
	p := pond.New(append(opts, pond.WithLogger(kit.Silent))...)
	e := p.Endpoint("/socket", func(ctx *pond.ConnectionContext) error {
		if who := ctx.Query().Get("who"); who != "" {
			if err := ctx.Identify(who); err != nil {
				return err
			}
		}
		return ctx.Accept()
	})
	join := func(ctx *pond.JoinContext) error {
		if err := ctx.Accept(); err != nil || string(ctx.Payload()) == "{}" {
			return err
		}
		return ctx.Track(ctx.Payload())
	}
	e.Lobby("/chat/:room", join, pond.WithPresenceDiffs(), pond.WithPresenceIdentities())
	e.Lobby("/grace/:room", join, pond.WithPresenceIdentities(), pond.WithPresenceDiffs(), pond.WithLeaveGrace(grace))
	e.Lobby("/log/:room", join, pond.WithPresenceDiffs(), pond.WithPresenceIdentities(), pond.WithLeaveGrace(grace), pond.WithHistory(pond.History{}))
	e.Lobby("/private/:room", join, pond.WithPresenceDiffs(), pond.WithLeaveGrace(grace))
	return p, e
}

// A watcher is a client that is not tracked, and gets differences.
type watcher struct {
	*pondtest.Session
	names map[string]string // of other clients, by ID
}

// expect checks the only notice that the watcher received since the last one. It is
// empty if there must be none.
func (w *watcher) expect(t *testing.T, want string) {
	t.Helper()
	time.Sleep(100 * time.Millisecond) // until changes that are merged are sent
	synctest.Wait()
	got := ""
	for _, m := range w.Drain() {
		got += strings.TrimPrefix(m.Event, "PRESENCE_") + " " + string(m.Payload)
	}
	for id, name := range w.names {
		got = strings.ReplaceAll(got, id, name)
	}
	if got != want {
		t.Errorf("received %s\nwant     %s", got, want)
	}
}

func onIdentities(t *testing.T, test func(t *testing.T, e *pond.Endpoint, enter func(name, channel string, tracked bool) *pondtest.Session, watch func(channel string) *watcher)) {
	t.Helper()
	for _, tr := range pondtest.Transports {
		t.Run(string(tr), func(t *testing.T) {
			p, e := newIdentities()
			pondtest.Run(t, p, func(t *testing.T, d *pondtest.Driver) {
				names := map[string]string{}
				// The identity of a client is its name up to the first digit.
				enter := func(name, channel string, tracked bool) *pondtest.Session {
					s := d.Connect(tr, "/socket?who="+strings.TrimRight(name, "0123456789"))
					names[s.ID()] = name
					var presence any
					if tracked {
						presence = map[string]int{"n": 1}
					}
					s.Join(channel, presence)
					synctest.Wait() // the handler tracks the client after the acknowledgement
					return s
				}
				watch := func(channel string) *watcher {
					s := d.Connect(tr, "/socket")
					s.Join(channel, nil, pondtest.Want("diff"))
					synctest.Wait()
					return &watcher{s, names}
				}
				test(t, e, enter, watch)
			})
		})
	}
}

// Entries have the identity if the lobby publishes it and the client has one. Lists do
// not.
func TestX20User(t *testing.T) {
	onIdentities(t, func(t *testing.T, e *pond.Endpoint, enter func(name, channel string, tracked bool) *pondtest.Session, watch func(channel string) *watcher) {
		ann := enter("ann1", room, true)
		w := watch(room)
		w.expect(t, `STATE {"users":[{"id":"ann1","user":"ann","presence":{"n":1}}],"total":1,"more":false}`)
		nobody := enter("1", room, true)
		w.expect(t, `DIFF {"joins":[{"id":"1","presence":{"n":1}}],"total":2}`)
		two := enter("ann2", room, true)
		w.expect(t, `DIFF {"joins":[{"id":"ann2","user":"ann","presence":{"n":1}}],"total":3}`)
		ch := channel(t, e, room)
		must(t, ch.Update(two.ID(), map[string]int{"n": 2}))
		w.expect(t, `DIFF {"updates":[{"id":"ann2","user":"ann","presence":{"n":2}}],"total":3}`)
		must(t, ch.Untrack(two.ID()))
		w.expect(t, `DIFF {"leaves":[{"id":"ann2"}],"total":2}`)
		ann.Reset()
		w.expect(t, `DIFF {"leaves":[{"id":"ann1"}],"total":1}`)
		nobody.Reset()
		w.expect(t, `DIFF {"leaves":[{"id":"1"}],"total":0}`)
		for _, m := range two.Drain() {
			if strings.Contains(string(m.Payload), "user") {
				t.Errorf("a list has identities: %v", m)
			}
		}
		enter("bob", "/private/1", true)
		watch("/private/1").expect(t, `STATE {"users":[{"id":"bob","presence":{"n":1}}],"total":1,"more":false}`)
	})
}

// Identities are JSON strings, however they look, and pages with long ones keep their limits.
func TestX20StrangeUsers(t *testing.T) {
	p, _ := newIdentities()
	pondtest.Run(t, p, func(t *testing.T, d *pondtest.Driver) {
		want := map[string]string{}
		for i := range 120 {
			who := fmt.Sprintf("%d\"}%s", i, strings.Repeat("\x01", 250))
			s := d.Connect(pondtest.WebSocket, "/socket", pondtest.Query("who", who))
			s.Join(room, map[string]int{"n": i})
			want[s.ID()] = who
		}
		w := follow(d, pondtest.WebSocket, room)
		time.Sleep(20 * time.Second)
		synctest.Wait()
		got, pages := map[string]string{}, 0
		for _, m := range w.Drain() {
			var p state
			m.Bind(t, &p)
			for _, u := range p.Users {
				got[u.ID] = u.User
			}
			if pages++; len(m.Payload) > 64<<10 {
				t.Errorf("a page of %d bytes", len(m.Payload))
			}
		}
		if !maps.Equal(got, want) || pages < 3 {
			t.Errorf("%d users on %d pages: %.200v", len(got), pages, got)
		}
	})
}

// During the grace, differences go on showing the last tracked client of a person: also to
// those who join then. A client that is tracked meanwhile replaces it.
func TestGraceOfPresence(t *testing.T) {
	onIdentities(t, func(t *testing.T, e *pond.Endpoint, enter func(name, channel string, tracked bool) *pondtest.Session, watch func(channel string) *watcher) {
		for _, room := range []string{"/grace/1", "/log/1"} {
			ann := enter("ann1", room, true)
			old := enter("old", room, true)
			w := watch(room)
			time.Sleep(200 * time.Millisecond) // until changes that are merged are sent
			w.Drain()
			old.Drain()
			ann.Reset()
			w.expect(t, "")
			if m := old.ReceiveEvent("LEAVE"); m.Action != "PRESENCE" { // lists have no grace
				t.Errorf("received %v", m)
			}
			ch := channel(t, e, room)
			if ids := slices.Collect(maps.Keys(maps.Collect(ch.Presence()))); len(ids) != 1 {
				t.Errorf("%d clients are tracked", len(ids))
			}
			old.Leave(room)
			w.expect(t, `DIFF {"leaves":[{"id":"old"}],"total":1}`)
			const state = `STATE {"users":[{"id":"ann1","user":"ann","presence":{"n":1}}],"total":1,"more":false}`
			watch(room).expect(t, state)
			watch(room).expect(t, state) // from the pages that are kept
			two := enter("ann2", room, true)
			w.expect(t, `DIFF {"joins":[{"id":"ann2","user":"ann","presence":{"n":1}}],"leaves":[{"id":"ann1"}],"total":1}`)
			two.Reset()
			time.Sleep(grace - 200*time.Millisecond)
			w.expect(t, "")
			w.expect(t, `DIFF {"leaves":[{"id":"ann2"}],"total":0}`)
			enter("1", room, true).Reset() // not a person
			time.Sleep(200 * time.Millisecond)
			w.Drain()
			w.expect(t, "")
			watch(room).expect(t, `STATE {"users":[],"total":0,"more":false}`)
		}
	})
}

// A client that is tracked while another one of the person is shown is the second one:
// when it goes, it goes at once.
func TestNoGraceOfASecondTab(t *testing.T) {
	onIdentities(t, func(t *testing.T, _ *pond.Endpoint, enter func(name, channel string, tracked bool) *pondtest.Session, watch func(channel string) *watcher) {
		const room = "/grace/1"
		one, two := enter("ann1", room, true), enter("ann2", room, true)
		hidden := enter("ann3", room, false)
		w := watch(room)
		w.Drain()
		one.Reset()
		w.expect(t, `DIFF {"leaves":[{"id":"ann1"}],"total":1}`)
		two.Reset() // the third one is not tracked, so this was the last one that is shown
		w.expect(t, "")
		time.Sleep(grace)
		w.expect(t, `DIFF {"leaves":[{"id":"ann2"}],"total":0}`)

		four := enter("ann4", room, true)
		w.expect(t, `DIFF {"joins":[{"id":"ann4","user":"ann","presence":{"n":1}}],"total":1}`)
		four.Reset()
		w.expect(t, "")
		hidden.Leave(room) // now the person has gone
		w.expect(t, `DIFF {"leaves":[{"id":"ann4"}],"total":0}`)
	})
}

// Who goes for good is not shown any more, and what ends a grace ends the presence.
func TestNoGraceOfPresence(t *testing.T) {
	const room = "/grace/1"
	ends := map[string]func(e *pond.Endpoint, ch *pond.Channel, ann *pondtest.Session) error{
		"leave": func(_ *pond.Endpoint, _ *pond.Channel, ann *pondtest.Session) error { ann.Leave(room); return nil },
		"Evict": func(_ *pond.Endpoint, ch *pond.Channel, ann *pondtest.Session) error { return ch.Evict(ann.ID(), "") },
		"Disconnect": func(e *pond.Endpoint, _ *pond.Channel, ann *pondtest.Session) error {
			return e.Disconnect(ann.ID(), 0, "")
		},
		"EvictIdentity": func(_ *pond.Endpoint, ch *pond.Channel, ann *pondtest.Session) error {
			ann.Reset()
			synctest.Wait()
			return ch.EvictIdentity("ann", "")
		},
		"DisconnectIdentity": func(e *pond.Endpoint, _ *pond.Channel, ann *pondtest.Session) error {
			ann.Reset()
			synctest.Wait()
			return e.DisconnectIdentity("ann", 0, "")
		},
	}
	for name, end := range ends {
		t.Run(name, func(t *testing.T) {
			onIdentities(t, func(t *testing.T, e *pond.Endpoint, enter func(name, channel string, tracked bool) *pondtest.Session, watch func(channel string) *watcher) {
				ann := enter("ann1", room, true)
				w := watch(room)
				time.Sleep(time.Second) // until changes that are merged are sent
				w.Drain()
				must(t, end(e, channel(t, e, room), ann))
				time.Sleep(time.Second)
				synctest.Wait()
				leaves := 0
				for _, m := range w.Drain() {
					if m.Event == "PRESENCE_DIFF" {
						leaves++
						kit.Is(t, m, "SYSTEM", "PRESENCE_DIFF", `{"leaves":[{"id":"`+ann.ID()+`"}],"total":0}`)
					}
				}
				if leaves != 1 {
					t.Errorf("%d differences", leaves)
				}
				time.Sleep(2 * grace)
				w.expect(t, "")
			})
		})
	}
}

// In a cluster, entries of members on other nodes have the identity, too. The grace is that
// of the node: other nodes see that the client left.
func TestX20UserInACluster(t *testing.T) {
	bus := memorybroker.New()
	mux := http.NewServeMux()
	var ponds []*pond.Pond
	for _, name := range []string{"a", "b"} {
		p, _ := newIdentities(pond.WithBroker(bus.Broker(name)))
		ponds = append(ponds, p)
		mux.Handle("/"+name+"/", http.StripPrefix("/"+name, p))
	}
	pondtest.Run(t, mux, func(t *testing.T, d *pondtest.Driver) {
		const room = "/grace/1"
		ann := d.Connect(pondtest.WebSocket, "/a/socket?who=ann")
		ann.Join(room, map[string]int{"n": 1})
		var watchers []*watcher
		for _, node := range []string{"a", "b"} {
			s := d.Connect(pondtest.WebSocket, "/"+node+"/socket")
			s.Join(room, nil, pondtest.Want("diff"))
			watchers = append(watchers, &watcher{s, nil})
		}
		time.Sleep(10 * time.Second)
		for _, w := range watchers {
			known := map[string]string{}
			for _, m := range w.Drain() {
				var p struct{ Users, Joins []user }
				m.Bind(t, &p)
				for _, u := range slices.Concat(p.Users, p.Joins) {
					known[u.ID] = u.User
				}
			}
			if known[ann.ID()] != "ann" {
				t.Errorf("a watcher sees %v", known)
			}
		}
		ann.Reset()
		time.Sleep(time.Second)
		watchers[0].expect(t, "")
		watchers[1].expect(t, `DIFF {"leaves":[{"id":"`+ann.ID()+`"}],"total":0}`)
		time.Sleep(grace)
		watchers[0].expect(t, `DIFF {"leaves":[{"id":"`+ann.ID()+`"}],"total":0}`)
		for _, p := range ponds {
			must(t, p.Shutdown(t.Context()))
		}
	})
}

func TestPresenceIdentitiesNeedDiffs(t *testing.T) {
	defer func() {
		if v := recover(); v != "pond: lobby /chat/:room: WithPresenceIdentities needs WithPresenceDiffs" {
			t.Errorf("panic: %v", v)
		}
	}()
	pond.New().Endpoint("/socket", kit.Accept).Lobby("/chat/:room", kit.Admit, pond.WithPresenceIdentities())
}
