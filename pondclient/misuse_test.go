package pondclient_test

import (
	"context"
	"errors"
	"math"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pondsocket/pond"
	"github.com/pondsocket/pond/pondclient"
)

func TestAPolicyMayUseTheClient(t *testing.T) {
	run(t, func(t *testing.T, f *fake) {
		var c *pondclient.Client
		used := 0
		c = f.client(pondclient.WithPolicy(func(e *pondclient.ConnectionError) pondclient.Action {
			_, _ = c.UserID(), c.Transport()
			c.SetToken("another")
			used++
			return pondclient.Retry
		}))
		s := f.welcome()
		events := collect(t, enter(t, c, s, room, `{}`))
		s.cut()
		s = f.welcome()
		m := s.expect("JOIN_CHANNEL")
		s.send("SYSTEM", "UNAUTHORIZED", room, m.RequestID, `{"code":"X","status":503}`, "")
		s.join(`{}`)
		events.is("gap:fresh")
		if used != 2 {
			t.Errorf("%d calls", used)
		}
	})
}

func TestGoexitInFunctionsOfTheProgram(t *testing.T) {
	exits := func(n *int) {
		if *n++; *n == 1 {
			runtime.Goexit()
		}
	}
	t.Run("token source", func(t *testing.T) {
		run(t, func(t *testing.T, f *fake) {
			n := 0
			f.client(pondclient.WithTokenSource(func(context.Context) (pondclient.Token, error) {
				exits(&n)
				return pondclient.Token{Value: "x"}, nil
			}))
			before := time.Now()
			f.welcome()
			if d := time.Since(before); d > 15*time.Second {
				t.Errorf("connected after %v", d)
			}
		})
	})
	t.Run("parameters", func(t *testing.T) {
		run(t, func(t *testing.T, f *fake) {
			c, s := f.connected()
			n := 0
			params := pondclient.WithParamsFunc(func(context.Context) (any, error) {
				exits(&n)
				return nil, nil
			})
			if _, err := c.Join(within(t, time.Minute), room, params); err == nil || errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("error %v", err)
			}
			events := collect(t, enter(t, c, s, room, `{}`, params))
			n = 0
			s.cut()
			s = f.welcome()
			s.join(`{}`)
			events.is("gap:fresh")
		})
	})
	// These run on the goroutine that connects, so they end the client.
	for name, opt := range map[string]func() pondclient.Option{
		"policy": func() pondclient.Option {
			return pondclient.WithPolicy(func(*pondclient.ConnectionError) pondclient.Action {
				runtime.Goexit()
				return pondclient.Retry
			})
		},
		"observer": func() pondclient.Option {
			return pondclient.WithObserver(&pondclient.Observer{
				Disconnected: func(*pondclient.ConnectionError, pondclient.Action, time.Duration) { runtime.Goexit() },
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			run(t, func(t *testing.T, f *fake) {
				c := f.client(opt())
				s := f.welcome()
				events := collect(t, enter(t, c, s, room, `{}`))
				s.cut()
				if err := events.end(); !errors.Is(err, pondclient.ErrStopped) || !strings.Contains(err.Error(), "runtime.Goexit") {
					t.Errorf("the events end with %v", err)
				}
				_, err := c.Join(t.Context(), room)
				isError(t, err, pondclient.ErrClosed)
				if err := c.Close(t.Context()); err != nil {
					t.Error(err)
				}
			})
		})
	}
	t.Run("observer of events", func(t *testing.T) {
		run(t, func(t *testing.T, f *fake) {
			n, dropped, lost := 0, 0, 0
			c := f.client(pondclient.WithObserver(&pondclient.Observer{
				Dropped:      func(string, int) { dropped++; exits(&n) },
				Disconnected: func(*pondclient.ConnectionError, pondclient.Action, time.Duration) { lost++ },
			}))
			s := f.welcome()
			enter(t, c, s, room, `{}`, pondclient.WithBuffer(1, 1000))
			s.say(room, 1, 0)
			s.say(room, 2, 0) // no goroutine reads the connection any more
			s = f.welcome()
			s.join(`{}`)
			s.say(room, 3, 0)
			synctest.Wait()
			if dropped < 3 || lost != 1 {
				t.Errorf("%d dropped, %d connections lost", dropped, lost)
			}
		})
	})
	t.Run("policy for a rejoin", func(t *testing.T) {
		run(t, func(t *testing.T, f *fake) {
			c := f.client(pondclient.WithPolicy(func(e *pondclient.ConnectionError) pondclient.Action {
				if e.Status == 503 {
					runtime.Goexit()
				}
				return pondclient.Retry
			}))
			s := f.welcome()
			events := collect(t, enter(t, c, s, room, `{}`))
			s.cut()
			s = f.welcome()
			m := s.expect("JOIN_CHANNEL")
			s.send("SYSTEM", "UNAUTHORIZED", room, m.RequestID, `{"code":"X","status":503}`, "")
			if e, ok := errors.AsType[*pond.Error](events.end()); !ok || e.Code != 503 {
				t.Errorf("error %v", events.err)
			}
			f.welcome()
		})
	})
}

// "Never" is a common value for a timeout.
func TestTimesWithoutBounds(t *testing.T) {
	never := time.Duration(math.MaxInt64)
	t.Run("join timeout", func(t *testing.T) {
		run(t, func(t *testing.T, f *fake) {
			c, s := f.connected(pondclient.WithJoinTimeout(never))
			joined := background(func() error { _, err := c.Join(t.Context(), room); return err })
			m := s.expect("JOIN_CHANNEL")
			time.Sleep(time.Hour)
			s.quiet()
			s.ack(m, `{}`)
			if err := <-joined; err != nil {
				t.Error(err)
			}
		})
	})
	t.Run("backoff", func(t *testing.T) {
		for _, first := range []time.Duration{time.Second, 10 * time.Second, 7 * time.Minute, time.Hour, never} {
			for i, d := range pondclient.Delays(first, never, 200) {
				if d < min(first, 365*24*time.Hour)/10 {
					t.Errorf("first %v: attempt %d after %v", first, i, d)
				}
			}
		}
	})
	t.Run("the rest", func(t *testing.T) {
		for _, over := range bothTransports {
			run(t, func(t *testing.T, f *fake) {
				c := f.client(pondclient.WithTransport(over), pondclient.WithHeartbeat(never, never), pondclient.WithConnectTimeout(never),
					pondclient.WithQueue(pondclient.Queue{Age: never}))
				s := f.welcome()
				events := collect(t, enter(t, c, s, room, `{}`))
				time.Sleep(time.Hour)
				s.say(room, 1, 0)
				events.is("1")
				s.mu.Lock()
				defer s.mu.Unlock()
				if f.connects() != 1 || s.pings > 0 || len(f.posts) > 1 {
					t.Errorf("%d connections, %d pings, %d POSTs", f.connects(), s.pings, len(f.posts))
				}
			})
		}
	})
}

// What was sent once may have arrived, however the next attempt ends.
func TestRequirement23ARepeatedRequestIsNeverUnsent(t *testing.T) {
	again := func(t *testing.T, f *fake, ctx context.Context, opts ...pondclient.Option) (*pondclient.Client, *pondclient.Channel, <-chan error) {
		c := f.client(opts...)
		s := f.welcome()
		ch := enter(t, c, s, room, `{}`)
		asked := background(func() error { _, err := ch.Request(ctx, "again", nil, pondclient.Idempotent()); return err })
		s.expect("BROADCAST")
		f.refuseWith(func(*http.Request) *refusal { return &refusal{status: 503} })
		s.cut()
		synctest.Wait()
		return c, ch, asked
	}
	run(t, func(t *testing.T, f *fake) {
		_, _, asked := again(t, f, within(t, 10*time.Second))
		err := <-asked
		isError(t, err, context.DeadlineExceeded)
		isError(t, err, pondclient.ErrUnknownOutcome)
	})
	run(t, func(t *testing.T, f *fake) {
		_, _, asked := again(t, f, t.Context())
		err := <-asked
		isError(t, err, pondclient.ErrExpired)
		isError(t, err, pondclient.ErrUnknownOutcome)
	})
	run(t, func(t *testing.T, f *fake) {
		_, ch, asked := again(t, f, t.Context())
		ch.Discard()
		err := <-asked
		isError(t, err, pondclient.ErrDiscarded)
		isError(t, err, pondclient.ErrUnknownOutcome)
	})
	run(t, func(t *testing.T, f *fake) {
		c, _, asked := again(t, f, t.Context())
		closeNow(t, c)
		err := <-asked
		isError(t, err, pondclient.ErrClosed)
		isError(t, err, pondclient.ErrUnknownOutcome)
	})
	run(t, func(t *testing.T, f *fake) { // a POST without a useful answer
		c := f.client(overStream)
		s := f.welcome()
		ch := enter(t, c, s, room, `{}`)
		f.postWith(func(*http.Request, string) int { return http.StatusBadGateway })
		f.refuseWith(func(*http.Request) *refusal { return &refusal{status: 503} })
		_, err := ch.Request(within(t, 10*time.Second), "again", nil, pondclient.Idempotent())
		isError(t, err, context.DeadlineExceeded)
		isError(t, err, pondclient.ErrUnknownOutcome)
	})
	run(t, func(t *testing.T, f *fake) { // it waits anew
		c, s := f.connected(pondclient.WithQueue(pondclient.Queue{Age: 30 * time.Second}))
		ch := enter(t, c, s, room, `{}`)
		asked := background(func() error { _, err := ch.Request(t.Context(), "again", nil, pondclient.Idempotent()); return err })
		s.expect("BROADCAST")
		time.Sleep(time.Minute)
		s.cut()
		s = f.accept()
		time.Sleep(15 * time.Second)
		s.welcome()
		s.join(`{}`)
		s.reply(s.expect("BROADCAST"), "done", `{}`)
		if err := <-asked; err != nil {
			t.Error(err)
		}
	})
}

func TestRequirement41AContextThatIsDoneSendsNothing(t *testing.T) {
	run(t, func(t *testing.T, f *fake) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := pondclient.Dial(ctx, "ws://example.com/socket", f.options(nil)...)
		isError(t, err, context.Canceled)
		if n := len(f.dials); n > 0 {
			t.Errorf("%d connections", n)
		}
		c, s := f.connected()
		_, err = c.Join(ctx, "/chat/9")
		isError(t, err, context.Canceled)
		s.quiet()
		ch := enter(t, c, s, room, `{}`)
		for range 100 {
			_, err = ch.Request(ctx, "x", nil)
			isError(t, err, context.Canceled)
			if errors.Is(err, pondclient.ErrUnknownOutcome) {
				t.Fatal("the outcome is unknown")
			}
			synctest.Wait()
		}
		s.quiet()
	})
}

func TestLeaveReportsWhatIsSentMeanwhile(t *testing.T) {
	run(t, func(t *testing.T, f *fake) {
		c, s := f.connected()
		one := enter(t, c, s, room, `{}`)
		two, err := c.Join(t.Context(), room)
		if err != nil {
			t.Fatal(err)
		}
		s.cut()
		f.accept()
		if err := one.Send("x", nil); err != nil {
			t.Fatal(err)
		}
		ctx := within(t, time.Second)
		first := background(func() error { return one.Leave(ctx) })
		second := background(func() error { return two.Leave(ctx) })
		unsent := 0
		for _, err := range []error{<-first, <-second} {
			if e, ok := errors.AsType[*pondclient.UnsentError](err); ok {
				unsent += len(e.Messages)
			}
		}
		if unsent != 1 {
			t.Errorf("%d unsent", unsent)
		}
	})
}

// A fresh token is used once, however short its life is. The test runs in real time,
// in which such a token expires at once.
func TestTokensThatHardlyLive(t *testing.T) {
	p, _ := chat()()
	server := httptest.NewServer(p)
	defer server.Close()
	for _, life := range []time.Duration{1, time.Microsecond, -time.Hour} {
		calls := 0
		source := func(context.Context) (pondclient.Token, error) {
			calls++
			return pondclient.Token{Value: "x", Lifetime: life}, nil
		}
		c, err := pondclient.Dial(within(t, 30*time.Second), server.URL+"/socket", pondclient.WithTokenSource(source), pondclient.WithLogger(quiet))
		if err != nil {
			t.Fatal(err)
		}
		closeNow(t, c)
		if calls != 1 {
			t.Errorf("lifetime %v: %d calls", life, calls)
		}
	}
}

func TestAStopEndsPendingJoins(t *testing.T) {
	for range 100 {
		run(t, func(t *testing.T, f *fake) {
			var c *pondclient.Client
			c = f.client(pondclient.WithObserver(&pondclient.Observer{
				Disconnected: func(_ *pondclient.ConnectionError, a pondclient.Action, _ time.Duration) {
					if a == pondclient.Stop {
						c.SetToken("another")
					}
				},
			}))
			s := f.welcome()
			joined := background(func() error { _, err := c.Join(t.Context(), room); return err })
			s.expect("JOIN_CHANNEL")
			s.closeWith(1002, "")
			f.welcome()
			isError(t, <-joined, pondclient.ErrStopped)
		})
	}
}
