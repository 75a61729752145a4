package presence_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pondsocket/pond"
	"github.com/pondsocket/pond/internal/suite/kit"
	"github.com/pondsocket/pond/pondtest"
)

// Followers that join while members of three persons flap compute the list of the server,
// and a person in a grace is on it once.
func TestX20ObserversOfFlappingPersons(t *testing.T) {
	for seed := range uint64(30) {
		p, e := newIdentities()
		pondtest.Run(t, p, func(t *testing.T, d *pondtest.Driver) {
			const room = "/grace/1"
			r := rand.New(rand.NewPCG(seed, 15))
			var watchers []*pondtest.Session
			anchor := d.Connect(pondtest.WebSocket, "/socket")
			anchor.Join(room, nil)
			ch := channel(t, e, room)
			tabs := map[int]*pondtest.Session{}
			for step := range 120 {
				i := r.IntN(6)
				s := tabs[i]
				switch k := r.IntN(10); {
				case s == nil:
					s = d.Connect(pondtest.WebSocket, fmt.Sprintf("/socket?who=p%d", i%3))
					s.SendJoin(room, map[string]int{"n": step})
					tabs[i] = s
				case k < 3:
					s.Reset()
					delete(tabs, i)
				case k == 3:
					_ = ch.Update(s.ID(), map[string]int{"n": step})
				case k == 4:
					_ = ch.Untrack(s.ID())
				case k == 5:
					_ = ch.Upsert(s.ID(), map[string]int{"n": step})
				case k == 6:
					_ = ch.EvictIdentity(fmt.Sprintf("p%d", i%3), "")
				case k == 7:
					s.SendJoin(room, map[string]int{"n": step})
				case k == 8:
					w := d.Connect(pondtest.WebSocket, "/socket")
					w.SendJoin(room, nil, pondtest.Want("diff"))
					watchers = append(watchers, w)
				default:
					time.Sleep(time.Duration(r.IntN(120)) * time.Millisecond)
				}
				if r.IntN(4) == 0 {
					time.Sleep(time.Duration(r.IntN(4000)) * time.Millisecond)
				}
				if r.IntN(2) == 0 {
					synctest.Wait()
				}
			}
			lists := map[*pondtest.Session]map[string]string{}
			check := func(grace bool) {
				t.Helper()
				time.Sleep(time.Second)
				synctest.Wait()
				want := map[string]string{}
				for id, v := range ch.Presence() {
					want[id] = string(v)
				}
				var first map[string]string
				for n, w := range watchers {
					got := lists[w]
					if got == nil {
						got = map[string]string{}
						lists[w] = got
					}
					for _, m := range w.Drain() {
						var x struct {
							Users, Joins, Updates, Leaves []user
							Total                         int
							More                          bool
						}
						if !strings.HasPrefix(m.Event, "PRESENCE_") {
							continue
						}
						m.Bind(t, &x)
						for _, u := range x.Joins {
							if _, ok := got[u.ID]; ok {
								t.Errorf("seed %d: joins again: %v", seed, m)
							}
							got[u.ID] = string(u.Presence)
						}
						for _, u := range x.Users {
							got[u.ID] = string(u.Presence)
						}
						for _, u := range x.Updates {
							if _, ok := got[u.ID]; !ok {
								t.Errorf("seed %d: update of nobody: %v", seed, m)
							}
							got[u.ID] = string(u.Presence)
						}
						for _, u := range x.Leaves {
							if _, ok := got[u.ID]; !ok {
								t.Errorf("seed %d: leave of nobody: %v", seed, m)
							}
							delete(got, u.ID)
						}
						if len(got) != x.Total {
							t.Errorf("seed %d: total %d, not %d", seed, x.Total, len(got))
						}
					}
					if first == nil {
						first = maps.Clone(got)
					}
					if !maps.Equal(first, got) || !grace && !maps.Equal(want, got) {
						t.Errorf("seed %d, watcher %d: %v\nfirst %v\nserver %v", seed, n, got, first, want)
					}
				}
			}
			check(true)
			time.Sleep(2 * grace)
			check(false)
		})
	}
}

// The entry of a person stays until the grace ends, however long the leave handler runs, so
// a person who comes back is never missing.
func TestGraceOfPresenceWithASlowLeaveHandler(t *testing.T) {
	slow := time.Minute
	p := pond.New(pond.WithLogger(kit.Silent))
	e := p.Endpoint("/socket", func(ctx *pond.ConnectionContext) error {
		if who := ctx.Query().Get("who"); who != "" {
			_ = ctx.Identify(who)
		}
		return ctx.Accept()
	})
	e.Lobby("/grace/:room", func(ctx *pond.JoinContext) error {
		if err := ctx.Accept(); err != nil || string(ctx.Payload()) == "{}" {
			return err
		}
		return ctx.Track(ctx.Payload())
	}, pond.WithPresenceIdentities(), pond.WithPresenceDiffs(), pond.WithLeaveGrace(grace)).OnLeave(func(*pond.LeaveContext) error {
		time.Sleep(slow)
		return nil
	})
	pondtest.Run(t, p, func(t *testing.T, d *pondtest.Driver) {
		ann := d.Connect(pondtest.WebSocket, "/socket?who=ann")
		ann.Join("/grace/1", map[string]int{"n": 1})
		s := d.Connect(pondtest.WebSocket, "/socket")
		s.Join("/grace/1", nil, pondtest.Want("diff"))
		synctest.Wait()
		w := &watcher{s, map[string]string{ann.ID(): "ann"}}
		w.expect(t, `STATE {"users":[{"id":"ann","user":"ann","presence":{"n":1}}],"total":1,"more":false}`)
		ann.Reset()
		time.Sleep(slow - time.Second)
		w.expect(t, "")
		two := d.Connect(pondtest.WebSocket, "/socket?who=ann")
		w.names[two.ID()] = "two"
		two.Join("/grace/1", map[string]int{"n": 2})
		w.expect(t, `DIFF {"joins":[{"id":"two","user":"ann","presence":{"n":2}}],"leaves":[{"id":"ann"}],"total":1}`)
		two.Reset()
		time.Sleep(slow + grace - time.Second)
		w.expect(t, "")
		slow = 0 // for the watcher
		time.Sleep(time.Second)
		w.expect(t, `DIFF {"leaves":[{"id":"two"}],"total":0}`)
	})
}
