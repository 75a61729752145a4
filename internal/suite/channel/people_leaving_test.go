package channel_test

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pondsocket/pond"
	"github.com/pondsocket/pond/pondtest"
)

// Who removes a person while the leave handler of the last client still runs, after its
// connection was lost, ends the stay for good: no grace begins when the handler returns.
func TestNoGraceAfterRemovalDuringTheLeaveHandler(t *testing.T) {
	for name, remove := range map[string]func(s *people, ch *pond.Channel, ann *pondtest.Session) error{
		"EvictIdentity": func(_ *people, ch *pond.Channel, _ *pondtest.Session) error { return ch.EvictIdentity("ann", "") },
		"DisconnectIdentity": func(s *people, _ *pond.Channel, _ *pondtest.Session) error {
			return s.endpoint.DisconnectIdentity("ann", 0, "")
		},
		"Disconnect": func(s *people, _ *pond.Channel, ann *pondtest.Session) error {
			return s.endpoint.Disconnect(ann.ID(), 0, "")
		},
	} {
		for _, tabs := range []int{1, 2} { // the second one is a member when the person is removed
			if name == "Disconnect" && tabs == 2 {
				continue
			}
			t.Run(fmt.Sprintf("%s, %d tabs", name, tabs), func(t *testing.T) {
				onPeople(t, grace, func(t *testing.T, d *pondtest.Driver, tr pondtest.Transport, s *people) {
					s.leave = func(*pond.LeaveContext) error { time.Sleep(time.Second); return nil }
					ann := enter(d, tr, "ann")
					ch, _ := s.endpoint.Channel("/chat/1")
					s.expect(t, "first, ann in kept")
					want := "ann leaves"
					if tabs == 2 {
						enter(d, tr, "ann")
					}
					ann.Reset()
					s.expect(t, want)
					s.leave = func(*pond.LeaveContext) error { return nil }
					if err := remove(s, ch, ann); err != nil {
						t.Error(err)
					}
					if err := ch.EvictIdentity("ann", ""); name == "EvictIdentity" && !errors.Is(err, pond.ErrNotMember) {
						t.Errorf("there is something left to evict: %v", err)
					}
					want = ""
					if tabs == 2 {
						want = "ann leaves"
					}
					s.expect(t, want)
					time.Sleep(time.Second)
					s.expect(t, "ann out of kept: connection_closed, last")

					again := enter(d, tr, "ann") // an earlier removal does not count
					s.expect(t, "first, ann in kept")
					again.Reset()
					s.expect(t, "ann leaves")
					time.Sleep(grace)
					s.expect(t, "ann out of kept: connection_closed, last")
				})
			})
		}
	}
}

// A removal before the person came back does not affect the next grace, even if the
// leave handler of the removed client still runs then.
func TestGraceAfterAReturnFromARemoval(t *testing.T) {
	onPeople(t, grace, func(t *testing.T, d *pondtest.Driver, tr pondtest.Transport, s *people) {
		s.leave = func(*pond.LeaveContext) error { time.Sleep(time.Second); return nil }
		ann := enter(d, tr, "ann")
		ch, _ := s.endpoint.Channel("/chat/1")
		ann.Reset()
		s.expect(t, "first, ann in kept, ann leaves")
		if err := ch.EvictIdentity("ann", ""); err != nil {
			t.Error(err)
		}
		s.leave = func(*pond.LeaveContext) error { return nil }
		two := enter(d, tr, "ann") // the person did not leave
		time.Sleep(time.Minute)
		s.expect(t, "")
		two.Reset()
		s.expect(t, "ann leaves")
		time.Sleep(grace - time.Millisecond)
		s.expect(t, "")
		time.Sleep(time.Millisecond)
		s.expect(t, "ann out of kept: connection_closed, last")
	})
}

// Handlers for the first and the last client of a person may remove that person, close the
// channel and send: nothing waits for itself, and the handlers stay balanced.
func TestRemovalInsideIdentityHandlers(t *testing.T) {
	acts := map[string]func(s *people, ch *pond.Channel) error{
		"EvictIdentity":      func(_ *people, ch *pond.Channel) error { return ch.EvictIdentity("ann", "") },
		"DisconnectIdentity": func(s *people, _ *pond.Channel) error { return s.endpoint.DisconnectIdentity("ann", 0, "") },
		"Close":              func(_ *people, ch *pond.Channel) error { ch.Close(""); return nil },
		"ToIdentity":         func(_ *people, ch *pond.Channel) error { return ch.ToIdentity("ann").Broadcast("x", nil) },
	}
	for name, act := range acts {
		for _, wait := range []time.Duration{0, grace} {
			t.Run(fmt.Sprintf("%s, grace %v", name, wait), func(t *testing.T) {
				onPeople(t, wait, func(t *testing.T, d *pondtest.Driver, tr pondtest.Transport, s *people) {
					in, out := 0, 0
					s.in = func(ctx *pond.JoinContext) error { in++; _ = act(s, ctx.Channel()); return nil }
					s.out = func(ctx *pond.LeaveContext) error { out++; _ = act(s, ctx.Channel()); return nil }
					for range 3 {
						one, two := d.Connect(tr, "/socket?who=ann"), d.Connect(tr, "/socket?who=ann")
						one.SendJoin("/chat/1", nil)
						synctest.Wait()
						if !two.Ended() {
							two.SendJoin("/chat/1", nil)
							synctest.Wait()
						}
						one.Reset()
						two.Reset()
						synctest.Wait()
						time.Sleep(2 * grace)
					}
					synctest.Wait()
					if in == 0 || in != out {
						t.Errorf("%d came, %d left: %s", in, out, s.take())
					}
					if _, ok := s.endpoint.Channel("/chat/1"); ok {
						t.Error("the channel is still there")
					}
				})
			})
		}
	}
}

// Two tabs that go at the instant at which a third one comes, and one that leaves and joins
// in the same write.
func TestComingAndGoingAtOnce(t *testing.T) {
	for _, wait := range []time.Duration{0, grace} {
		onPeople(t, wait, func(t *testing.T, d *pondtest.Driver, tr pondtest.Transport, s *people) {
			for range 20 {
				one, two := enter(d, tr, "ann"), enter(d, tr, "ann")
				three := d.Connect(tr, "/socket?who=ann")
				synctest.Wait()
				s.take()
				go one.Reset()
				go two.Reset()
				three.SendJoin("/chat/1", nil)
				three.ReceiveEvent("ACKNOWLEDGE")
				synctest.Wait()
				got := s.take()
				if wait > 0 && got != "ann leaves, ann leaves" {
					t.Errorf("handlers: %s", got)
				}
				if tr == pondtest.WebSocket {
					const leave = `{"action":"LEAVE_CHANNEL","event":"LEAVE_CHANNEL","channelName":"/chat/1","requestId":"l","payload":{}}`
					const join = `{"action":"JOIN_CHANNEL","event":"JOIN_CHANNEL","channelName":"/chat/1","requestId":"j","payload":{}}`
					three.SendRaw([]byte(leave))
					three.SendRaw([]byte(join))
					s.expect(t, "ann leaves, ann out of kept: explicit_leave, last, first, ann in kept")
				}
				three.Leave("/chat/1")
				s.expect(t, "ann leaves, ann out of kept: explicit_leave, last")
				three.Close()
				synctest.Wait()
			}
		})
	}
}

// A leave handler may remove its own person: then there is no grace. So may functions of the
// Observer and the handlers that run at the end of a grace, which may also end their
// goroutine.
func TestRemovalInsideLeaveHandlers(t *testing.T) {
	for name, test := range map[string]struct {
		leave, last func(s *people, ctx *pond.LeaveContext)
		grace       time.Duration // that is left
	}{
		"evicts":      {leave: func(_ *people, ctx *pond.LeaveContext) { _ = ctx.Channel().EvictIdentity("ann", "") }},
		"disconnects": {leave: func(s *people, _ *pond.LeaveContext) { _ = s.endpoint.DisconnectIdentity("ann", 0, "") }},
		"closes":      {leave: func(_ *people, ctx *pond.LeaveContext) { ctx.Channel().Close("") }},
		"panics":      {leave: func(*people, *pond.LeaveContext) { panic("no") }, grace: grace},
		"exits":       {leave: func(*people, *pond.LeaveContext) { runtime.Goexit() }, grace: grace},
		"last panics": {last: func(*people, *pond.LeaveContext) { panic("no") }, grace: grace},
		"last exits":  {last: func(*people, *pond.LeaveContext) { runtime.Goexit() }, grace: grace},
		"evicts and exits": {leave: func(_ *people, ctx *pond.LeaveContext) {
			_ = ctx.Channel().EvictIdentity("ann", "")
			runtime.Goexit()
		}},
	} {
		t.Run(name, func(t *testing.T) {
			onPeople(t, grace, func(t *testing.T, d *pondtest.Driver, tr pondtest.Transport, s *people) {
				if test.leave != nil {
					s.leave = func(ctx *pond.LeaveContext) error { test.leave(s, ctx); return nil }
				}
				if test.last != nil {
					s.out = func(ctx *pond.LeaveContext) error { test.last(s, ctx); return nil }
				}
				for range 2 {
					enter(d, tr, "ann").Reset()
					want := "first, ann in kept, ann leaves"
					if test.grace > 0 {
						s.expect(t, want)
						time.Sleep(test.grace)
						want = ""
					} else {
						want += ", "
					}
					s.expect(t, want+"ann out of kept: connection_closed, last")
				}
			})
		})
	}
}

// Shutdown while leave handlers run before a grace: the person goes when they return.
func TestShutdownBeforeTheGrace(t *testing.T) {
	onPeople(t, grace, func(t *testing.T, d *pondtest.Driver, tr pondtest.Transport, s *people) {
		s.leave = func(*pond.LeaveContext) error { time.Sleep(3 * time.Second); return nil }
		enter(d, tr, "ann").Reset()
		synctest.Wait() // until the leave handler runs
		enter(d, tr, "bob")
		s.expect(t, "first, ann in kept, ann leaves, bob in kept")
		start := time.Now()
		if err := s.Shutdown(t.Context()); err != nil || time.Since(start) > 4*time.Second {
			t.Errorf("%v after %v", err, time.Since(start))
		}
		got := s.take()
		if !strings.Contains(got, "ann out of kept: connection_closed") || !strings.Contains(got, "bob out of kept: server_shutdown") || !strings.HasSuffix(got, ", last") {
			t.Errorf("handlers: %s", got)
		}
	})
}
