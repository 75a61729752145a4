package pondclient_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pondsocket/pond"
	"github.com/pondsocket/pond/pondclient"
)

// A roomServer answers joins and leaves as a server does, one at a time and in order.
type roomServer struct {
	inside map[string]bool
	joins  map[string]int // of the present connection
	leaves int
}

// serve handles all that a client sends on one connection until it ends.
func (r *roomServer) serve(s *socket, slow time.Duration) {
	r.inside, r.joins = map[string]bool{}, map[string]int{}
	for {
		m, ok := s.next(nil)
		if !ok {
			return
		}
		time.Sleep(slow)
		switch m.Action {
		case "JOIN_CHANNEL":
			r.joins[m.ChannelName]++
			r.inside[m.ChannelName] = true
			s.ack(m, `{}`)
		case "LEAVE_CHANNEL":
			r.leaves++
			delete(r.inside, m.ChannelName)
			s.reply(m, "EXIT_ACKNOWLEDGE", `{}`)
		}
	}
}

func TestRequirement14BurstsEndInTheLastIntention(t *testing.T) {
	for seed := range uint64(60) {
		synctest.Test(t, func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 1))
			f := newFake(t)
			r := &roomServer{}
			slow := time.Duration(random.IntN(3)) * 100 * time.Millisecond
			c := f.client()
			served := make(chan struct{})
			var current atomic.Pointer[socket]
			go func() {
				defer close(served)
				for {
					select {
					case s := <-f.sockets:
						current.Store(s)
						s.welcome()
						r.serve(s, slow)
					case <-t.Context().Done():
						return
					}
				}
			}()
			var ch *pondclient.Channel
			for range 1 + random.IntN(40) {
				switch random.IntN(5) {
				case 0, 1: // join, with little patience at times
					ctx, cancel := context.WithTimeout(t.Context(), time.Duration(random.IntN(500))*time.Millisecond)
					joined, err := c.Join(ctx, "/chat/1")
					cancel()
					if err == nil {
						if ch != nil {
							ch.Leave(t.Context())
						}
						ch = joined
					}
				case 2, 3:
					if ch != nil {
						ch.Leave(t.Context())
						ch = nil
					}
				case 4:
					synctest.Wait()
					if s := current.Load(); s != nil && random.IntN(3) == 0 {
						s.cut()
					}
				}
			}
			time.Sleep(5 * time.Minute)
			synctest.Wait()
			last := current.Load()
			if r.inside["/chat/1"] != (ch != nil) {
				t.Errorf("seed %d: the server has the client inside: %v, wanted: %v", seed, r.inside["/chat/1"], ch != nil)
			}
			if ch != nil {
				events := collect(t, ch)
				events.take()
				last.say("/chat/1", 1, 0)
				events.is("1")
			}
			closeNow(t, c)
			last.gone()
		})
	}
}

func TestRequirement14AnswersToEarlierAttemptsAreIgnored(t *testing.T) {
	run(t, func(t *testing.T, f *fake) {
		c, s := f.connected()
		first := background(func() error {
			_, err := c.Join(within(t, time.Second), "/chat/1")
			return err
		})
		early := s.expect("JOIN_CHANNEL")
		isError(t, <-first, context.DeadlineExceeded)
		s.expect("LEAVE_CHANNEL")
		second := background(func() error {
			_, err := c.Join(t.Context(), "/chat/1")
			return err
		})
		late := s.expect("JOIN_CHANNEL")
		s.send("SYSTEM", "UNAUTHORIZED", "/chat/1", early.RequestID, `{"status":403}`, "")
		s.ack(early, `{}`)
		synctest.Wait()
		select {
		case err := <-second:
			t.Fatalf("the answer to the first join ended the second: %v", err)
		default:
		}
		s.ack(late, `{}`)
		if err := <-second; err != nil {
			t.Error(err)
		}
	})
}

func TestRequirement15JoiningTwiceIsHarmless(t *testing.T) {
	run(t, func(t *testing.T, f *fake) {
		c, s := f.connected()
		one := enter(t, c, s, "/chat/1", `{}`, pondclient.WithParams(map[string]int{"a": 1}))
		two, err := c.Join(t.Context(), "/chat/1", pondclient.WithParams(map[string]int{"a": 1}))
		if err != nil {
			t.Fatal(err)
		}
		s.quiet()
		first, second := collect(t, one), collect(t, two)
		s.say("/chat/1", 1, 0)
		first.is("1")
		second.is("1")
		for _, opt := range []pondclient.JoinOption{
			pondclient.WithParams(map[string]int{"a": 2}), pondclient.WithLast(3), pondclient.WithPresence(),
			pondclient.WithoutRecovery(), pondclient.WithPosition(pond.Position{Epoch: "e", Offset: 1}),
		} {
			_, err := c.Join(t.Context(), "/chat/1", pondclient.WithParams(map[string]int{"a": 1}), opt)
			isError(t, err, pondclient.ErrJoinedOtherwise)
		}
		s.cut()
		s = f.welcome()
		s.join(`{}`)
		s.quiet()
	})
}

func TestRequirement16HandlesAreCounted(t *testing.T) {
	run(t, func(t *testing.T, f *fake) {
		c, s := f.connected()
		one := enter(t, c, s, "/chat/1", `{}`)
		two, err := c.Join(t.Context(), "/chat/1")
		if err != nil {
			t.Fatal(err)
		}
		first, second := collect(t, one), collect(t, two)
		if err := one.Leave(t.Context()); err != nil {
			t.Error(err)
		}
		if err := one.Leave(t.Context()); err != nil { // a second call changes nothing
			t.Error(err)
		}
		s.quiet()
		if err := first.end(); err != nil {
			t.Error(err)
		}
		isError(t, one.Send("say", nil), pondclient.ErrLeft)
		s.say("/chat/1", 1, 0)
		second.is("1")
		if err := two.Leave(t.Context()); err != nil {
			t.Error(err)
		}
		s.expect("LEAVE_CHANNEL")
		if err := second.end(); err != nil {
			t.Error(err)
		}
	})
}

func TestRequirement17RemovingAChannelTouchesNoOther(t *testing.T) {
	states := map[string]func(t *testing.T, c *pondclient.Client, s *socket) *socket{
		"joined": func(t *testing.T, c *pondclient.Client, s *socket) *socket {
			other := enter(t, c, s, "/chat/2", `{}`)
			if err := other.Leave(t.Context()); err != nil {
				t.Error(err)
			}
			s.expect("LEAVE_CHANNEL")
			return s
		},
		"joining": func(t *testing.T, c *pondclient.Client, s *socket) *socket {
			_, err := c.Join(within(t, time.Second), "/chat/2")
			isError(t, err, context.DeadlineExceeded)
			s.expect("JOIN_CHANNEL")
			s.expect("LEAVE_CHANNEL")
			return s
		},
		"declined": func(t *testing.T, c *pondclient.Client, s *socket) *socket {
			joined := background(func() error { _, err := c.Join(t.Context(), "/chat/2"); return err })
			m := s.expect("JOIN_CHANNEL")
			s.send("SYSTEM", "UNAUTHORIZED", "/chat/2", m.RequestID, `{"code":"UNAUTHORIZED_JOIN_REQUEST","message":"Nope","status":403}`, "")
			err := <-joined
			if e, ok := errors.AsType[*pond.Error](err); !ok || e.Code != 403 || e.Message != "Nope" {
				t.Errorf("error %v", err)
			}
			isError(t, err, pondclient.Code("UNAUTHORIZED_JOIN_REQUEST"))
			return s
		},
		"evicted": func(t *testing.T, c *pondclient.Client, s *socket) *socket {
			events := collect(t, enter(t, c, s, "/chat/2", `{}`))
			s.send("SYSTEM", "kicked_out", "/chat/2", "x", `{"message":"spam","code":403,"reason":"spam"}`, "")
			s.send("SYSTEM", "EVICTED", "/chat/2", "x", `{"reason":"spam"}`, "")
			if e, ok := errors.AsType[*pondclient.RemovedError](events.end()); !ok || e.Closed || e.Reason != "spam" {
				t.Errorf("error %v", events.err)
			}
			return s
		},
		"destroyed": func(t *testing.T, c *pondclient.Client, s *socket) *socket {
			events := collect(t, enter(t, c, s, "/chat/2", `{}`))
			s.send("ERROR", "destroyed", "/chat/2", "x", `{"message":"over"}`, "")
			if e, ok := errors.AsType[*pondclient.RemovedError](events.end()); !ok || !e.Closed || e.Reason != "over" {
				t.Errorf("error %v", events.err)
			}
			return s
		},
		"offline": func(t *testing.T, c *pondclient.Client, s *socket) *socket {
			other := enter(t, c, s, "/chat/2", `{}`)
			s.cut()
			synctest.Wait()
			if err := other.Leave(t.Context()); err != nil {
				t.Error(err)
			}
			s = s.f.welcome()
			if m := s.join(`{}`); m.ChannelName != "/chat/1" {
				t.Errorf("joined %s", m.ChannelName)
			}
			return s
		},
		"rejoin refused": func(t *testing.T, c *pondclient.Client, s *socket) *socket {
			events := collect(t, enter(t, c, s, "/chat/2", `{}`))
			s.cut()
			s = s.f.welcome()
			s.join(`{}`)
			m := s.expect("JOIN_CHANNEL")
			s.send("SYSTEM", "UNAUTHORIZED", "/chat/2", m.RequestID, `{"status":403,"message":"no more"}`, "")
			if e, ok := errors.AsType[*pond.Error](events.end()); !ok || e.Code != 403 {
				t.Errorf("error %v", events.err)
			}
			return s
		},
	}
	for name, remove := range states {
		t.Run(name, func(t *testing.T) {
			run(t, func(t *testing.T, f *fake) {
				c, s := f.connected()
				ch := enter(t, c, s, "/chat/1", `{}`)
				events := collect(t, ch)
				after := remove(t, c, s)
				if after != s {
					events.is("gap:fresh")
				}
				after.quiet()
				after.say("/chat/1", 1, 0)
				events.is("1")
				if err := ch.Send("say", nil); err != nil {
					t.Error(err)
				}
				if m := after.expect("BROADCAST"); m.ChannelName != "/chat/1" {
					t.Errorf("sent %+v", m)
				}
				// The name can be joined again.
				enter(t, c, after, "/chat/2", `{}`)
			})
		})
	}
}

func TestRequirement17ARefusalForNowIsRetried(t *testing.T) {
	run(t, func(t *testing.T, f *fake) {
		c, s := f.connected()
		ch := enter(t, c, s, "/chat/1", `{}`)
		events := collect(t, ch)
		s.cut()
		s = f.welcome()
		for range 5 {
			m := s.expect("JOIN_CHANNEL")
			s.send("SYSTEM", "UNAUTHORIZED", "/chat/1", m.RequestID, `{"status":503,"message":"the broker is away"}`, "")
		}
		if err := ch.Send("say", nil); err != nil {
			t.Error(err)
		}
		s.join(`{}`)
		s.expect("BROADCAST")
		events.is("gap:fresh")
	})
}

func TestRequirement18CountsReturnToWhereTheyWere(t *testing.T) {
	run(t, func(t *testing.T, f *fake) {
		c, s := f.connected()
		for i := range 20 {
			name := fmt.Sprintf("/chat/%d", i)
			ch := enter(t, c, s, name, `{}`)
			for range 3 {
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				for range ch.Events(ctx) {
				}
				cancel()
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			_, err := ch.Request(ctx, "ask", nil)
			cancel()
			isError(t, err, context.DeadlineExceeded)
			s.expect("BROADCAST")
			if err := ch.Leave(t.Context()); err != nil {
				t.Error(err)
			}
			s.expect("LEAVE_CHANNEL")
		}
		if channels, requests, queued, bytes := c.Sizes(); channels+requests+queued+bytes != 0 {
			t.Errorf("%d channels, %d requests, %d messages, %d bytes remain", channels, requests, queued, bytes)
		}
	})
}
