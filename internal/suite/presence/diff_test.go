package presence_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pondsocket/pond"
	"github.com/pondsocket/pond/pondtest"
)

// The payload of the acknowledgement says which extensions are in force.
func TestX2DiffIsAcknowledged(t *testing.T) {
	onBoth(t, func(t *testing.T, d *pondtest.Driver, _ *pond.Endpoint, tr pondtest.Transport) {
		if got := d.Connect(tr, "/socket").Features(); !slices.Equal(got, []string{"diff", "recover"}) {
			t.Errorf("features %v", got)
		}
		for _, tc := range []struct {
			room string
			want []string
			ack  string
		}{
			{room, []string{"diff"}, `{"diff":true}`},
			{room, []string{"diff", "recover"}, `{"diff":true}`},
			{room, nil, `{}`},
			{"/lists/1", []string{"diff"}, `{}`},
			{"/log/1", []string{"diff"}, `{"diff":true}`},
			{"/log/1", []string{"recover"}, `{"recover":{EPOCH,"offset":0}}`},
			{"/log/1", []string{"recover", "diff"}, `{"recover":{EPOCH,"offset":0},"diff":true}`},
		} {
			s := d.Connect(tr, "/socket")
			for range 2 { // the second join changes nothing
				m := s.Join(tc.room, nil, pondtest.Want(tc.want...))
				if got := withoutEpoch(string(m.Payload)); got != tc.ack {
					t.Errorf("%s %v: acknowledged with %s, want %s", tc.room, tc.want, got, tc.ack)
				}
			}
			time.Sleep(time.Second) // the channel is busy
			states := 0
			for _, m := range s.Drain() {
				if m.Event == "PRESENCE_STATE" {
					states++
				}
			}
			if want := strings.Count(tc.ack, "diff"); states != want {
				t.Errorf("%s %v: %d states, want %d", tc.room, tc.want, states, want)
			}
		}
	})
}

func withoutEpoch(s string) string {
	before, rest, found := strings.Cut(s, `"epoch":"`)
	if !found {
		return s
	}
	_, rest, _ = strings.Cut(rest, `"`)
	return before + "EPOCH" + rest
}

// The exact bytes, for a member that is not tracked.
func TestX19StateAndDiffs(t *testing.T) {
	onBoth(t, func(t *testing.T, d *pondtest.Driver, e *pond.Endpoint, tr pondtest.Transport) {
		ann, bob := d.Connect(tr, "/socket"), d.Connect(tr, "/socket")
		ann.Join(room, nil)
		bob.Join(room, nil)
		ch := channel(t, e, room)
		must(t, ch.Track(ann.ID(), map[string]int{"n": 1}))
		s := follow(d, tr, room)
		expect := func(event, payload string) {
			t.Helper()
			time.Sleep(time.Second)
			payload = strings.NewReplacer("ANN", `"id":"`+ann.ID()+`"`, "BOB", `"id":"`+bob.ID()+`"`, "ME", `"id":"`+s.ID()+`"`).Replace(payload)
			got := s.Drain()
			if len(got) != 1 || got[0].Action != "SYSTEM" || got[0].Event != event || string(got[0].Payload) != payload || got[0].RequestID == "" {
				t.Fatalf("received %v, want %s %s", got, event, payload)
			}
		}
		expect("PRESENCE_STATE", `{"users":[{ANN,"presence":{"n":1}}],"total":1,"more":false}`)
		must(t, ch.Track(bob.ID(), map[string]int{"n": 2}))
		expect("PRESENCE_DIFF", `{"joins":[{BOB,"presence":{"n":2}}],"total":2}`)
		must(t, ch.Update(ann.ID(), map[string]int{"m": 3}))
		expect("PRESENCE_DIFF", `{"updates":[{ANN,"presence":{"m":3}}],"total":2}`)
		must(t, ch.Untrack(ann.ID()))
		expect("PRESENCE_DIFF", `{"leaves":[{ANN}],"total":1}`)
		must(t, ch.Track(s.ID(), struct{}{})) // the client itself
		expect("PRESENCE_DIFF", `{"joins":[{ME,"presence":{}}],"total":2}`)
		bob.Reset()
		expect("PRESENCE_DIFF", `{"leaves":[{BOB}],"total":1}`)
	})
}

// In the same channel, members that asked for differences receive them, and other members
// receive lists.
func TestX19ListsForTheOthers(t *testing.T) {
	onBoth(t, func(t *testing.T, d *pondtest.Driver, e *pond.Endpoint, tr pondtest.Transport) {
		for _, room := range []string{"/chat/2", "/log/2"} {
			old, hidden := d.Connect(tr, "/socket"), d.Connect(tr, "/socket")
			old.Join(room, nil)
			hidden.Join(room, nil)
			s := follow(d, tr, room)
			ch := channel(t, e, room)
			for i, id := range []string{old.ID(), s.ID()} {
				must(t, ch.Track(id, map[string]int{"n": i}))
				synctest.Wait() // lists are encoded when they are written
			}
			must(t, ch.Update(s.ID(), map[string]int{"n": 7}))
			synctest.Wait()
			must(t, ch.Untrack(s.ID()))
			var got []string
			for _, m := range old.Drain() {
				got = append(got, m.Action+" "+m.Event+" "+string(m.Payload))
			}
			if want := []string{
				`PRESENCE JOIN {"presence":[{"n":0}],"changed":{"n":0}}`,
				`PRESENCE JOIN {"presence":[{"n":0},{"n":1}],"changed":{"n":1}}`,
				`PRESENCE UPDATE {"presence":[{"n":0},{"n":7}],"changed":{"n":7}}`,
				`PRESENCE LEAVE {"presence":[{"n":0}],"changed":{"n":7}}`,
			}; !slices.Equal(got, want) {
				t.Errorf("%s: received %q, want %q", room, got, want)
			}
			time.Sleep(time.Second)
			var l list
			if others := l.read(t, s); len(others) > 0 {
				t.Errorf("received %v", others)
			}
			l.equal(t, ch)
			if m := hidden.Drain(); len(m) > 0 {
				t.Errorf("a member that is not tracked received %v", m)
			}
		}
	})
}

// The state follows a replay, and no difference comes before it.
func TestX19StateFollowsTheReplay(t *testing.T) {
	onBoth(t, func(t *testing.T, d *pondtest.Driver, e *pond.Endpoint, tr pondtest.Transport) {
		const room = "/log/1"
		s := d.Connect(tr, "/socket")
		s.Join(room, nil, pondtest.Want("recover", "diff"))
		at := s.Position(room)
		s.Reset()
		for n := range 200 {
			must(t, e.Publish(t.Context(), room, "said", map[string]int{"n": n}))
		}
		other := d.Connect(tr, "/socket")
		other.Join(room, nil)
		ch := channel(t, e, room)
		must(t, ch.Track(other.ID(), struct{}{}))
		s = d.Connect(tr, "/socket")
		s.Join(room, nil, pondtest.Want("recover", "diff"), pondtest.From(at, ""))
		must(t, ch.Update(other.ID(), map[string]int{"n": 1}))
		time.Sleep(time.Second)
		var events []string
		for _, m := range s.Drain() {
			if m.Event != "said" {
				events = append(events, m.Event)
			} else if m.Offset == 200 {
				events = append(events, "200")
			}
		}
		if !slices.Equal(events, []string{"200", "RECOVERED", "PRESENCE_STATE"}) && !slices.Equal(events, []string{"200", "RECOVERED", "PRESENCE_STATE", "PRESENCE_DIFF"}) {
			t.Errorf("received %v", events)
		}
	})
}

// A large state comes in pages, at the pace of the client, and changes in the
// meantime follow it.
func TestX19Pages(t *testing.T) {
	for _, tc := range []struct {
		users, size int
	}{{1, 10}, {501, 10}, {30, 5000}} {
		onBoth(t, func(t *testing.T, d *pondtest.Driver, e *pond.Endpoint, tr pondtest.Transport) {
			var ch *pond.Channel
			var sessions []*pondtest.Session
			for i := range tc.users {
				s := d.Connect(tr, "/socket")
				s.Join(room, nil, pondtest.Want("diff"))
				sessions = append(sessions, s)
				if i == 0 {
					ch = channel(t, e, room)
					time.Sleep(time.Second)
				}
			}
			for i, s := range sessions {
				must(t, ch.Track(s.ID(), map[string]any{"n": i, "x": strings.Repeat("x", tc.size)}))
			}
			time.Sleep(time.Second)
			s := d.Connect(tr, "/socket")
			s.Stall()
			s.SendJoin(room, nil, pondtest.Want("diff"))
			synctest.Wait()
			must(t, ch.Untrack(sessions[0].ID()))
			time.Sleep(time.Second)
			must(t, ch.Track(s.ID(), struct{}{}))
			time.Sleep(time.Second)
			s.Resume()
			synctest.Wait()
			var l list
			l.read(t, s)
			l.equal(t, ch)
			if pages := max(1, (tc.users+499)/500); l.frames < pages+2 {
				t.Errorf("%d users: %d frames", tc.users, l.frames)
			}
			var first list
			first.read(t, sessions[0])
			first.equal(t, ch)
		}, pond.WithOutboxSize(256<<10))
	}
}

// In a quiet channel a change is sent at once, in a busy one changes are merged for at
// least 50 ms.
func TestX20Merging(t *testing.T) {
	onBoth(t, func(t *testing.T, d *pondtest.Driver, e *pond.Endpoint, tr pondtest.Transport) {
		s, other := follow(d, tr, room), d.Connect(tr, "/socket")
		other.Join(room, nil)
		ch := channel(t, e, room)
		time.Sleep(time.Second)
		s.Drain()
		diffs := func() (n int) {
			synctest.Wait()
			for _, m := range s.Drain() {
				if m.Event == "PRESENCE_DIFF" {
					n++
				}
			}
			return n
		}
		must(t, ch.Track(other.ID(), struct{}{}))
		if n := diffs(); n != 1 {
			t.Fatalf("%d differences at once, want 1", n)
		}
		for i := range 40 { // for 40 ms
			must(t, ch.Update(other.ID(), map[string]int{"n": i}))
			if n := diffs(); n != 0 {
				t.Fatalf("a difference after %d ms", i)
			}
			time.Sleep(time.Millisecond)
		}
		time.Sleep(20 * time.Millisecond)
		if n := diffs(); n != 1 {
			t.Fatalf("%d differences after 60 ms, want 1", n)
		}
		time.Sleep(time.Second)
		if n := diffs(); n != 0 {
			t.Fatalf("%d differences without a change", n)
		}
	})
}

// If a user leaves and joins between two differences, the difference has an update, or
// nothing if the presence is the same.
func TestX19ComesBack(t *testing.T) {
	onBoth(t, func(t *testing.T, d *pondtest.Driver, e *pond.Endpoint, tr pondtest.Transport) {
		other := d.Connect(tr, "/socket")
		other.Join(room, nil)
		ch := channel(t, e, room)
		must(t, ch.Track(other.ID(), map[string]int{"n": 1}))
		s := follow(d, tr, room)
		var l list
		busy := func() { // the channel, for 50 ms
			time.Sleep(time.Second)
			must(t, ch.Upsert(s.ID(), map[string]any{"time": time.Now()}))
			l.read(t, s)
			l.frames = 0
		}
		busy()
		must(t, ch.Untrack(other.ID()))
		must(t, ch.Track(other.ID(), map[string]int{"n": 1}))
		time.Sleep(time.Second)
		if l.read(t, s); l.frames != 0 {
			t.Errorf("%d messages about a user that left and joined unchanged", l.frames)
		}
		busy()
		other.Leave(room)
		other.Join(room, nil)
		must(t, ch.Track(other.ID(), map[string]int{"n": 2}))
		time.Sleep(time.Second)
		var m []pondtest.Message
		for _, got := range s.Drain() {
			if _, err := l.take(got); err != nil {
				t.Fatal(err)
			}
			m = append(m, got)
		}
		if want := `{"updates":[{"id":"` + other.ID() + `","presence":{"n":2}}],"total":2}`; len(m) != 1 || string(m[0].Payload) != want {
			t.Errorf("received %v, want %s", m, want)
		}
		busy()
		must(t, ch.Untrack(s.ID())) // joins and leaves
		must(t, ch.Track(s.ID(), map[string]int{"n": 3}))
		must(t, ch.Untrack(s.ID()))
		time.Sleep(time.Second)
		l.read(t, s)
		l.equal(t, ch)
	})
}

// Each receiver gets each entry once, whether in its state or in a difference.
func TestX20BytesOfAStorm(t *testing.T) {
	const clients = 100
	p, e := newPond()
	pondtest.Run(t, p, func(t *testing.T, d *pondtest.Driver) {
		sessions := make([]*pondtest.Session, clients)
		for i := range sessions {
			sessions[i] = d.Connect(pondtest.WebSocket, "/socket")
			sessions[i].SendJoin(room, nil, pondtest.Want("diff"))
			synctest.Wait()
			must(t, channel(t, e, room).Track(sessions[i].ID(), map[string]string{"name": fmt.Sprintf("user %03d", i)}))
			time.Sleep(time.Millisecond)
		}
		time.Sleep(time.Second)
		entry := len(`{"id":"","presence":{"name":"user 000"}},`) + len(sessions[0].ID())
		frames := 0
		for _, s := range sessions {
			var l list
			l.read(t, s)
			l.equal(t, channel(t, e, room))
			if limit := clients*entry + 50*l.frames; l.bytes > limit {
				t.Errorf("%d bytes, want %d at most", l.bytes, limit)
			}
			frames = max(frames, l.frames)
		}
		if frames > 10 { // one per 50 ms
			t.Errorf("a client received %d messages", frames)
		}
	})
}

// In a channel of many, one update costs each member less than 300 bytes.
func TestX20BytesOfAnUpdate(t *testing.T) {
	const clients = 50
	p, e := newPond()
	pondtest.Run(t, p, func(t *testing.T, d *pondtest.Driver) {
		sessions := make([]*pondtest.Session, clients)
		for i := range sessions {
			sessions[i] = follow(d, pondtest.WebSocket, room)
			must(t, channel(t, e, room).Track(sessions[i].ID(), map[string]string{"name": "somebody", "status": "online"}))
		}
		time.Sleep(time.Second)
		for _, s := range sessions {
			s.Drain()
		}
		must(t, channel(t, e, room).Update(sessions[7].ID(), map[string]string{"name": "somebody", "status": "away"}))
		time.Sleep(time.Second)
		for _, s := range sessions {
			if got := s.Drain(); len(got) != 1 || len(got[0].Raw) >= 300 {
				t.Fatalf("received %v", got)
			}
		}
	})
}

// Slow pages are no reason to disconnect a client that reads, however busy the
// channel is.
func TestX19SlowLinkIsNotSlowReading(t *testing.T) {
	onBoth(t, func(t *testing.T, d *pondtest.Driver, e *pond.Endpoint, tr pondtest.Transport) {
		large := func(n int) map[string]any { return map[string]any{"n": n, "x": strings.Repeat("x", 15<<10)} }
		first := follow(d, tr, room)
		ch := channel(t, e, room)
		must(t, ch.Track(first.ID(), large(0)))
		for n := range 20 {
			s := follow(d, tr, room)
			must(t, ch.Track(s.ID(), large(n)))
		}
		time.Sleep(time.Second)
		s := d.Connect(tr, "/socket")
		s.Stall()
		s.SendJoin(room, nil, pondtest.Want("diff"))
		for n := range 10 {
			must(t, ch.Update(first.ID(), large(100+n)))
			time.Sleep(60 * time.Millisecond)
		}
		s.Resume()
		time.Sleep(time.Second)
		var l list
		l.read(t, s)
		l.equal(t, ch)
	}, pond.WithOutboxSize(64<<10))
}

// A follower that does not read is disconnected as others are, and costs the others
// nothing.
func TestX19SlowFollower(t *testing.T) {
	onBoth(t, func(t *testing.T, d *pondtest.Driver, e *pond.Endpoint, tr pondtest.Transport) {
		s := follow(d, tr, room)
		ch := channel(t, e, room)
		must(t, ch.Track(s.ID(), map[string]string{"x": strings.Repeat("x", 15<<10)}))
		for range 10 {
			other := follow(d, tr, room)
			must(t, ch.Track(other.ID(), map[string]string{"x": strings.Repeat("x", 15<<10)}))
		}
		slow := d.Connect(tr, "/socket")
		slow.Stall()
		slow.SendJoin(room, nil, pondtest.Want("diff"))
		for i := range 200 {
			must(t, ch.Update(s.ID(), map[string]any{"n": i, "x": strings.Repeat("x", 15<<10)}))
			time.Sleep(100 * time.Millisecond)
		}
		if _, member := ch.User(slow.ID()); member {
			t.Error("a client that does not read is a member after 3 MB")
		}
		var l list
		l.read(t, s)
		l.equal(t, ch)
		slow.Reset()
	}, pond.WithOutboxSize(64<<10))
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
