package history_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pondsocket/pond"
	"github.com/pondsocket/pond/internal/suite/kit"
	"github.com/pondsocket/pond/pondtest"
)

const urlRoom = "/socket?join=/log/1"

func TestX1Features(t *testing.T) {
	for _, tc := range []struct {
		history bool
		opts    []pond.EndpointOption
		want    []string
	}{
		{false, nil, nil},
		{true, nil, []string{"recover"}},
		{true, []pond.EndpointOption{pond.WithJoinByURL()}, []string{"recover", "url"}},
		{false, []pond.EndpointOption{pond.WithJoinByURL()}, []string{"url"}},
	} {
		kit.OnBoth(t, func() *pond.Pond {
			p := pond.New()
			e := p.Endpoint("/socket", kit.Accept, tc.opts...)
			e.Lobby("/chat/:room", kit.Admit)
			if tc.history {
				e.Lobby("/log/:room", kit.Admit, pond.WithHistory(pond.History{}))
			}
			return p
		}, func(t *testing.T, d *pondtest.Driver, tr pondtest.Transport) {
			if got := d.Connect(tr, "/socket").Features(); !slices.Equal(got, tc.want) {
				t.Errorf("features %v, want %v", got, tc.want)
			}
		})
	}
}

func TestX14JoinByURL(t *testing.T) {
	onBoth(t, pond.History{Newcomers: 10}, func(t *testing.T, d *pondtest.Driver, e *pond.Endpoint, tr pondtest.Transport) {
		say(t, e, 1, 5)
		s := d.Connect(tr, urlRoom+"&last=3")
		m := s.Receive()
		if m.RequestID != "url" || !*acknowledged(t, m).Recover.Recovered {
			t.Fatalf("received %v", m)
		}
		expect(t, s, "3", "4", "5", "RECOVERED")
		say(t, e, 6, 6)
		expect(t, s, "6")

		plain := d.Connect(tr, urlRoom)
		kit.Is(t, plain.Receive(), "SYSTEM", "ACKNOWLEDGE", "{}")
		wants := d.Connect(tr, urlRoom+"&want=future,recover")
		if a := acknowledged(t, wants.Receive()); a.Recover == nil || a.Recover.Offset != 6 {
			t.Errorf("acknowledged with %+v", a.Recover)
		}
		for _, query := range []string{
			"join=", "join=/log/1&join=/log/2", "join=/log/1&last=-1", "join=/log/1&last=x",
			"join=%zz", "join=/log/1;want=recover", "join=/log/1&x=%",
		} {
			if resp := d.Declined(tr, "/socket?"+query); resp.StatusCode != http.StatusBadRequest {
				t.Errorf("%s: status %d", query, resp.StatusCode)
			}
		}
	}, pond.WithJoinByURL())
}

func TestX14OffByDefault(t *testing.T) {
	onBoth(t, pond.History{}, func(_ *testing.T, d *pondtest.Driver, _ *pond.Endpoint, tr pondtest.Transport) {
		d.Connect(tr, urlRoom).Quiet()
	})
}

func TestX14RejectedJoins(t *testing.T) {
	p := pond.New(pond.WithLogger(kit.Silent))
	e := p.Endpoint("/socket", kit.Accept, pond.WithJoinByURL())
	ended := 0
	l := e.Lobby("/log/:room", func(ctx *pond.JoinContext) error {
		switch ctx.Channel().Param("room") {
		case "secret":
			return ctx.Decline(http.StatusForbidden, "members only")
		case "broken":
			panic("broken")
		case "busy":
			return ctx.Decline(http.StatusServiceUnavailable, "later")
		}
		return nil
	}, pond.WithHistory(pond.History{}))
	l.OnLeave(func(*pond.LeaveContext) error { ended++; return nil })
	pondtest.Run(t, p, func(t *testing.T, d *pondtest.Driver) {
		for room, want := range map[string]int{"/log/secret": 403, "/nothing": 404, "/log/broken": 500, "/log/undecided": 401} {
			resp := d.Declined(pondtest.SSE, "/socket?join="+room)
			if text := kit.ReadAll(t, resp); resp.StatusCode != want || room == "/log/secret" && text != "members only" {
				t.Errorf("%s: status %d, %q", room, resp.StatusCode, text)
			}
			if resp.Header.Get("X-Connection-ID") != "" {
				t.Errorf("%s: the response has a connection ID", room)
			}
			// A WebSocket is open, and gets the usual answer.
			s := d.Connect(pondtest.WebSocket, "/socket?join="+room)
			if m := s.Receive(); m.Event != "UNAUTHORIZED" || m.RequestID != "url" || kit.Status(t, m) != want {
				t.Errorf("%s: received %v", room, m)
			}
			s.Close()
		}
		synctest.Wait()
		if n := e.Len(); n != 0 {
			t.Errorf("%d clients are left", n)
		}
		if ended != 0 {
			t.Errorf("%d leave handlers ran", ended)
		}
		// an EventSource would give up after any other answer.
		temporary(t, d, "/socket?join=/log/busy")
	})
}

// temporary checks the answer to a request for an event stream that is rejected for
// now.
func temporary(t *testing.T, d *pondtest.Driver, target string) {
	t.Helper()
	resp := d.Do(kit.Request(http.MethodGet, target, "", "Accept: text/event-stream"))
	body := kit.ReadAll(t, resp)
	after, ok := strings.CutPrefix(body, "retry: ")
	ms, err := strconv.Atoi(strings.TrimSpace(after))
	if resp.StatusCode != http.StatusOK || !ok || err != nil || ms < 1000 || ms > 5000 || !strings.HasSuffix(body, "\n\n") {
		t.Errorf("%s: status %d, %q", target, resp.StatusCode, body)
	}
	if ct := resp.Header.Get("Content-Type"); !strings.HasPrefix(ct, "text/event-stream") {
		t.Errorf("Content-Type is %q", ct)
	}
}

func TestX15PositionsInIDs(t *testing.T) {
	p, e, _ := newPond(pond.History{Newcomers: 10}, pond.WithJoinByURL())
	pondtest.Run(t, p, func(t *testing.T, d *pondtest.Driver) {
		say(t, e, 1, 2)
		s := d.Connect(pondtest.SSE, urlRoom+"&last=1")
		synctest.Wait()
		say(t, e, 3, 3)
		ch, _ := e.Channel(room)
		if err := ch.To(s.ID()).Broadcast("told", nil); err != nil {
			t.Fatal(err)
		}
		epoch := acknowledged(t, s.Receive()).Recover.Epoch
		s.Drain()
		var ids []string
		for _, ev := range s.Events()[1:] { // without CONNECTION
			ids = append(ids, strings.TrimPrefix(ev.ID, epoch))
		}
		// ACKNOWLEDGE, 2, RECOVERED, 3, and told, which has none of its own
		if want := []string{".1", ".2", ".2", ".3", ".3"}; !slices.Equal(ids, want) {
			t.Errorf("the IDs are %v, want %v", ids, want)
		}
		if strings.Count(string(s.Bytes()), "\nid: ")+strings.Count(string(s.Bytes()), "id: "+epoch) < 4 {
			t.Errorf("the stream is %s", s.Bytes())
		}
		// Other streams have no IDs, and official clients would not understand them.
		other := d.Connect(pondtest.SSE, "/socket")
		other.Join(room, nil, pondtest.Last(5))
		synctest.Wait()
		if strings.Contains(string(other.Bytes()), "id: ") {
			t.Errorf("a stream that did not join by URL has IDs: %s", other.Bytes())
		}
	})
}

// Messages about presence are not kept, so they have no positions. They are encoded in
// another way than others.
func TestX15PresenceHasNoID(t *testing.T) {
	for _, query := range []string{"", "&want=diff"} {
		p := pond.New()
		e := p.Endpoint("/socket", kit.Accept, pond.WithJoinByURL())
		e.Lobby("/log/:room", func(ctx *pond.JoinContext) error {
			if err := ctx.Accept(); err != nil {
				return err
			}
			return ctx.Track(map[string]int{"n": 1})
		}, pond.WithHistory(pond.History{}))
		pondtest.Run(t, p, func(t *testing.T, d *pondtest.Driver) {
			s := d.Connect(pondtest.SSE, urlRoom+query)
			synctest.Wait()
			say(t, e, 1, 1)
			other := d.Connect(pondtest.WebSocket, "/socket")
			other.Join(room, nil)
			synctest.Wait()
			other.Close()
			synctest.Wait()
			for _, ev := range s.Events()[1:] { // without CONNECTION
				if epoch, _, _ := strings.Cut(ev.ID, "."); epoch == "" && ev.ID != "" {
					t.Errorf("%q: the ID is %q after %s", query, ev.ID, ev.Name)
				}
			}
			if s.Drain(); len(s.Events()) < 5 {
				t.Errorf("%q: received %s", query, s.Bytes())
			}
		})
	}
}

func TestX16LastEventID(t *testing.T) {
	p, e, _ := newPond(pond.History{Newcomers: 2, Messages: 10}, pond.WithJoinByURL())
	pondtest.Run(t, p, func(t *testing.T, d *pondtest.Driver) {
		say(t, e, 1, 20)
		probe := d.Connect(pondtest.SSE, urlRoom+"&want=recover")
		epoch := acknowledged(t, probe.Receive()).Recover.Epoch
		for _, tc := range []struct {
			id, last, reason string
			want             []string
		}{
			{epoch + ".17", "", "", []string{"18", "19", "20", "RECOVERED"}},
			{epoch + ".17", "5", "", []string{"18", "19", "20", "RECOVERED"}},
			{epoch + ".20", "", "", []string{"RECOVERED"}},
			{epoch + ".5", "", "expired", nil},
			{epoch + ".5", "1", "expired", []string{"20", "RECOVERED"}},
			{epoch + ".21", "", "epoch", nil},
			{"other.20", "7", "epoch", []string{"19", "20", "RECOVERED"}},
			{"nonsense", "", "epoch", nil},
			{epoch + ".", "", "epoch", nil},
			{epoch + ".x", "", "epoch", nil},
			{epoch + ".-1", "", "epoch", nil},
			{epoch + ".99999999999999999999", "", "epoch", nil},
			{strings.Repeat("x", 5000), "1", "epoch", []string{"20", "RECOVERED"}},
		} {
			target := urlRoom
			if tc.last != "" {
				target += "&last=" + tc.last
			}
			byHeader := d.Connect(pondtest.SSE, target+"&lastEventId=stale.1", pondtest.Header("Last-Event-ID", tc.id))
			byURL := d.Connect(pondtest.SSE, target+"&lastEventId="+tc.id)
			for _, s := range []*pondtest.Session{byHeader, byURL} {
				a := acknowledged(t, s.Receive())
				if *a.Recover.Recovered != (tc.reason == "") || a.Recover.Reason != tc.reason || a.Recover.Epoch != epoch {
					t.Errorf("%.40s: acknowledged with %+v", tc.id, a.Recover)
				}
				expect(t, s, tc.want...)
				s.Close()
			}
		}
	})
}

func TestX17RetryField(t *testing.T) {
	p, _, _ := newPond(pond.History{}, pond.WithJoinByURL(), pond.WithMaxConns(20))
	pondtest.Run(t, p, func(t *testing.T, d *pondtest.Driver) {
		seen := map[string]bool{}
		for range 20 {
			s := d.Connect(pondtest.SSE, urlRoom)
			synctest.Wait()
			line, _, _ := strings.Cut(string(s.Bytes()), "\n")
			ms, err := strconv.Atoi(strings.TrimPrefix(line, "retry: "))
			if err != nil || ms < 1000 || ms > 5000 {
				t.Fatalf("the stream begins with %q", line)
			}
			seen[line] = true
		}
		if len(seen) < 10 {
			t.Errorf("only %d different values", len(seen))
		}
		temporary(t, d, urlRoom) // full
		resp := d.Declined(pondtest.SSE, "/socket")
		if after, err := strconv.Atoi(resp.Header.Get("Retry-After")); resp.StatusCode != http.StatusServiceUnavailable || err != nil || after != 1 {
			t.Errorf("without a channel: status %d, Retry-After %q", resp.StatusCode, resp.Header.Get("Retry-After"))
		}
	})
}

func TestX18StreamsResumeWhereTheyEnded(t *testing.T) {
	p, e, _ := newPond(pond.History{}, pond.WithJoinByURL())
	pondtest.Run(t, p, func(t *testing.T, d *pondtest.Driver) {
		var got []string
		id := ""
		for n := range 10 {
			s := d.Connect(pondtest.SSE, urlRoom, pondtest.Header("Last-Event-ID", id))
			synctest.Wait()
			say(t, e, 2*n+1, 2*n+1)
			for _, m := range s.Drain() {
				if m.Event == "said" {
					got = append(got, events(t, []pondtest.Message{m})...)
				}
			}
			all := s.Events()
			id = all[len(all)-1].ID
			if err := e.Disconnect(s.ID(), 0, ""); err != nil {
				t.Fatal(err)
			}
			s.Closed()
			say(t, e, 2*n+2, 2*n+2)
		}
		if want := numbers(1, 19); !slices.Equal(got, want) {
			t.Errorf("received %v, want %v", got, want)
		}
	})
}

func TestURLStreamHasOneChannel(t *testing.T) {
	p, _, _ := newPond(pond.History{}, pond.WithJoinByURL())
	pondtest.Run(t, p, func(t *testing.T, d *pondtest.Driver) {
		s := d.Connect(pondtest.SSE, urlRoom)
		s.Receive()
		if m := s.Join("/log/2", nil); m.Event != "UNAUTHORIZED" || kit.Status(t, m) != http.StatusForbidden {
			t.Errorf("joining another channel: %v", m)
		}
		s.Send(room, "say", map[string]int{"n": 1}) // it may talk in its own
		expect(t, s, "1")
		s.Leave(room)
		acknowledged(t, s.Join(room, nil))
	})
}

func TestX21ReconnectAdvice(t *testing.T) {
	for _, tr := range pondtest.Transports {
		p, _, _ := newPond(pond.History{})
		pondtest.Run(t, p, func(t *testing.T, d *pondtest.Driver) {
			ours, official := d.Connect(tr, "/socket"), d.Connect(tr, "/socket")
			ours.Join(room, nil, pondtest.Want("recover"))
			official.Join(room, nil)
			if err := p.Shutdown(t.Context()); err != nil {
				t.Fatal(err)
			}
			m := ours.Receive()
			var advice struct {
				After  *int
				Reason string
			}
			m.Bind(t, &advice)
			if m.Event != "RECONNECT" || m.Channel != "ENDPOINT" || advice.After == nil || *advice.After < 0 || *advice.After >= 1000 || advice.Reason != "shutdown" {
				t.Errorf("received %v", m)
			}
			official.Quiet()
		})
	}
}

// The window depends on the number of all clients that must reconnect, not on those that are
// still connected when a client receives the advice.
func TestX21AdviceIsUniform(t *testing.T) {
	const clients = 1500 // a window of 3 s
	p, _, _ := newPond(pond.History{})
	pondtest.Run(t, p, func(t *testing.T, d *pondtest.Driver) {
		var sessions []*pondtest.Session
		for range clients {
			s := d.Connect(pondtest.WebSocket, "/socket")
			s.Join(room, nil, pondtest.Want("recover"))
			sessions = append(sessions, s)
		}
		if err := p.Shutdown(t.Context()); err != nil {
			t.Fatal(err)
		}
		var thirds [3]int
		for _, s := range sessions {
			var advice struct{ After int }
			s.Receive().Bind(t, &advice)
			thirds[min(advice.After/1000, 2)]++
		}
		for _, n := range thirds {
			if n < clients/4 || n > clients*5/12 {
				t.Fatalf("of %d clients, %v reconnect in each second", clients, thirds)
			}
		}
	})
}

func TestX14TheHandlerRunsBeforeTheFirstByte(t *testing.T) {
	p := pond.New(pond.WithLogger(kit.Silent))
	e := p.Endpoint("/socket", func(ctx *pond.ConnectionContext) error {
		if err := ctx.Accept(); err != nil {
			return err
		}
		return ctx.Reply("hello", nil)
	}, pond.WithJoinByURL())
	e.Lobby("/log/:room", func(ctx *pond.JoinContext) error {
		time.Sleep(20 * time.Second)
		if err := ctx.Accept(); err != nil {
			return err
		}
		if err := ctx.Track(struct{}{}); err != nil {
			return err
		}
		return ctx.Reply("welcome", nil)
	}, pond.WithHistory(pond.History{}))
	pondtest.Run(t, p, func(t *testing.T, d *pondtest.Driver) {
		began := time.Now()
		s := d.Connect(pondtest.SSE, urlRoom)
		if waited := time.Since(began); waited < 20*time.Second {
			t.Errorf("the response came after %v", waited)
		}
		var got []string
		for _, m := range s.Drain() {
			got = append(got, m.Event)
		}
		if want := "[hello ACKNOWLEDGE JOIN welcome]"; fmt.Sprint(got) != want {
			t.Errorf("received %v, want %s", got, want)
		}
	})
}

func TestX14TheHandlersContextEndsWithTheRequest(t *testing.T) {
	p := pond.New(pond.WithLogger(kit.Silent))
	e := p.Endpoint("/socket", kit.Accept, pond.WithJoinByURL())
	joining, ended, left := make(chan struct{}), make(chan error, 1), make(chan struct{})
	l := e.Lobby("/log/:room", func(ctx *pond.JoinContext) error {
		if err := ctx.Accept(); err != nil {
			return err
		}
		close(joining)
		<-ctx.Done()
		ended <- ctx.Err()
		return nil
	}, pond.WithHistory(pond.History{}))
	l.OnLeave(func(*pond.LeaveContext) error { close(left); return nil })
	srv := httptest.NewServer(p)
	defer srv.Close()
	ctx, cancel := context.WithCancel(t.Context())
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, srv.URL+urlRoom, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept", "text/event-stream")
	go func() {
		<-joining
		cancel()
	}()
	if resp, err := http.DefaultClient.Do(req); err == nil {
		resp.Body.Close()
		t.Error("a response arrived before the handler returned")
	}
	<-ended
	<-left
	kit.Eventually(t, "no client is left", func() bool { return e.Len() == 0 })
}
