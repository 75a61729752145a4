package pondclient_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pondsocket/pond/pondclient"
)

func TestRequirement10TokenRefreshIsSingleFlight(t *testing.T) {
	run(t, func(t *testing.T, f *fake) {
		var calls, running atomic.Int32
		results := make(chan string)
		source := func(context.Context) (pondclient.Token, error) {
			if running.Add(1) > 1 {
				t.Error("two calls at a time")
			}
			calls.Add(1)
			defer running.Add(-1)
			return pondclient.Token{Value: <-results}, nil // it ignores its context
		}
		c := f.client(pondclient.WithTokenSource(source), pondclient.WithConnectTimeout(5*time.Second))
		for range 10 {
			time.Sleep(time.Minute)
			c.Wake()
		}
		if n := calls.Load(); n != 1 {
			t.Errorf("%d calls", n)
		}
		c.SetToken("newer")
		results <- "older" // the result of an earlier attempt
		s := f.welcome()
		if got := s.request.Header.Get("Authorization"); got != "Bearer newer" {
			t.Errorf("connected with %q", got)
		}
		s.cut()
		if got := f.welcome().request.Header.Get("Authorization"); got != "Bearer newer" {
			t.Errorf("connected again with %q", got)
		}
	})
}

// counted is a source of tokens 1, 2, 3, ...
func counted(lifetime time.Duration) (source pondclient.TokenSource, calls func() int) {
	var mu sync.Mutex
	n := 0
	source = func(context.Context) (pondclient.Token, error) {
		mu.Lock()
		defer mu.Unlock()
		n++
		return pondclient.Token{Value: fmt.Sprint(n), Lifetime: lifetime}, nil
	}
	return source, func() int {
		mu.Lock()
		defer mu.Unlock()
		return n
	}
}

func bearer(r *http.Request) string {
	token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	return token
}

func TestRequirement11StaleTokensAreRefreshed(t *testing.T) {
	run(t, func(t *testing.T, f *fake) { // before connecting
		source, _ := counted(10 * time.Minute)
		f.client(pondclient.WithTokenSource(source))
		s := f.welcome()
		for want := 1; want <= 4; want++ {
			if got := bearer(s.request); got != fmt.Sprint(want) {
				t.Errorf("token %q, want %d", got, want)
			}
			time.Sleep(5 * time.Minute)
			s.cut()
			s = f.welcome()
			if got := bearer(s.request); got != fmt.Sprint(want) {
				t.Errorf("token %q, want %d", got, want)
			}
			time.Sleep(5 * time.Minute)
			s.cut()
			s = f.welcome()
		}
	})
	run(t, func(t *testing.T, f *fake) { // after a rejection, once
		source, calls := counted(0)
		f.refuseWith(func(r *http.Request) *refusal {
			if bearer(r) == "1" {
				return &refusal{status: 401}
			}
			return nil
		})
		c := f.client(pondclient.WithTokenSource(source), pondclient.WithTokenParameter(""))
		s := f.welcome()
		if bearer(s.request) != "2" {
			t.Errorf("token %q", bearer(s.request))
		}
		f.refuseWith(func(*http.Request) *refusal { return &refusal{status: 403} })
		s.cut()
		time.Sleep(time.Hour)
		synctest.Wait()
		isError(t, c.Ready(t.Context()), pondclient.ErrStopped)
		if n := f.connects(); n != 4 || calls() != 3 {
			t.Errorf("%d attempts with %d tokens", n, calls())
		}
	})
	run(t, func(t *testing.T, f *fake) { // a rejected static token stops the client until another one is set
		f.refuseWith(func(r *http.Request) *refusal {
			if r.URL.Query().Get("token") != "new" {
				return &refusal{status: 401, text: "expired"}
			}
			return nil
		})
		c := f.client(pondclient.WithToken("old"), pondclient.WithTokenParameter("token"))
		time.Sleep(time.Hour)
		isError(t, c.Ready(t.Context()), pondclient.ErrStopped)
		if n := f.connects(); n != 1 {
			t.Errorf("%d attempts", n)
		}
		c.SetToken("new")
		s := f.welcome()
		if s.request.URL.Query().Get("a") != "b" {
			t.Errorf("query %q", s.request.URL.RawQuery)
		}
		if err := c.Ready(t.Context()); err != nil {
			t.Error(err)
		}
	})
	run(t, func(t *testing.T, f *fake) { // parameters of joins are created again
		c, s := f.connected()
		n := 0
		joined := background(func() error {
			_, err := c.Join(t.Context(), "/chat/1", pondclient.WithParamsFunc(func(context.Context) (any, error) {
				n++
				return map[string]int{"token": n}, nil
			}))
			return err
		})
		for want := 1; want <= 3; want++ {
			if m := s.join(`{}`); string(m.Payload) != fmt.Sprintf(`{"token":%d}`, want) {
				t.Errorf("joined with %s, want %d", m.Payload, want)
			}
			s.cut()
			s = f.welcome()
		}
		// A rejected token is replaced once.
		m := s.expect("JOIN_CHANNEL")
		s.send("SYSTEM", "UNAUTHORIZED", "/chat/1", m.RequestID, `{"status":401,"message":"expired"}`, "")
		if m := s.join(`{}`); string(m.Payload) != `{"token":5}` {
			t.Errorf("joined with %s", m.Payload)
		}
		if err := <-joined; err != nil {
			t.Error(err)
		}
	})
}

func TestRequirement11AStopEndsEventsUntilATokenIsSet(t *testing.T) {
	run(t, func(t *testing.T, f *fake) {
		c, s := f.connected(pondclient.WithToken("old"))
		ch := enter(t, c, s, "/chat/1", `{}`)
		events := collect(t, ch)
		f.refuseWith(func(r *http.Request) *refusal {
			if bearer(r) == "old" {
				return &refusal{status: 401}
			}
			return nil
		})
		s.cut()
		isError(t, events.end(), pondclient.ErrStopped)
		isError(t, ch.Send("say", nil), pondclient.ErrStopped)
		c.SetToken("new")
		s = f.welcome()
		s.join(`{}`)
		events = collect(t, ch)
		s.say("/chat/1", 1, 0)
		events.is("gap:fresh 1")
	})
}

func TestRequirement12RefreshFollowsTheLifetime(t *testing.T) {
	day := func(t *testing.T, lifetime time.Duration, cut time.Duration) int {
		calls := 0
		run(t, func(t *testing.T, f *fake) {
			source, count := counted(lifetime)
			f.client(pondclient.WithTokenSource(source))
			for end := time.Now().Add(24 * time.Hour); time.Now().Before(end); {
				s := f.welcome()
				time.Sleep(cut)
				s.cut()
			}
			calls = count()
		})
		return calls
	}
	if n := day(t, time.Hour, 10*time.Minute); n < 20 || n > 28 {
		t.Errorf("%d refreshes in a day of tokens that live for an hour", n)
	}
	if n := day(t, 0, 10*time.Minute); n != 1 {
		t.Errorf("%d refreshes of a token that does not expire", n)
	}
	run(t, func(t *testing.T, f *fake) { // tokens that are expired at once
		source, calls := counted(time.Nanosecond)
		c := f.client(pondclient.WithTokenSource(source), pondclient.WithBackoff(pondclient.Backoff{First: time.Millisecond, Max: time.Millisecond, Healthy: 1}))
		for range 100 {
			f.welcome().cut()
		}
		closeNow(t, c)
		if n := calls(); n > 100 || time.Since(f.opened[0]) < 90*time.Second {
			t.Errorf("%d refreshes in %v", n, time.Since(f.opened[0]))
		}
	})
}
