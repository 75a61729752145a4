package channel_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pondsocket/pond"
	"github.com/pondsocket/pond/internal/suite/kit"
	"github.com/pondsocket/pond/pondtest"
)

// A people is a server whose lobby has all handlers for the first and last members, which
// write into a journal. A test can replace what those of identities do.
type people struct {
	*pond.Pond
	*journal
	endpoint *pond.Endpoint
	limits   kit.Limits
	in       func(ctx *pond.JoinContext) error
	out      func(ctx *pond.LeaveContext) error
	leave    func(ctx *pond.LeaveContext) error
}

const grace = 10 * time.Second

func newPeople(grace time.Duration, opts ...pond.EndpointOption) *people {
	s := &people{
		journal: &journal{},
		in:      func(*pond.JoinContext) error { return nil },
		out:     func(*pond.LeaveContext) error { return nil },
		leave:   func(*pond.LeaveContext) error { return nil },
	}
	s.Pond = pond.New(pond.WithLogger(kit.Silent), s.limits.Observer())
	s.endpoint = s.Endpoint("/socket", identified, opts...)
	l := s.endpoint.Lobby("/chat/:room", kit.Admit, pond.WithLeaveGrace(grace))
	l.OnFirstJoin(func(ctx *pond.JoinContext) error {
		s.add("first")
		ctx.Channel().SetState("kept")
		return nil
	})
	l.OnIdentityJoin(func(ctx *pond.JoinContext) error {
		s.add("%s in %v", ctx.User().Identity(), ctx.Channel().State())
		return s.in(ctx)
	})
	l.OnLeave(func(ctx *pond.LeaveContext) error {
		s.add("%s leaves", ctx.User().Identity())
		return s.leave(ctx)
	})
	l.OnIdentityLeave(func(ctx *pond.LeaveContext) error {
		s.add("%s out of %v: %s", ctx.User().Identity(), ctx.Channel().State(), ctx.Reason())
		return s.out(ctx)
	})
	l.OnLastLeave(func(*pond.LeaveContext) error { s.add("last"); return nil })
	return s
}

// onPeople runs test over each transport, each time with a new server.
func onPeople(t *testing.T, grace time.Duration, test func(t *testing.T, d *pondtest.Driver, tr pondtest.Transport, s *people), opts ...pond.EndpointOption) {
	t.Helper()
	for _, tr := range pondtest.Transports {
		t.Run(string(tr), func(t *testing.T) {
			s := newPeople(grace, opts...)
			pondtest.Run(t, s, func(t *testing.T, d *pondtest.Driver) { test(t, d, tr, s) })
		})
	}
}

// enter connects a client of a person and joins /chat/1.
func enter(d *pondtest.Driver, tr pondtest.Transport, who string) *pondtest.Session {
	s := d.Connect(tr, "/socket?who="+who)
	s.Join("/chat/1", nil)
	return s
}

// A person with two tabs comes with the first and goes with the last one. A client
// without an identity is no person.
func TestIdentityWithTwoTabs(t *testing.T) {
	onPeople(t, 0, func(t *testing.T, d *pondtest.Driver, tr pondtest.Transport, s *people) {
		one := enter(d, tr, "ann")
		s.expect(t, "first, ann in kept")
		two := enter(d, tr, "ann")
		bob := enter(d, tr, "bob")
		nobody := enter(d, tr, "")
		s.expect(t, "bob in kept")
		one.Close()
		s.expect(t, "ann leaves")
		nobody.Close()
		s.expect(t, " leaves")
		two.Leave("/chat/1")
		s.expect(t, "ann leaves, ann out of kept: explicit_leave")
		two.Join("/chat/1", nil)
		s.expect(t, "ann in kept")
		bob.Close()
		s.expect(t, "bob leaves, bob out of kept: connection_closed")
		two.Join("/chat/2", nil) // another channel
		s.expect(t, "first, ann in kept")
		two.Reset()
		synctest.Wait()
		got := s.take()
		const each = "ann leaves, ann out of kept: connection_closed, last"
		if got != each+", "+each {
			t.Errorf("handlers: %s", got)
		}
	})
}

// A person who reloads a page within the grace was not away, and the room is the same. At
// the end of the grace, the person has gone.
func TestReloadWithinTheGrace(t *testing.T) {
	onPeople(t, grace, func(t *testing.T, d *pondtest.Driver, tr pondtest.Transport, s *people) {
		ann := enter(d, tr, "ann")
		s.expect(t, "first, ann in kept")
		ch, _ := s.endpoint.Channel("/chat/1")
		for range 5 { // each time, the grace begins anew
			ann.Reset()
			synctest.Wait()
			if ch.Len() != 0 {
				t.Error("a client that has gone is a member")
			}
			time.Sleep(grace - time.Millisecond)
			s.expect(t, "ann leaves")
			ann = enter(d, tr, "ann")
			s.expect(t, "")
			if again, ok := s.endpoint.Channel("/chat/1"); !ok || again != ch || ch.State() != "kept" {
				t.Error("the channel is another one")
			}
		}
		two := enter(d, tr, "ann")
		ann.Close()
		time.Sleep(2 * grace) // the other tab is there
		s.expect(t, "ann leaves")
		two.Close()
		synctest.Wait()
		time.Sleep(grace - time.Millisecond)
		s.expect(t, "ann leaves")
		time.Sleep(time.Millisecond)
		s.expect(t, "ann out of kept: connection_closed, last")
		if _, ok := s.endpoint.Channel("/chat/1"); ok || ch.State() != nil {
			t.Error("the channel is still there")
		}
		enter(d, tr, "ann")
		s.expect(t, "first, ann in kept")
	})
}

// There is no grace for those who go for good, whoever ended the membership.
func TestNoGrace(t *testing.T) {
	for name, test := range map[string]struct {
		end    func(s *people, ch *pond.Channel, ann *pondtest.Session) error
		reason pond.LeaveReason
	}{
		"leave":    {func(_ *people, _ *pond.Channel, ann *pondtest.Session) error { ann.Leave("/chat/1"); return nil }, pond.LeaveRequested},
		"Evict":    {func(_ *people, ch *pond.Channel, ann *pondtest.Session) error { return ch.Evict(ann.ID(), "") }, pond.LeaveEvicted},
		"identity": {func(_ *people, ch *pond.Channel, _ *pondtest.Session) error { return ch.EvictIdentity("ann", "") }, pond.LeaveEvicted},
		"Close":    {func(_ *people, ch *pond.Channel, _ *pondtest.Session) error { ch.Close(""); return nil }, pond.LeaveChannelClosed},
		"Disconnect": {func(s *people, _ *pond.Channel, ann *pondtest.Session) error {
			return s.endpoint.Disconnect(ann.ID(), 0, "")
		}, pond.LeaveDisconnected},
		"everywhere": {func(s *people, _ *pond.Channel, _ *pondtest.Session) error {
			return s.endpoint.DisconnectIdentity("ann", http.StatusForbidden, "")
		}, pond.LeaveDisconnected},
		"Shutdown": {func(s *people, _ *pond.Channel, _ *pondtest.Session) error { return s.Shutdown(context.Background()) }, pond.LeaveShutdown},
	} {
		t.Run(name, func(t *testing.T) {
			onPeople(t, grace, func(t *testing.T, d *pondtest.Driver, tr pondtest.Transport, s *people) {
				ann := enter(d, tr, "ann")
				ch, _ := s.endpoint.Channel("/chat/1")
				s.expect(t, "first, ann in kept")
				if err := test.end(s, ch, ann); err != nil {
					t.Error(err)
				}
				s.expect(t, fmt.Sprintf("ann leaves, ann out of kept: %s, last", test.reason))
			})
		})
	}
}

// Everything that ends the stay of a person for good ends the grace.
func TestGraceEndsAtOnce(t *testing.T) {
	for name, end := range map[string]func(s *people, ch *pond.Channel) error{
		"EvictIdentity":      func(_ *people, ch *pond.Channel) error { return ch.EvictIdentity("ann", "") },
		"DisconnectIdentity": func(s *people, _ *pond.Channel) error { return s.endpoint.DisconnectIdentity("ann", 0, "") },
		"Close":              func(_ *people, ch *pond.Channel) error { ch.Close(""); return nil },
		"Shutdown": func(s *people, _ *pond.Channel) error {
			s.out = func(*pond.LeaveContext) error { time.Sleep(time.Second); s.add("slept"); return nil }
			start := time.Now()
			err := s.Shutdown(context.Background())
			if d := time.Since(start); d != time.Second {
				return fmt.Errorf("Shutdown took %v", d)
			}
			s.mu.Lock()
			defer s.mu.Unlock()
			if last := s.lines[len(s.lines)-1]; last != "last" {
				return fmt.Errorf("Shutdown did not wait for the handlers, only for %q", last)
			}
			s.lines = s.lines[:1]
			s.lines = append(s.lines, "last")
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			onPeople(t, grace, func(t *testing.T, d *pondtest.Driver, tr pondtest.Transport, s *people) {
				ann := enter(d, tr, "ann")
				ch, _ := s.endpoint.Channel("/chat/1")
				ann.Reset()
				s.expect(t, "first, ann in kept, ann leaves")
				if err := end(s, ch); err != nil {
					t.Error(err)
				}
				s.expect(t, "ann out of kept: connection_closed, last")
				time.Sleep(2 * grace)
				s.expect(t, "")
				if err := ch.EvictIdentity("ann", ""); !errors.Is(err, pond.ErrNotMember) {
					t.Errorf("there is something left to evict: %v", err)
				}
				if err := s.endpoint.DisconnectIdentity("ann", 0, ""); !errors.Is(err, pond.ErrClosed) {
					t.Errorf("there is something left to disconnect: %v", err)
				}
			})
		})
	}
}

// A channel that is closed just before a grace would begin is no place to return to.
func TestNoGraceInAClosedChannel(t *testing.T) {
	onPeople(t, grace, func(t *testing.T, d *pondtest.Driver, tr pondtest.Transport, s *people) {
		s.leave = func(ctx *pond.LeaveContext) error { ctx.Channel().Close(""); return nil }
		enter(d, tr, "ann").Reset()
		s.expect(t, "first, ann in kept, ann leaves, ann out of kept: connection_closed, last")
		enter(d, tr, "ann")
		s.expect(t, "first, ann in kept")
	})
}

// A client that leaves during the grace of another one of the same person, in whatever
// way, begins a new grace or ends it. One that closes the channel ends it.
func TestLeavingAfterAReturn(t *testing.T) {
	onPeople(t, grace, func(t *testing.T, d *pondtest.Driver, tr pondtest.Transport, s *people) {
		enter(d, tr, "ann").Reset()
		s.expect(t, "first, ann in kept, ann leaves")
		time.Sleep(grace / 2)
		enter(d, tr, "ann").Reset()
		s.expect(t, "ann leaves")
		time.Sleep(grace/2 + time.Millisecond) // the first grace would be over
		s.expect(t, "")
		back := enter(d, tr, "ann")
		back.Leave("/chat/1")
		s.expect(t, "ann leaves, ann out of kept: explicit_leave, last")
		time.Sleep(2 * grace)
		s.expect(t, "")
	})
}

// A client that joins while the leave handler of the last one runs finds the person there.
// One that joins while the handler for the last leave runs waits for it.
func TestJoinWhileTheLastOneLeaves(t *testing.T) {
	onPeople(t, 0, func(t *testing.T, d *pondtest.Driver, tr pondtest.Transport, s *people) {
		s.leave = func(*pond.LeaveContext) error { time.Sleep(time.Second); return nil }
		ann := enter(d, tr, "ann")
		ann.Close()
		s.expect(t, "first, ann in kept, ann leaves")
		two := enter(d, tr, "ann")
		time.Sleep(time.Minute)
		s.expect(t, "")
		s.leave = func(*pond.LeaveContext) error { return nil }
		s.out = func(*pond.LeaveContext) error { time.Sleep(time.Second); s.add("now out"); return nil }
		nobody := enter(d, tr, "") // so that the channel has members
		two.Close()
		s.expect(t, "ann leaves, ann out of kept: connection_closed")
		three := d.Connect(tr, "/socket?who=ann")
		three.SendJoin("/chat/1", nil)
		bob := enter(d, tr, "bob") // who does not wait
		s.expect(t, "bob in kept")
		three.Quiet()
		time.Sleep(time.Second)
		three.ReceiveEvent("ACKNOWLEDGE")
		s.expect(t, "now out, ann in kept")

		s.out = func(*pond.LeaveContext) error { time.Sleep(time.Minute); s.add("now out"); return nil }
		three.Close() // again, with a client that does not wait that long
		s.expect(t, "ann leaves, ann out of kept: connection_closed")
		four := d.Connect(tr, "/socket?who=ann")
		four.SendJoin("/chat/1", nil)
		synctest.Wait()
		four.Reset()
		time.Sleep(time.Minute)
		s.expect(t, "now out")
		s.out = func(*pond.LeaveContext) error { return nil }
		_, _ = bob, nobody
	})
}

// If OnIdentityJoin fails, the client is not a member, OnIdentityLeave does not run, and
// the next client of the person is the first.
func TestFailingIdentityJoin(t *testing.T) {
	for name, test := range map[string]struct {
		fail   func(ctx *pond.JoinContext) error
		status int
	}{
		"typed error": {func(*pond.JoinContext) error { return pond.Errorf(http.StatusConflict, "the game is full") }, http.StatusConflict},
		"other error": {func(*pond.JoinContext) error { return errors.New("no") }, http.StatusInternalServerError},
		"panic":       {func(*pond.JoinContext) error { panic("no") }, http.StatusInternalServerError},
		"Goexit":      {func(*pond.JoinContext) error { runtime.Goexit(); return nil }, http.StatusInternalServerError},
		"Accept":      {func(ctx *pond.JoinContext) error { return ctx.Accept() }, http.StatusInternalServerError},
		"closes":      {func(ctx *pond.JoinContext) error { ctx.Channel().Close(""); return pond.ErrClosed }, http.StatusGone},
	} {
		t.Run(name, func(t *testing.T) {
			onPeople(t, grace, func(t *testing.T, d *pondtest.Driver, tr pondtest.Transport, s *people) {
				s.in = test.fail
				ann := d.Connect(tr, "/socket?who=ann")
				ann.SendJoin("/chat/1", nil)
				m := ann.ReceiveEvent("UNAUTHORIZED")
				if got := kit.Status(t, m); got != test.status {
					t.Errorf("status %d", got)
				}
				s.expect(t, "first, ann in kept, last")
				s.in = func(ctx *pond.JoinContext) error { ctx.Assign("seat", 1); return nil }
				ann.Join("/chat/1", nil)
				s.expect(t, "first, ann in kept")
				ch, _ := s.endpoint.Channel("/chat/1")
				if u, _ := ch.User(ann.ID()); u.Get("seat") != 1 {
					t.Error("what OnIdentityJoin assigned is missing")
				}
			})
		})
	}
}

// If OnIdentityLeave fails, the person has left all the same, with a grace and without.
func TestFailingIdentityLeave(t *testing.T) {
	for name, fail := range map[string]func(*pond.LeaveContext) error{
		"error":  func(*pond.LeaveContext) error { return errors.New("no") },
		"panic":  func(*pond.LeaveContext) error { panic("no") },
		"Goexit": func(*pond.LeaveContext) error { runtime.Goexit(); return nil },
	} {
		for _, wait := range []time.Duration{0, grace} {
			t.Run(fmt.Sprintf("%s after %v", name, wait), func(t *testing.T) {
				onPeople(t, wait, func(t *testing.T, d *pondtest.Driver, tr pondtest.Transport, s *people) {
					s.out = fail
					s.leave = fail
					for range 2 {
						ann := enter(d, tr, "ann")
						ann.Reset()
						synctest.Wait()
						time.Sleep(wait)
						s.expect(t, "first, ann in kept, ann leaves, ann out of kept: connection_closed, last")
					}
				})
			})
		}
	}
}

// A client that goes while OnIdentityJoin runs does not become a member. The person came
// all the same, and goes: at once, or after the grace.
func TestDisconnectDuringIdentityJoin(t *testing.T) {
	for _, wait := range []time.Duration{0, grace} {
		t.Run(wait.String(), func(t *testing.T) {
			onPeople(t, wait, func(t *testing.T, d *pondtest.Driver, tr pondtest.Transport, s *people) {
				s.in = func(ctx *pond.JoinContext) error { <-ctx.Done(); return nil }
				ann := d.Connect(tr, "/socket?who=ann")
				ann.SendJoin("/chat/1", nil)
				s.expect(t, "first, ann in kept")
				ann.Reset()
				time.Sleep(5 * time.Second) // until the context is cancelled
				if wait > 0 {
					s.expect(t, "")
					time.Sleep(wait)
				}
				s.expect(t, "ann out of kept: connection_closed, last")
			})
		})
	}
}

// A person has no more graces than one client can have channels, and an endpoint no more
// than it can have clients. Persons beyond leave at once.
func TestGracesAreLimited(t *testing.T) {
	onPeople(t, grace, func(t *testing.T, d *pondtest.Driver, tr pondtest.Transport, s *people) {
		gone := func(tab int) int {
			ann := d.Connect(tr, "/socket?who=ann")
			for i := range 4 {
				ann.Join(fmt.Sprintf("/chat/%d-%d", tab, i), nil)
			}
			ann.Close()
			synctest.Wait()
			return s.limits.Of(pond.LimitLeaveGrace)
		}
		var got []int
		for tab := range 4 {
			got = append(got, gone(tab))
		}
		if fmt.Sprint(got) != "[0 4 8 12]" {
			t.Errorf("graces that were refused: %v", got)
		}
		time.Sleep(grace + time.Second)
		synctest.Wait()
		if got := gone(5); got != 12 {
			t.Errorf("after the graces: %d", got-12)
		}
	}, pond.WithMaxChannels(4))
	onPeople(t, grace, func(t *testing.T, d *pondtest.Driver, tr pondtest.Transport, s *people) {
		for i := range 6 {
			enter(d, tr, fmt.Sprint(i)).Close()
			synctest.Wait()
			if got := s.limits.Of(pond.LimitLeaveGrace); got != max(0, i-1) {
				t.Errorf("%d graces, refused %d", i, got)
			}
		}
	}, pond.WithMaxConns(2))
}
