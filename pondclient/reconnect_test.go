package pondclient_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pondsocket/pond/internal/pipenet"
	"github.com/pondsocket/pond/pondclient"
)

// The numbers in names are those of the requirements in docs/goclient.md.

func TestRequirement1EveryDelayIsJittered(t *testing.T) {
	tests := map[string]struct {
		clients        int
		last           func(s *socket)
		earliest, span time.Duration
	}{
		"lost":    {1000, func(s *socket) { s.conn.(*pipenet.Conn).Reset() }, 0, time.Second},
		"closed":  {200, func(s *socket) { s.closeWith(1001, "") }, 0, time.Second},
		"advised": {200, func(s *socket) { advise(s, 5000); s.closeWith(1001, "") }, 5 * time.Second, 2500 * time.Millisecond},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			run(t, func(t *testing.T, f *fake) {
				clients := test.clients
				var sockets []*socket
				for range clients {
					_, s := f.connected()
					sockets = append(sockets, s)
				}
				start := time.Now()
				for _, s := range sockets {
					test.last(s)
				}
				var delays []time.Duration
				for range clients {
					f.accept()
				}
				for _, at := range f.opened[clients:] {
					delays = append(delays, at.Sub(start))
				}
				spread(t, delays, test.earliest, test.span)
			})
		})
	}
	t.Run("refused", func(t *testing.T) {
		run(t, func(t *testing.T, f *fake) {
			const clients = 200
			f.refuseWith(func(*http.Request) *refusal {
				return &refusal{status: 503, header: http.Header{"Retry-After": {"5"}}}
			})
			start := time.Now()
			for range clients {
				f.client()
			}
			synctest.Wait()
			f.refuseWith(nil)
			for range clients {
				f.accept()
			}
			var delays []time.Duration
			for _, at := range f.opened[clients:] {
				delays = append(delays, at.Sub(start))
			}
			spread(t, delays, 5*time.Second, 2500*time.Millisecond)
		})
	})
}

// advise sends RECONNECT.
func advise(s *socket, after int) {
	s.send("SYSTEM", "RECONNECT", "ENDPOINT", "x", fmt.Sprintf(`{"after":%d,"reason":"shutdown"}`, after), "")
	synctest.Wait()
}

// spread fails the test unless delays are spread over a span, of which no tenth
// contains more than a quarter of them.
func spread(t *testing.T, delays []time.Duration, earliest, span time.Duration) {
	t.Helper()
	var tenths [10]int
	for _, d := range delays {
		if d < earliest || d > earliest+span+time.Millisecond {
			t.Fatalf("a delay of %v", d)
		}
		tenths[min(int(10*(d-earliest)/span), 9)]++
	}
	if slices.Max(tenths[:]) > len(delays)/4 {
		t.Errorf("%d delays are distributed as %v", len(delays), tenths)
	}
}

func TestRequirement2BackoffResetsAfterAHealthyPeriod(t *testing.T) {
	run(t, func(t *testing.T, f *fake) {
		f.client()
		for range 12 { // accepted and closed at once
			f.welcome().closeWith(1011, "later")
		}
		var late time.Duration
		for range 5 {
			before := time.Now()
			f.welcome().closeWith(1011, "later")
			late = max(late, time.Since(before))
		}
		if late < 3*time.Second {
			t.Errorf("after 16 short connections, the longest delay is %v", late)
		}
		s := f.welcome()
		time.Sleep(31 * time.Second) // healthy
		before := time.Now()
		s.cut()
		f.welcome()
		if d := time.Since(before); d > time.Second {
			t.Errorf("after a healthy connection, the delay is %v", d)
		}
	})
}

func TestRequirement3TwentyLossesAreNoEnd(t *testing.T) {
	run(t, func(t *testing.T, f *fake) {
		c := f.client()
		for range 40 {
			f.accept().cut()
		}
		f.refuseWith(func(*http.Request) *refusal { return &refusal{status: 502} })
		time.Sleep(3 * time.Hour)
		if n := f.connects(); n < 3*60*60/30 || n > 3*60*60/3*2 {
			t.Errorf("%d attempts in three hours", n)
		}
		f.refuseWith(nil)
		f.welcome()
		if err := c.Ready(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

func TestRequirement4WakeTriggersOneAttempt(t *testing.T) {
	run(t, func(t *testing.T, f *fake) {
		f.refuseWith(func(*http.Request) *refusal {
			return &refusal{status: 503, header: http.Header{"Retry-After": {"600"}}}
		})
		c := f.client()
		for i := range 5 {
			if n := f.connects(); n != i+1 {
				t.Fatalf("%d attempts, want %d", n, i+1)
			}
			c.Wake()
		}
		f.refuseWith(nil)
		c.Wake()
		before := time.Now()
		f.welcome()
		if time.Since(before) != 0 {
			t.Errorf("connected after %v", time.Since(before))
		}
	})
}

func TestRequirement5SilenceAbandonsTheSocket(t *testing.T) {
	run(t, func(t *testing.T, f *fake) {
		_, s := f.connected()
		time.Sleep(time.Hour)
		if n := f.connects(); n != 1 {
			t.Fatalf("%d connections in a quiet hour", n)
		}
		if s.pings < 100 {
			t.Errorf("%d pings in an hour", s.pings)
		}
		s.conn.(*pipenet.Conn).Unplug() // no data passes any more
		before := time.Now()
		f.welcome()
		if d := time.Since(before); d < 10*time.Second || d > 37*time.Second {
			t.Errorf("connected again after %v", d)
		}
	})
}

func TestRequirement5SilenceOfAnEventStream(t *testing.T) {
	run(t, func(t *testing.T, f *fake) {
		_, s := f.connected(pondclient.WithTransport(pondclient.SSE))
		for range 60 {
			time.Sleep(20 * time.Second)
			s.stream(": keepalive\n\n")
		}
		if n := f.connects(); n != 1 || len(f.posts) > 0 {
			t.Fatalf("%d connections and %d POSTs in an hour of heartbeats", n, len(f.posts))
		}
		before := time.Now()
		f.welcome()
		if d := time.Since(before); d < 50*time.Second || d > 77*time.Second {
			t.Errorf("connected again after %v", d)
		}
	})
	run(t, func(t *testing.T, f *fake) { // another server does not answer on the stream
		f.gateway = true
		f.client(pondclient.WithTransport(pondclient.SSE))
		f.welcome()
		time.Sleep(time.Hour)
		if n := f.connects(); n != 1 || len(f.posts) < 40 {
			t.Errorf("%d connections and %d POSTs in an hour", n, len(f.posts))
		}
	})
	run(t, func(t *testing.T, f *fake) { // the client pings a server without heartbeats
		f.connected(pondclient.WithTransport(pondclient.SSE))
		time.Sleep(time.Hour)
		if n := f.connects(); n != 1 || len(f.posts) < 40 {
			t.Errorf("%d connections and %d POSTs in an hour without heartbeats", n, len(f.posts))
		}
		f.mu.Lock()
		clear(f.streams) // it removes the stream
		f.mu.Unlock()
		before := time.Now()
		f.welcome()
		if d := time.Since(before); d > 77*time.Second {
			t.Errorf("connected again after %v", d)
		}
	})
}

func TestRequirement6WakingUpProbesAtOnce(t *testing.T) {
	for name, sleep := range map[string]bool{"the machine slept": true, "the program says so": false} {
		t.Run(name, func(t *testing.T) {
			run(t, func(t *testing.T, f *fake) {
				var mu sync.Mutex
				var slept time.Duration
				wall := func() time.Time {
					mu.Lock()
					defer mu.Unlock()
					return time.Now().Add(slept)
				}
				c, s := f.connected(pondclient.WithWall(wall))
				time.Sleep(10 * time.Minute)
				if n := f.connects(); n != 1 {
					t.Fatalf("%d connections in ten quiet minutes", n)
				}
				s.conn.(*pipenet.Conn).Unplug()
				before := time.Now()
				if sleep {
					mu.Lock()
					slept = time.Hour
					mu.Unlock()
				} else {
					c.Wake()
				}
				f.welcome()
				if d := time.Since(before); d > 16*time.Second {
					t.Errorf("connected again after %v", d)
				}
			})
		})
	}
	run(t, func(t *testing.T, f *fake) { // a healthy connection stays
		c, _ := f.connected()
		for range 10 {
			c.Wake()
			time.Sleep(time.Minute)
		}
		if n := f.connects(); n != 1 {
			t.Errorf("%d connections", n)
		}
	})
}

func TestRequirement7SendsNeverWait(t *testing.T) {
	run(t, func(t *testing.T, f *fake) {
		c, s := f.connected(pondclient.WithoutCompression(), pondclient.WithQueue(pondclient.Queue{Bytes: 1 << 20}))
		ch := enter(t, c, s, "/chat/1", `{}`)
		s.conn.(*pipenet.Conn).Hold() // the server reads nothing
		before := time.Now()
		full := 0
		for range 3000 {
			if err := ch.Send("say", map[string]string{"text": strings.Repeat("x", 1000)}); errors.Is(err, pondclient.ErrQueueFull) {
				full++
			} else if err != nil {
				t.Fatal(err)
			}
		}
		if time.Since(before) != 0 || full < 1500 {
			t.Errorf("sending took %v, and the queue was full %d times", time.Since(before), full)
		}
	})
}

func TestRequirement8OneDeadlineUpToTheWelcome(t *testing.T) {
	stuck := func(ctx context.Context) (pondclient.Token, error) {
		<-ctx.Done()
		return pondclient.Token{}, ctx.Err()
	}
	hang := func(*http.Request) *refusal { return &refusal{} }
	tests := map[string]struct {
		opts   []pondclient.Option
		refuse func(*http.Request) *refusal
	}{
		"no response":         {nil, hang},
		"no message":          {nil, nil},
		"stream, no response": {[]pondclient.Option{pondclient.WithTransport(pondclient.SSE)}, hang},
		"stream, no message":  {[]pondclient.Option{pondclient.WithTransport(pondclient.SSE)}, nil},
		"dialer": {[]pondclient.Option{pondclient.WithDialContext(func(ctx context.Context, _, _ string) (net.Conn, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		})}, nil},
		"token": {[]pondclient.Option{pondclient.WithTokenSource(stuck)}, nil},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			run(t, func(t *testing.T, f *fake) {
				f.refuseWith(test.refuse)
				var ends []time.Time
				var reasons []*pondclient.ConnectionError
				var mu sync.Mutex
				observe := pondclient.WithObserver(&pondclient.Observer{
					Disconnected: func(reason *pondclient.ConnectionError, _ pondclient.Action, _ time.Duration) {
						mu.Lock()
						defer mu.Unlock()
						ends, reasons = append(ends, time.Now()), append(reasons, reason)
					},
				})
				before := time.Now()
				f.client(append(test.opts, observe, pondclient.WithConnectTimeout(7*time.Second))...)
				time.Sleep(time.Minute)
				mu.Lock()
				defer mu.Unlock()
				if len(ends) < 3 || ends[0].Sub(before) != 7*time.Second {
					t.Fatalf("attempts ended at %v", ends)
				}
				if name != "token" {
					isError(t, reasons[0], pondclient.ErrConnectTimeout)
				}
			})
		})
	}
}

func TestRequirement13OneSocketAtATime(t *testing.T) {
	run(t, func(t *testing.T, f *fake) {
		var live, most int
		var mu sync.Mutex
		dial := pondclient.WithDialContext(func(ctx context.Context, _, _ string) (net.Conn, error) {
			conn, err := f.listener.Dial(ctx)
			if err != nil {
				return nil, err
			}
			mu.Lock()
			defer mu.Unlock()
			live++
			most = max(most, live)
			return &countedConn{Conn: conn, closed: func() {
				mu.Lock()
				defer mu.Unlock()
				live--
			}}, nil
		})
		c := f.client(dial)
		for i := range 50 {
			s := f.accept()
			if i%2 == 0 {
				s.welcome()
			}
			c.Wake()
			if i%3 == 0 {
				s.conn.(*pipenet.Conn).Unplug()
			} else if i%2 == 0 {
				s.cut()
			}
		}
		closeNow(t, c)
		mu.Lock()
		defer mu.Unlock()
		if most != 1 || live != 0 {
			t.Errorf("%d connections at a time, %d in the end", most, live)
		}
	})
	run(t, func(t *testing.T, f *fake) { // a socket that opens after Close is closed
		release := make(chan struct{})
		dial := pondclient.WithDialContext(func(context.Context, string, string) (net.Conn, error) {
			<-release // it ignores its context
			return f.listener.Dial(context.Background())
		})
		c := f.client(dial)
		synctest.Wait()
		closeNow(t, c)
		close(release)
		time.Sleep(time.Minute)
		if n := f.connects(); n != 0 || f.most != 0 {
			t.Errorf("%d requests after Close", n)
		}
		c.Wake()
		time.Sleep(time.Minute)
		if n := f.connects(); n != 0 {
			t.Errorf("%d requests after Close", n)
		}
		isError(t, c.Ready(t.Context()), pondclient.ErrClosed)
	})
}

// A countedConn reports when it is closed.
type countedConn struct {
	net.Conn
	once   sync.Once
	closed func()
}

func (c *countedConn) Close() error {
	c.once.Do(c.closed)
	return c.Conn.Close()
}
