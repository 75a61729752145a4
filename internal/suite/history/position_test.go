package history_test

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pondsocket/pond"
	"github.com/pondsocket/pond/internal/suite/kit"
	"github.com/pondsocket/pond/pondtest"
)

func TestX3EpochLastsAsLongAsTheLog(t *testing.T) {
	onBoth(t, pond.History{Age: time.Hour}, func(t *testing.T, d *pondtest.Driver, e *pond.Endpoint, tr pondtest.Transport) {
		join := func() pondtest.Position {
			s := d.Connect(tr, "/socket")
			a := acknowledged(t, s.Join(room, nil, pondtest.Want("recover")))
			s.Close()
			return a.Recover.Position
		}
		first := join()
		if !regexp.MustCompile(`^[A-Za-z0-9_-]{1,22}$`).MatchString(first.Epoch) || first.Offset != 0 {
			t.Fatalf("the first position is %+v", first)
		}
		time.Sleep(time.Hour - time.Second)
		if again := join(); again != first {
			t.Fatalf("just before the history expires: %+v, want %+v", again, first)
		}
		time.Sleep(time.Hour - time.Second) // since that member left
		say(t, e, 1, 1)
		time.Sleep(time.Hour - time.Second) // since the message
		if again := join(); again.Epoch != first.Epoch || again.Offset != 1 {
			t.Fatalf("after a message: %+v", again)
		}
		time.Sleep(time.Hour)
		if later := join(); later.Epoch == first.Epoch || later.Offset != 0 {
			t.Fatalf("after the history expired: %+v, the epoch before was %s", later, first.Epoch)
		}
	})
}

func TestX3CloseEndsTheEpoch(t *testing.T) {
	onBoth(t, pond.History{}, func(t *testing.T, d *pondtest.Driver, e *pond.Endpoint, tr pondtest.Transport) {
		s := d.Connect(tr, "/socket")
		before := acknowledged(t, s.Join(room, nil, pondtest.Want("recover"))).Recover.Epoch
		say(t, e, 1, 1)
		ch, _ := e.Channel(room)
		ch.Close("")
		expect(t, s, "1", "destroyed")
		if after := acknowledged(t, s.Join(room, nil, pondtest.Want("recover"))).Recover; after.Epoch == before || after.Offset != 0 {
			t.Fatalf("after Close: %+v, the epoch before was %s", after, before)
		}
	})
}

func TestX3DeclinedJoinsLeaveNothing(t *testing.T) {
	p := pond.New(pond.WithLogger(kit.Silent))
	e := p.Endpoint("/socket", kit.Accept)
	e.Lobby("/log/:room", func(ctx *pond.JoinContext) error { return ctx.Decline(403, "no") }, pond.WithHistory(pond.History{}))
	pondtest.Run(t, p, func(t *testing.T, d *pondtest.Driver) {
		s := d.Connect(pondtest.WebSocket, "/socket")
		s.Join(room, nil)
		for range e.History(t.Context(), room, pond.After(pond.Position{Epoch: "x"})) {
			return // an error: channel not found
		}
		t.Error("a declined join left a channel")
	})
}

func TestX4WhatIsNumbered(t *testing.T) {
	onBoth(t, pond.History{}, func(t *testing.T, d *pondtest.Driver, e *pond.Endpoint, tr pondtest.Transport) {
		ann, bob := d.Connect(tr, "/socket"), d.Connect(tr, "/socket")
		ann.Join(room, nil)
		bob.Join(room, nil)
		ann.Send(room, "say", nil)
		ann.Send(room, "tell-others", nil)
		ann.Send(room, "tell/"+bob.ID(), nil)
		ann.Send(room, "ask", nil)
		ann.Send(room, "track", nil)
		synctest.Wait() // the order of two clients' events
		bob.Send(room, "track", nil)
		synctest.Wait()
		ann.Send(room, "say", nil)
		offsets := func(s *pondtest.Session) (list []uint64) {
			for _, m := range s.Drain() {
				list = append(list, m.Offset)
			}
			return list
		}
		// said 1, answer, JOIN twice, said 3
		if got := offsets(ann); !slices.Equal(got, []uint64{1, 0, 0, 0, 3}) {
			t.Errorf("the sender received offsets %v", got)
		}
		// said 1, said 2 (a hole for the sender), said to bob, JOIN, said 3
		if got := offsets(bob); !slices.Equal(got, []uint64{1, 2, 0, 0, 3}) {
			t.Errorf("the other received offsets %v", got)
		}
		var kept []uint64
		for entry, err := range e.History(t.Context(), room, pond.Last(10)) {
			if err != nil {
				t.Fatal(err)
			}
			kept = append(kept, entry.Position.Offset)
		}
		if !slices.Equal(kept, []uint64{1, 2, 3}) {
			t.Errorf("kept are %v", kept)
		}
	})
}

func TestX5NumberedFrame(t *testing.T) {
	onBoth(t, pond.History{}, func(t *testing.T, d *pondtest.Driver, _ *pond.Endpoint, tr pondtest.Transport) {
		s := d.Connect(tr, "/socket")
		s.Join(room, nil) // asks for nothing, and gets the number nevertheless
		s.SendID(room, "say", "m1", nil)
		want := `{"action":"BROADCAST","event":"said","channelName":"/log/1","requestId":"m1","payload":{},"offset":1}`
		if got := string(s.Receive().Raw); got != want {
			t.Errorf("received %s, want %s", got, want)
		}
	})
}

func TestX0NothingForThoseWhoAskForNothing(t *testing.T) {
	onBoth(t, pond.History{Newcomers: 50}, func(t *testing.T, d *pondtest.Driver, e *pond.Endpoint, tr pondtest.Transport) {
		say(t, e, 1, 5)
		s := d.Connect(tr, "/socket")
		kit.Is(t, s.Join(room, nil), "SYSTEM", "ACKNOWLEDGE", "{}")
		for range 100 {
			s.Send(room, "tell-others", nil) // hidden from itself
		}
		s.Quiet()
		// Extensions of lobbies without history are not in force.
		p, _, _ := kit.NewPond()
		_ = p
	})
	kit.OnBothPlain(t, func(t *testing.T, d *pondtest.Driver, tr pondtest.Transport) {
		s := d.Connect(tr, "/socket")
		kit.Is(t, s.Join("/chat/1", nil, pondtest.Want("recover"), pondtest.Last(3)), "SYSTEM", "ACKNOWLEDGE", "{}")
		s.Send("/chat/1", "say", nil)
		if m := s.Receive(); m.Offset != 0 {
			t.Errorf("a lobby without history numbered %v", m)
		}
	})
}

// All members receive numbered messages in the order of their offsets, and equal
// messages at equal offsets, also if many goroutines send at the same time. A member that
// was left out sees a hole, which is no loss: nothing announces it.
func TestX6OffsetOrderIsDeliveryOrder(t *testing.T) {
	onBoth(t, pond.History{}, func(t *testing.T, d *pondtest.Driver, e *pond.Endpoint, tr pondtest.Transport) {
		const members, each = 5, 20
		var all []*pondtest.Session
		for range members {
			s := d.Connect(tr, "/socket")
			s.Join(room, nil, pondtest.Want("recover"))
			all = append(all, s)
		}
		ch, _ := e.Channel(room)
		var sending sync.WaitGroup
		for i, s := range all {
			to, id := ch.Except(), s.ID()
			sending.Go(func() {
				for n := range each {
					audience := to
					if n%4 == 3 {
						audience = ch.Except(id) // one member is left out
					}
					if err := audience.Broadcast("said", map[string]int{"n": i*each + n}); err != nil {
						t.Error(err)
					}
				}
			})
		}
		sending.Wait()
		synctest.Wait()
		at := map[uint64]string{} // by offset
		for i, s := range all {
			received, last := 0, uint64(0)
			for _, m := range s.Drain() {
				if m.Offset <= last {
					t.Fatalf("member %d received offset %d after %d", i, m.Offset, last)
				}
				last = m.Offset
				received++
				if text, ok := at[m.Offset]; ok && text != string(m.Payload) {
					t.Fatalf("offset %d is %s for one member and %s for another", m.Offset, text, m.Payload)
				}
				at[m.Offset] = string(m.Payload)
			}
			if want := members*each - each/4; received != want {
				t.Errorf("member %d received %d messages, want %d", i, received, want)
			}
		}
		if len(at) != members*each {
			t.Errorf("%d offsets, want %d", len(at), members*each)
		}
	})
}

// The zero values of a start and of a position stand for the whole history, and entries
// have a JSON form that a client in JavaScript can use.
func TestHistoryFromTheBeginning(t *testing.T) {
	p := pond.New(pond.WithLogger(kit.Silent))
	e := p.Endpoint("/socket", kit.Accept)
	e.Lobby("/log/:room", kit.Admit, pond.WithHistory(pond.History{Messages: 3}))
	for i := range 5 {
		if err := e.Publish(t.Context(), "/log/1", "said", map[string]int{"n": i}); err != nil {
			t.Fatal(err)
		}
	}
	for name, test := range map[string]struct {
		from pond.HistoryStart
		want int
	}{
		"zero start":    {pond.HistoryStart{}, 3},
		"zero position": {pond.After(pond.Position{}), 3},
		"last 2":        {pond.Last(2), 2},
		"last 0":        {pond.Last(0), 0},
		"last -1":       {pond.Last(-1), 0},
	} {
		var entries []pond.HistoryEntry
		for entry, err := range e.History(t.Context(), "/log/1", test.from) {
			if err != nil {
				t.Fatal(name, err)
			}
			entries = append(entries, entry)
		}
		if len(entries) != test.want {
			t.Errorf("%s: %d messages, want %d", name, len(entries), test.want)
			continue
		}
		for _, entry := range entries {
			at, _ := json.Marshal(entry.Time)
			want := fmt.Sprintf(`{"position":{"epoch":%q,"offset":%d},"time":%s,"event":"said","requestId":%q,"payload":{"n":%d}}`,
				entry.Position.Epoch, entry.Position.Offset, at, entry.RequestID, entry.Position.Offset-1)
			if got := kit.JSON(t, entry); got != want {
				t.Errorf("%s is not %s", got, want)
			}
		}
	}
	for range e.History(t.Context(), "/log/none", pond.HistoryStart{}) {
		t.Error("a channel that does not exist has a history")
	}
	if err := p.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
}
