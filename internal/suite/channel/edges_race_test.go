package channel_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pondsocket/pond"
	"github.com/pondsocket/pond/internal/suite/kit"
	"github.com/pondsocket/pond/pondtest"
)

// A channel that is closed and the next one with its name take turns, too.
func TestEdgesOfAClosedChannel(t *testing.T) {
	onEdges(t, func(t *testing.T, d *pondtest.Driver, tr pondtest.Transport, s *edges) {
		hold := make(chan struct{})
		s.leave = func(*pond.LeaveContext) error { <-hold; return nil }
		ann, bob, cid := d.Connect(tr, "/socket"), d.Connect(tr, "/socket"), d.Connect(tr, "/socket")
		ann.Join("/chat/1", nil)
		bob.Join("/chat/1", nil)
		s.expect(t, "first in <nil>, join in 1, join in 1")
		s.channel(t).Close("")
		s.expect(t, "leave 1, leave 1")
		cid.SendJoin("/chat/1", nil)
		s.expect(t, "")
		if _, ok := s.endpoint.Channel("/chat/1"); ok {
			t.Error("the new channel has members")
		}
		hold <- struct{}{}
		s.expect(t, "")
		hold <- struct{}{}
		cid.ReceiveEvent("ACKNOWLEDGE")
		s.expect(t, "last 1 channel_closed, first in <nil>, join in 2")
		close(hold)
		cid.Leave("/chat/1")
		s.expect(t, "leave 2, last 2 explicit_leave")
	})
}

// If a channel is closed while a join handler runs, OnFirstJoin does not run for that client,
// and Accept does not wait for the members of the next channel with that name.
func TestAcceptInAClosedChannel(t *testing.T) {
	onEdges(t, func(t *testing.T, d *pondtest.Driver, tr pondtest.Transport, s *edges) {
		hold := make(chan struct{})
		var ch *pond.Channel
		var failed error
		s.join = func(ctx *pond.JoinContext) error {
			ch = ctx.Channel()
			<-hold
			failed = ctx.Accept()
			return failed
		}
		ann, bob := d.Connect(tr, "/socket"), d.Connect(tr, "/socket")
		ann.SendJoin("/chat/1", nil)
		synctest.Wait()
		ch.Close("")
		s.join = kit.Admit
		bob.Join("/chat/1", nil)
		s.expect(t, "first in <nil>, join in 1")
		close(hold)
		s.expect(t, "join in <nil>")
		if !errors.Is(failed, pond.ErrClosed) {
			t.Errorf("Accept returned %v", failed)
		}
		ann.ReceiveEvent("UNAUTHORIZED")
		bob.Leave("/chat/1")
		s.expect(t, "leave 1, last 1 explicit_leave")
	})
}

// Closed channels leave nothing in memory.
func TestMemoryOfClosedChannels(t *testing.T) {
	const rooms = 10_000
	s := newEdges()
	pondtest.Run(t, s, func(t *testing.T, d *pondtest.Driver) {
		ann := d.Connect(pondtest.WebSocket, "/socket")
		visit := func(i int) {
			name := fmt.Sprintf("/chat/%d", i)
			ann.Join(name, nil)
			ch, _ := s.endpoint.Channel(name)
			ch.Close("")
			ann.ReceiveEvent("destroyed")
			synctest.Wait()
			s.take()
		}
		for i := range 100 {
			visit(-1 - i)
		}
		before := kit.Heap()
		for i := range rooms {
			visit(i)
		}
		if grown := kit.Heap() - before; grown > rooms*20 {
			t.Errorf("%d bytes for each closed channel", grown/rooms)
		}
	})
}

// While the join of a client waits for a closed channel, leave handlers of that client still
// run. Otherwise two clients could wait for each other forever.
func TestDeparturesWhileAJoinWaits(t *testing.T) {
	onEdges(t, func(t *testing.T, d *pondtest.Driver, tr pondtest.Transport, s *edges) {
		hold := make(chan struct{})
		s.leave = func(ctx *pond.LeaveContext) error {
			if ctx.Param("room") == "2" {
				<-hold
			}
			return nil
		}
		ann, bob, cid := d.Connect(tr, "/socket"), d.Connect(tr, "/socket"), d.Connect(tr, "/socket")
		ann.Join("/chat/1", nil)
		synctest.Wait() // the join handler goes on after the acknowledgement
		bob.Join("/chat/2", nil)
		two, _ := s.endpoint.Channel("/chat/2")
		two.Close("")
		synctest.Wait()
		ann.SendJoin("/chat/2", nil) // waits for Bob
		s.expect(t, "first in <nil>, join in 1, first in <nil>, join in 2, leave 2")
		s.channel(t).Close("")
		s.expect(t, "leave 1, last 1 channel_closed")
		cid.Join("/chat/1", nil)
		s.expect(t, "first in <nil>, join in 3")
		close(hold)
		ann.ReceiveEvent("ACKNOWLEDGE")
		s.expect(t, "last 2 channel_closed, first in <nil>, join in 4")
	})
}

// A join that waits for a closed channel ends with its connection.
func TestDisconnectWhileAJoinWaits(t *testing.T) {
	onEdges(t, func(t *testing.T, d *pondtest.Driver, tr pondtest.Transport, s *edges) {
		hold := make(chan struct{})
		s.leave = func(*pond.LeaveContext) error { <-hold; return nil }
		ann, bob := d.Connect(tr, "/socket"), d.Connect(tr, "/socket")
		ann.Join("/chat/1", nil)
		s.channel(t).Close("")
		synctest.Wait()
		bob.SendJoin("/chat/1", nil)
		synctest.Wait()
		_ = s.endpoint.Disconnect(bob.ID(), 0, "")
		synctest.Wait()
		if n := s.endpoint.Len(); n != 1 {
			t.Errorf("%d clients are connected, want Ann alone", n)
		}
		close(hold)
	})
}

// A shutdown runs all handlers in turns, too, even if a join waits for a closed channel. Nothing
// waits longer than the context of Shutdown.
func TestShutdownWhileAJoinWaits(t *testing.T) {
	onEdges(t, func(t *testing.T, d *pondtest.Driver, tr pondtest.Transport, s *edges) {
		hold := make(chan struct{})
		s.leave = func(*pond.LeaveContext) error { <-hold; return nil }
		ann, bob := d.Connect(tr, "/socket"), d.Connect(tr, "/socket")
		ann.Join("/chat/1", nil)
		s.channel(t).Close("")
		synctest.Wait()
		bob.SendJoin("/chat/1", nil)
		s.expect(t, "first in <nil>, join in 1, leave 1")
		ended := make(chan error, 1)
		go func() { ended <- s.Shutdown(t.Context()) }()
		s.expect(t, "")
		close(hold)
		s.expect(t, "last 1 channel_closed, first in <nil>, join in 2, leave 2, last 2 server_shutdown")
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	onEdges(t, func(t *testing.T, d *pondtest.Driver, tr pondtest.Transport, s *edges) {
		hold := make(chan struct{})
		defer close(hold)
		s.leave = func(*pond.LeaveContext) error { <-hold; return nil }
		ann, bob := d.Connect(tr, "/socket"), d.Connect(tr, "/socket")
		ann.Join("/chat/1", nil)
		s.channel(t).Close("")
		synctest.Wait()
		bob.SendJoin("/chat/1", nil)
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		began := time.Now()
		if err := s.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != 3*time.Second {
			t.Errorf("after %v: %v", time.Since(began), err)
		}
		s.expect(t, "first in <nil>, join in 1, leave 1, join in <nil>")
	})
}

// While clients come and go in all ways at the same time, OnFirstJoin and OnLastLeave of
// each name strictly alternate, and each room has its own state.
func TestEdgesAlternate(t *testing.T) {
	for _, procs := range []int{1, runtime.GOMAXPROCS(0)} {
		for _, tr := range pondtest.Transports {
			for _, history := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s on %d, history %t", tr, procs, history), func(t *testing.T) {
					defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(procs))
					for range 20 {
						alternate(t, tr, history)
					}
				})
			}
		}
	}
}

// alternate is one round of TestEdgesAlternate.
func alternate(t *testing.T, tr pondtest.Transport, history bool) {
	t.Helper()
	var opts []pond.LobbyOption
	if history {
		opts = append(opts, pond.WithHistory(pond.History{Messages: 4}))
	}
	type room struct{ name string }
	var mu sync.Mutex
	open, running, opened := map[string]*room{}, map[string]bool{}, 0
	// during runs a part of a handler. Another handler for the same name at the same time is
	// a fault.
	during := func(name string, part func()) {
		mu.Lock()
		if running[name] {
			t.Error("two of the handlers run at the same time")
		}
		running[name] = true
		part()
		mu.Unlock()
		time.Sleep(time.Millisecond) // lets everything else happen
		mu.Lock()
		running[name] = false
		mu.Unlock()
	}
	p := pond.New(pond.WithLogger(kit.Silent))
	e := p.Endpoint("/socket", kit.Accept)
	l := e.Lobby("/chat/:room", kit.Admit, opts...)
	check := func(ch *pond.Channel) {
		mu.Lock()
		defer mu.Unlock()
		if ch.State() != any(open[ch.Name()]) || ch.State() == nil {
			t.Errorf("a member is in %v, and %v is open", ch.State(), open[ch.Name()])
		}
	}
	l.OnFirstJoin(func(ctx *pond.JoinContext) error {
		name := ctx.Channel().Name()
		during(name, func() {
			if open[name] != nil || ctx.Channel().State() != nil {
				t.Error("a second first join")
			}
			open[name] = &room{name}
			opened++
			ctx.Channel().SetState(open[name])
		})
		return nil
	})
	l.OnLeave(func(ctx *pond.LeaveContext) error { check(ctx.Channel()); return nil })
	l.OnLastLeave(func(ctx *pond.LeaveContext) error {
		name := ctx.Channel().Name()
		during(name, func() {
			if open[name] == nil || ctx.Channel().State() != any(open[name]) {
				t.Error("a last leave of a room that is not open")
			}
			delete(open, name)
		})
		return nil
	})
	l.OnMessage("look", func(ctx *pond.EventContext) error {
		if ctx.Channel().State() == nil { // the membership may end meanwhile, but not the room
			t.Error("a member handles an event in a room without state")
		}
		return nil
	})
	pondtest.Run(t, p, func(t *testing.T, d *pondtest.Driver) {
		names := []string{"/chat/1", "/chat/2"}
		var all []*pondtest.Session
		for range 6 {
			all = append(all, d.Connect(tr, "/socket"))
		}
		for round := range 6 {
			for i, s := range all {
				for j, name := range names {
					s.SendJoin(name, nil)
					if (i+j+round)%2 == 0 {
						s.Send(name, "look", nil)
					}
				}
			}
			var ends sync.WaitGroup
			for _, name := range names {
				ends.Go(func() {
					if ch, ok := e.Channel(name); ok {
						if round%3 == 0 {
							ch.Close("")
							return
						}
						for u := range ch.Users() {
							_ = ch.Evict(u.ID, "")
						}
					}
				})
			}
			if round%2 == 1 {
				all[round].Reset()
				all[round] = d.Connect(tr, "/socket")
			}
			ends.Wait()
			for _, s := range all {
				for _, name := range slices.Backward(names) {
					s.SendRaw(fmt.Appendf(nil, `{"action":"LEAVE_CHANNEL","event":"LEAVE_CHANNEL","channelName":%q,"requestId":"l","payload":{}}`, name))
				}
			}
		}
		synctest.Wait()
		time.Sleep(time.Minute)
		synctest.Wait()
		mu.Lock()
		defer mu.Unlock()
		if len(open) > 0 || opened < 2 {
			t.Errorf("%d rooms are open, %d were", len(open), opened)
		}
	})
}
