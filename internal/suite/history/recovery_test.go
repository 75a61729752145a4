package history_test

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pondsocket/pond"
	"github.com/pondsocket/pond/internal/suite/kit"
	"github.com/pondsocket/pond/pondtest"
)

func TestX7PositionOfAJoin(t *testing.T) {
	onBoth(t, pond.History{}, func(t *testing.T, d *pondtest.Driver, e *pond.Endpoint, tr pondtest.Transport) {
		say(t, e, 1, 12)
		s := d.Connect(tr, "/socket")
		m := s.Join(room, nil, pondtest.Want("recover"))
		a := acknowledged(t, m)
		if a.Recover == nil || a.Recover.Offset != 12 || a.Recover.To != nil || a.Recover.Recovered != nil {
			t.Fatalf("acknowledged with %s", m.Payload)
		}
		say(t, e, 13, 13)
		expect(t, s, "13")
	})
}

func TestX2X8InvalidRequests(t *testing.T) {
	onBoth(t, pond.History{}, func(t *testing.T, d *pondtest.Driver, _ *pond.Endpoint, tr pondtest.Transport) {
		for _, extra := range []string{
			`"want":"recover"`, `"want":null`, `"want":{}`, `"want":[1]`, `"want":[null]`, `"want":1`,
			`"from":null`, `"from":12`, `"from":"k.12"`, `"from":[]`, `"from":{}`,
			`"from":{"epoch":"k"}`, `"from":{"offset":1}`, `"from":{"epoch":1,"offset":1}`, `"from":{"epoch":"","offset":1}`,
			`"from":{"epoch":"k","offset":-1}`, `"from":{"epoch":"k","offset":1.5}`, `"from":{"epoch":"k","offset":"1"}`,
			`"from":{"epoch":"k","offset":9007199254740992}`, `"from":{"epoch":"k","offset":1,"id":1}`,
			`"from":{"last":-1}`, `"from":{"last":"5"}`, `"from":{"last":1e1}`, `"from":{"last":5,"epoch":"k","offset":1}`,
			`"from":{"Epoch":"k","Offset":1}`,
		} {
			s := d.Connect(tr, "/socket")
			message := `{"action":"JOIN_CHANNEL","event":"JOIN","channelName":"/log/1","requestId":"r1","payload":{},` + extra + `}`
			if tr == pondtest.SSE {
				if status := d.Push(s, []byte(message)); status != 204 {
					t.Errorf("%s: status %d", extra, status)
				}
			} else {
				s.SendRaw([]byte(message))
			}
			m := s.Receive()
			if m.Action != "ERROR" || m.Event != "INVALID_MESSAGE" || m.RequestID != "r1" || kit.Status(t, m) != 400 {
				t.Errorf("%s: got %v", extra, m)
			}
			s.Close()
		}
		for _, extra := range []string{
			`"want":[]`, `"want":["recover","future"]`, `"want":["future"]`, `"from":{"last":0}`, `"from":{"last":9007199254740991}`,
			`"from":{"epoch":"k","offset":0,"future":1}`, `"from":{"epoch":"` + strings.Repeat("k", 300) + `","offset":9007199254740991}`,
		} {
			s := d.Connect(tr, "/socket")
			s.SendRaw([]byte(`{"action":"JOIN_CHANNEL","event":"JOIN","channelName":"/log/1","requestId":"r1","payload":{},` + extra + `}`))
			acknowledged(t, s.Receive())
			s.Close()
		}
	})
}

func TestX9Replay(t *testing.T) {
	onBoth(t, pond.History{}, func(t *testing.T, d *pondtest.Driver, e *pond.Endpoint, tr pondtest.Transport) {
		say(t, e, 1, 3)
		s := d.Connect(tr, "/socket")
		s.Join(room, nil, pondtest.Want("recover"))
		say(t, e, 4, 4)
		live := s.Drain()[0].Raw
		at := s.Position(room)
		s.Reset()
		say(t, e, 5, 7)

		s = d.Connect(tr, "/socket")
		m := s.Join(room, nil, pondtest.Want("recover"), pondtest.From(at, ""))
		want := fmt.Sprintf(`{"recover":{"epoch":"%s","offset":4,"to":7,"recovered":true}}`, at.Epoch)
		if string(m.Payload) != want {
			t.Fatalf("acknowledged with %s, want %s", m.Payload, want)
		}
		say(t, e, 8, 8)
		messages := s.Drain()
		if got := events(t, messages); !slices.Equal(got, []string{"5", "6", "7", "RECOVERED", "8"}) {
			t.Fatalf("received %v", got)
		}
		kit.Is(t, messages[3], "SYSTEM", "RECOVERED", fmt.Sprintf(`{"epoch":"%s","offset":7}`, at.Epoch))
		if s.Position(room) != (pondtest.Position{Epoch: at.Epoch, Offset: 8}) {
			t.Errorf("the position is %+v", s.Position(room))
		}

		// A replayed frame has the bytes of the live one.
		again := d.Connect(tr, "/socket")
		again.Join(room, nil, pondtest.From(pondtest.Position{Epoch: at.Epoch, Offset: 3}, ""))
		if got := again.Receive().Raw; string(got) != string(live) {
			t.Errorf("replayed %s, live it was %s", got, live)
		}

		// Nothing was missed.
		up := d.Connect(tr, "/socket")
		up.Join(room, nil, pondtest.From(pondtest.Position{Epoch: at.Epoch, Offset: 8}, ""))
		expect(t, up, "RECOVERED")
	})
}

func TestX9Refusals(t *testing.T) {
	h := pond.History{Messages: 10, Replay: 5}
	onBoth(t, h, func(t *testing.T, d *pondtest.Driver, e *pond.Endpoint, tr pondtest.Transport) {
		say(t, e, 1, 20)
		probe := d.Connect(tr, "/socket")
		probe.Join(room, nil, pondtest.Want("recover"))
		epoch := probe.Position(room).Epoch
		for _, tc := range []struct {
			from   pondtest.Position
			reason string
		}{
			{pondtest.Position{Epoch: "other", Offset: 18}, "epoch"},
			{pondtest.Position{Epoch: epoch, Offset: 21}, "epoch"}, // which this epoch never had
			{pondtest.Position{Epoch: epoch, Offset: 9}, "expired"},
			{pondtest.Position{Epoch: epoch, Offset: 10}, "limit"},
			{pondtest.Position{Epoch: epoch, Offset: 14}, "limit"},
			{pondtest.Position{Epoch: epoch, Offset: 15}, ""},
		} {
			s := d.Connect(tr, "/socket")
			m := s.Join(room, nil, pondtest.Want("recover"), pondtest.From(tc.from, ""))
			want := fmt.Sprintf(`{"recover":{"epoch":"%s","offset":20,"recovered":false,"reason":"%s"}}`, epoch, tc.reason)
			if tc.reason == "" {
				want = fmt.Sprintf(`{"recover":{"epoch":"%s","offset":15,"to":20,"recovered":true}}`, epoch)
			}
			if string(m.Payload) != want {
				t.Errorf("from %+v: %s, want %s", tc.from, m.Payload, want)
			}
			if tc.reason != "" {
				s.Quiet() // no replay, and no RECOVERED
			}
		}
	})
}

func TestX8Newcomers(t *testing.T) {
	for newcomers, want := range map[int][]string{0: nil, 3: {"8", "9", "10"}, 100: numbers(6, 10)} {
		onBoth(t, pond.History{Messages: 5, Newcomers: newcomers}, func(t *testing.T, d *pondtest.Driver, e *pond.Endpoint, tr pondtest.Transport) {
			say(t, e, 1, 10)
			s := d.Connect(tr, "/socket")
			a := acknowledged(t, s.Join(room, nil, pondtest.Last(50)))
			if a.Recover.Recovered == nil || !*a.Recover.Recovered || *a.Recover.To != 10 {
				t.Errorf("acknowledged with %+v", a.Recover)
			}
			expect(t, s, append(slices.Clone(want), "RECOVERED")...)
			none := d.Connect(tr, "/socket")
			none.Join(room, nil, pondtest.Last(0))
			expect(t, none, "RECOVERED")
		})
	}
}

func TestX8HandlerLimitsReplay(t *testing.T) {
	p := pond.New(pond.WithLogger(kit.Silent))
	e := p.Endpoint("/socket", kit.Accept)
	var seen []pond.Recovery
	e.Lobby("/log/:room", func(ctx *pond.JoinContext) error {
		if r, ok := ctx.Recovery(); ok {
			seen = append(seen, r)
			ctx.LimitReplay(2)
		}
		return ctx.Accept()
	}, pond.WithHistory(pond.History{Newcomers: 100}))
	pondtest.Run(t, p, func(t *testing.T, d *pondtest.Driver) {
		say(t, e, 1, 5)
		s := d.Connect(pondtest.WebSocket, "/socket")
		s.Join(room, nil, pondtest.Last(50))
		expect(t, s, "4", "5", "RECOVERED")
		at := s.Position(room)
		at.Offset = 2
		if a := acknowledged(t, d.Connect(pondtest.WebSocket, "/socket").Join(room, nil, pondtest.From(at, "somebody"))); a.Recover.Reason != "limit" {
			t.Errorf("three messages missed: %+v", a.Recover)
		}
		at.Offset = 3
		next := d.Connect(pondtest.WebSocket, "/socket")
		next.Join(room, nil, pondtest.From(at, "somebody"))
		expect(t, next, "4", "5", "RECOVERED")
		d.Connect(pondtest.WebSocket, "/socket").Join(room, nil, pondtest.Want("recover"))
		position := pond.Position{Epoch: at.Epoch, Offset: 3}
		want := []pond.Recovery{{Last: 50}, {Position: pond.Position{Epoch: at.Epoch, Offset: 2}, UserID: "somebody"}, {Position: position, UserID: "somebody"}}
		if !slices.Equal(seen, want) {
			t.Errorf("the handler saw %+v, want %+v", seen, want)
		}
	})
}

func TestX9ExceptedUsersAreLeftOut(t *testing.T) {
	onBoth(t, pond.History{}, func(t *testing.T, d *pondtest.Driver, e *pond.Endpoint, tr pondtest.Transport) {
		s := d.Connect(tr, "/socket")
		s.Join(room, nil, pondtest.Want("recover"))
		say(t, e, 1, 1)
		s.Drain()
		at, former := s.Position(room), s.ID()
		ch, _ := e.Channel(room)
		if err := ch.Except(former, "another").Broadcast("said", map[string]int{"n": 2}); err != nil {
			t.Fatal(err)
		}
		say(t, e, 3, 3)
		s.Reset()
		with := d.Connect(tr, "/socket")
		with.Join(room, nil, pondtest.From(at, former))
		expect(t, with, "3", "RECOVERED")
		without := d.Connect(tr, "/socket")
		without.Join(room, nil, pondtest.From(at, ""))
		expect(t, without, "2", "3", "RECOVERED")

		// RECOVERED comes also if everything is hidden.
		at.Offset = 1
		if err := ch.Except(former).Broadcast("said", map[string]int{"n": 4}); err != nil {
			t.Fatal(err)
		}
		at.Offset = 3
		hidden := d.Connect(tr, "/socket")
		hidden.Join(room, nil, pondtest.From(at, former))
		expect(t, hidden, "RECOVERED")
		if got := hidden.Position(room).Offset; got != 4 {
			t.Errorf("the position is %d, want 4", got)
		}
	})
}

func TestX10X11LargeReplayOfABusyChannel(t *testing.T) {
	const kept = 2000
	h := pond.History{Messages: 10 * kept, Bytes: 64 << 20}
	onBoth(t, h, func(t *testing.T, d *pondtest.Driver, e *pond.Endpoint, tr pondtest.Transport) {
		say(t, e, 1, 1)
		probe := d.Connect(tr, "/socket")
		probe.Join(room, nil, pondtest.From(pondtest.Position{Epoch: "x"}, ""))
		at := pondtest.Position{Epoch: probe.Position(room).Epoch, Offset: 1}
		probe.Close()
		text := strings.Repeat("x", 1000) // 2 MB in all, and an outbox has 64 KiB
		publish := func(n int) {
			if err := e.Publish(t.Context(), room, "said", map[string]any{"n": n, "text": text}); err != nil {
				t.Fatal(err)
			}
		}
		for n := 2; n <= kept; n++ {
			publish(n)
		}
		s := d.Connect(tr, "/socket")
		s.Stall()
		id := s.SendJoin(room, nil, pondtest.Want("recover"), pondtest.From(at, ""))
		synctest.Wait()
		n := kept
		for range 20 { // the client reads a little, and the channel goes on
			n++
			publish(n)
			s.Resume()
			synctest.Wait()
			s.Stall()
		}
		s.Resume()
		messages := s.Drain()
		if a := acknowledged(t, messages[0]); messages[0].RequestID != id || !*a.Recover.Recovered {
			t.Fatalf("acknowledged with %v", messages[0])
		}
		want := append([]string{"ACKNOWLEDGE"}, append(append(numbers(2, kept), "RECOVERED"), numbers(kept+1, n)...)...)
		if got := events(t, messages); !slices.Equal(got, want) {
			t.Fatalf("received %d messages, want %d: %s; ended: %v", len(got), len(want), short(got), s.Ended())
		}
		publish(n + 1)
		expect(t, s, fmt.Sprint(n+1))
	}, pond.WithOutboxSize(64<<10))
}

func TestX9UnnumberedFramesKeepTheirPlace(t *testing.T) {
	h := pond.History{Messages: 10_000, Bytes: 64 << 20}
	onBoth(t, h, func(t *testing.T, d *pondtest.Driver, e *pond.Endpoint, tr pondtest.Transport) {
		probe := d.Connect(tr, "/socket")
		probe.Join(room, nil, pondtest.Want("recover"))
		at := probe.Position(room)
		say(t, e, 1, 1000)
		s := d.Connect(tr, "/socket")
		s.Stall()
		s.SendJoin(room, nil, pondtest.From(at, ""))
		synctest.Wait()
		ch, _ := e.Channel(room)
		tell := func() {
			if err := ch.To(s.ID()).Broadcast("told", nil); err != nil {
				t.Fatal(err)
			}
		}
		tell()
		say(t, e, 1001, 1001)
		tell()
		say(t, e, 1002, 1002)
		if err := ch.Track(s.ID(), struct{}{}); err != nil {
			t.Fatal(err)
		}
		say(t, e, 1003, 1003)
		s.Resume()
		want := append(append([]string{"ACKNOWLEDGE"}, numbers(1, 1000)...),
			"RECOVERED", "told", "1001", "told", "1002", "JOIN", "1003")
		expect(t, s, want...)
	}, pond.WithOutboxSize(64<<10))
}

func TestX12Gap(t *testing.T) {
	text := strings.Repeat("x", 1000)
	h := pond.History{Messages: 500, Bytes: 64 << 20}
	onBoth(t, h, func(t *testing.T, d *pondtest.Driver, e *pond.Endpoint, tr pondtest.Transport) {
		probe := d.Connect(tr, "/socket")
		probe.Join(room, nil, pondtest.Want("recover"))
		at := probe.Position(room)
		probe.Leave(room)
		for n := 1; n <= 500; n++ {
			if err := e.Publish(t.Context(), room, "said", map[string]any{"n": n, "text": text}); err != nil {
				t.Fatal(err)
			}
		}
		s := d.Connect(tr, "/socket")
		s.Stall()
		s.SendJoin(room, nil, pondtest.From(at, ""))
		synctest.Wait() // a part is queued
		say(t, e, 501, 1500)
		s.Resume()
		messages := s.Drain()
		got := events(t, messages)
		gap := slices.Index(got, "GAP")
		if gap < 0 {
			t.Fatalf("no GAP in %d messages: %s", len(got), short(got))
		}
		kit.Is(t, messages[gap], "SYSTEM", "GAP", fmt.Sprintf(`{"epoch":"%s","offset":1000,"reason":"expired"}`, at.Epoch))
		before := gap - 1 // the acknowledgement is one of them
		want := append(append([]string{"ACKNOWLEDGE"}, numbers(1, before)...), "GAP", "RECOVERED")
		want = append(want, numbers(1001, 1500)...)
		if !slices.Equal(got, want) {
			t.Fatalf("received %s", short(got))
		}
	})
}

func TestX13JoiningAgain(t *testing.T) {
	onBoth(t, pond.History{}, func(t *testing.T, d *pondtest.Driver, e *pond.Endpoint, tr pondtest.Transport) {
		say(t, e, 1, 2)
		s := d.Connect(tr, "/socket")
		s.Join(room, nil, pondtest.Want("recover"))
		epoch := s.Position(room).Epoch
		say(t, e, 3, 3)
		m := s.Join(room, nil, pondtest.From(pondtest.Position{Epoch: epoch, Offset: 1}, ""))
		if want := fmt.Sprintf(`{"recover":{"epoch":"%s","offset":3}}`, epoch); string(m.Payload) != want {
			t.Errorf("acknowledged with %s, want %s", m.Payload, want)
		}
		expect(t, s, "3")
		official := d.Connect(tr, "/socket")
		official.Join(room, nil)
		kit.Is(t, official.Join(room, nil, pondtest.Want("recover")), "SYSTEM", "ACKNOWLEDGE", "{}")
	})
}

func TestX13aHiddenMessagesMoveThePosition(t *testing.T) {
	p, e, l := newPond(pond.History{})
	l.OnOutgoing("secret", func(ctx *pond.OutgoingContext) error { ctx.Block(); return nil })
	pondtest.Run(t, p, func(t *testing.T, d *pondtest.Driver) {
		s, official := d.Connect(pondtest.WebSocket, "/socket"), d.Connect(pondtest.WebSocket, "/socket")
		s.Join(room, nil, pondtest.Want("recover"))
		official.Join(room, nil)
		epoch := s.Position(room).Epoch
		for n := 1; n <= 63; n++ {
			s.Send(room, "tell-others", nil)
		}
		s.Quiet()
		s.Send(room, "tell-others", nil)
		kit.Is(t, s.Receive(), "SYSTEM", "POSITION", fmt.Sprintf(`{"epoch":"%s","offset":64}`, epoch))
		for n := 65; n < 65+64; n++ {
			if err := e.Publish(t.Context(), room, "secret", nil); err != nil {
				t.Fatal(err)
			}
		}
		kit.Is(t, s.Receive(), "SYSTEM", "POSITION", fmt.Sprintf(`{"epoch":"%s","offset":128}`, epoch))
		s.Quiet()
		for range 2 {
			for range 63 {
				s.Send(room, "tell-others", nil)
			}
			synctest.Wait()
			say(t, e, 1, 1) // a visible one in between
		}
		expect(t, s, "1", "1")
		if messages := official.Drain(); slices.ContainsFunc(messages, func(m pondtest.Message) bool { return m.Event == "POSITION" }) {
			t.Error("a client that did not ask received a POSITION")
		}
	})
}

// A message is also hidden from a client if its outgoing handler fails, in whatever way.
func TestX13aFailedHandlersHideMessages(t *testing.T) {
	for name, handler := range map[string]func(*pond.OutgoingContext) error{
		"error":  func(*pond.OutgoingContext) error { return errors.New("no") },
		"panic":  func(*pond.OutgoingContext) error { panic("no") },
		"Goexit": func(*pond.OutgoingContext) error { runtime.Goexit(); return nil },
	} {
		t.Run(name, func(t *testing.T) {
			p, e, l := newPond(pond.History{})
			l.OnOutgoing("broken", handler)
			pondtest.Run(t, p, func(t *testing.T, d *pondtest.Driver) {
				for _, tr := range pondtest.Transports {
					s := d.Connect(tr, "/socket")
					s.Join(room, nil, pondtest.Want("recover"))
					before := s.Position(room)
					for range 64 {
						if err := e.Publish(t.Context(), room, "broken", nil); err != nil {
							t.Fatal(err)
						}
					}
					kit.Is(t, s.Receive(), "SYSTEM", "POSITION", fmt.Sprintf(`{"epoch":"%s","offset":%d}`, before.Epoch, before.Offset+64))
					say(t, e, 1, 1)
					expect(t, s, "1")
				}
			})
		})
	}
}

func TestX11OutgoingHandlersSeeReplays(t *testing.T) {
	p, e, l := newPond(pond.History{Newcomers: 10})
	l.OnOutgoing("said", func(ctx *pond.OutgoingContext) error {
		var v struct {
			N int `json:"n"`
		}
		if err := ctx.Bind(&v); err != nil {
			return err
		}
		if v.N%2 == 0 {
			ctx.Block()
			return nil
		}
		return ctx.Transform(map[string]int{"n": v.N * 10})
	})
	pondtest.Run(t, p, func(t *testing.T, d *pondtest.Driver) {
		live := d.Connect(pondtest.WebSocket, "/socket")
		live.Join(room, nil)
		say(t, e, 1, 5)
		late := d.Connect(pondtest.SSE, "/socket")
		late.Join(room, nil, pondtest.Last(10))
		a, b := live.Drain(), late.Drain()
		if len(a) != 3 || len(b) != 4 {
			t.Fatalf("live %v, replayed %v", a, b)
		}
		for i := range a {
			if string(a[i].Raw) != string(b[i].Raw) || a[i].Offset != uint64(2*i+1) {
				t.Errorf("live %s, replayed %s", a[i].Raw, b[i].Raw)
			}
		}
	})
}

func TestHistoryAgeHidesFromNewcomers(t *testing.T) {
	onBoth(t, pond.History{Newcomers: 10, Age: time.Minute}, func(t *testing.T, d *pondtest.Driver, e *pond.Endpoint, tr pondtest.Transport) {
		stays := d.Connect(tr, "/socket")
		stays.Join(room, nil)
		say(t, e, 1, 1)
		time.Sleep(40 * time.Second)
		say(t, e, 2, 2)
		time.Sleep(40 * time.Second)
		s := d.Connect(tr, "/socket")
		s.Join(room, nil, pondtest.Last(10))
		expect(t, s, "2", "RECOVERED")
	})
}
