package server_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pondsocket/pond"
	"github.com/pondsocket/pond/internal/suite/kit"
	"github.com/pondsocket/pond/pondtest"
)

// A tick is a value that makes earlier ones with the same name obsolete.
type tick struct {
	Name string `json:"name"`
	N    int    `json:"n"`
	Fill string `json:"fill,omitempty"`
}

// byName is the key of a tick.
func byName(_ string, payload json.RawMessage) string {
	var t tick
	_ = json.Unmarshal(payload, &t)
	return t.Name
}

// A board is a server with the lobbies /latest/:id, with KeepLatest, and /all/:id.
type board struct {
	*pond.Pond
	endpoint *pond.Endpoint
	latest   *pond.Lobby
	dropped  atomic.Int64
	reasons  chan pond.LeaveReason // of all who left
	next     int
}

func newBoard(policy pond.SlowClientPolicy, opts ...pond.EndpointOption) *board {
	b := &board{reasons: make(chan pond.LeaveReason, 10_000)}
	b.Pond = pond.New(pond.WithLogger(kit.Silent), pond.WithObserver(&pond.Observer{
		Dropped: func(_ *pond.Channel, _ pond.User, n int) { b.dropped.Add(int64(n)) },
		Left:    func(_ *pond.Channel, _ pond.User, reason pond.LeaveReason) { b.reasons <- reason },
	}))
	b.endpoint = b.Endpoint("/socket", kit.Accept, opts...)
	b.latest = b.endpoint.Lobby("/latest/:id", kit.Admit, pond.WithSlowClients(policy))
	kit.Handlers(b.latest)
	kit.Handlers(b.endpoint.Lobby("/all/:id", kit.Admit))
	return b
}

// tick sends the next value of a name, with so many more bytes.
func (b *board) tick(t *testing.T, channel, name string, fill int) int {
	t.Helper()
	b.next++
	ch, ok := b.endpoint.Channel(channel)
	if !ok {
		t.Fatalf("%s has no members", channel)
	}
	if err := ch.Broadcast("tick", tick{name, b.next, strings.Repeat("x", fill)}); err != nil {
		t.Fatal(err)
	}
	return b.next
}

// left returns the reasons for which members left.
func (b *board) left() (reasons []pond.LeaveReason) {
	for len(b.reasons) > 0 {
		reasons = append(reasons, <-b.reasons)
	}
	return reasons
}

// ticksOf returns the numbers of the ticks among messages, by name, and checks that
// each is newer than the one before.
func ticksOf(t *testing.T, messages []pondtest.Message) map[string][]int {
	t.Helper()
	ticks := map[string][]int{}
	last := 0
	for _, m := range messages {
		if m.Event != "tick" {
			continue
		}
		var v tick
		m.Bind(t, &v)
		if v.N <= last {
			t.Fatalf("tick %d came after %d", v.N, last)
		}
		last = v.N
		ticks[v.Name] = append(ticks[v.Name], v.N)
	}
	return ticks
}

// onBoards runs a test over each transport, each time with a new board.
func onBoards(t *testing.T, server func() *board, test func(t *testing.T, d *pondtest.Driver, tr pondtest.Transport, b *board)) {
	t.Helper()
	for _, tr := range pondtest.Transports {
		t.Run(string(tr), func(t *testing.T) {
			b := server()
			pondtest.Run(t, b.Pond, func(t *testing.T, d *pondtest.Driver) { test(t, d, tr, b) })
		})
	}
}

// Some of many clients stop reading for a minute and then see the newest values at once.
// Nobody is closed, and the others get everything.
func TestKeepLatestForAMinute(t *testing.T) {
	const members, stalled, rounds, names = 100, 10, 12, 5
	for _, size := range []int{10, 4000} { // bytes; the network takes all of the small messages
		t.Run(fmt.Sprintf("%d bytes", size), func(t *testing.T) {
			b := newBoard(pond.KeepLatest(byName))
			pondtest.Run(t, b.Pond, func(t *testing.T, d *pondtest.Driver) {
				sessions := make([]*pondtest.Session, members)
				for i := range sessions {
					sessions[i] = d.Connect(pondtest.Transports[i%2], "/socket")
					sessions[i].Join("/latest/1", nil)
				}
				for _, s := range sessions[:stalled] {
					s.Stall()
				}
				newest := map[string]int{}
				for range rounds {
					for i := range names {
						name := strconv.Itoa(i)
						newest[name] = b.tick(t, "/latest/1", name, size)
					}
					time.Sleep(time.Minute / rounds) // of virtual time
					for i, s := range sessions[stalled:] {
						if got := len(s.Drain()); got != names {
							t.Fatalf("client %d got %d messages of %d", i, got, names)
						}
					}
				}
				for i, s := range sessions[:stalled] {
					s.Resume()
					synctest.Wait()
					ticks := ticksOf(t, s.Drain())
					for name, want := range newest {
						if got := ticks[name]; len(got) == 0 || got[len(got)-1] != want {
							t.Errorf("client %d: %v of %s, and the newest is %d", i, got, name, want)
						}
					}
				}
				if left := b.left(); len(left) > 0 {
					t.Errorf("members left: %v", left)
				}
			})
			if dropped := b.dropped.Load(); (dropped > 0) != (size == 4000) {
				t.Errorf("%d messages were dropped", dropped)
			}
		})
	}
}

// When a client reads again, it gets only the newest of what was queued for it, however
// little that is, and everything that is not a broadcast. Each message is either
// received or reported as dropped.
func TestKeepLatestOrder(t *testing.T) {
	server := func() *board {
		b := newBoard(pond.KeepLatest(func(event string, payload json.RawMessage) string {
			if event == "alarm" {
				return ""
			}
			return byName(event, payload)
		}))
		b.latest.OnOutgoing("filtered", func(*pond.OutgoingContext) error { return nil })
		return b
	}
	onBoards(t, server, func(t *testing.T, d *pondtest.Driver, tr pondtest.Transport, b *board) {
		s, other := d.Connect(tr, "/socket"), d.Connect(tr, "/socket")
		s.Join("/latest/1", nil)
		other.Join("/latest/1", nil)
		ch, _ := b.endpoint.Channel("/latest/1")
		s.Stall()
		if err := ch.To(s.ID()).Broadcast("fill", tick{Name: "fill", Fill: strings.Repeat("x", 100<<10)}); err != nil {
			t.Fatal(err) // more than the network takes
		}
		time.Sleep(time.Second)
		send := func(event, name string) {
			t.Helper()
			if err := ch.Broadcast(event, tick{Name: name}); err != nil {
				t.Fatal(err)
			}
		}
		for range 3 {
			send("tick", "a")
			send("alarm", "a")
			send("filtered", "b")
			s.Send("/latest/1", "ask", tick{Name: "a"})
			synctest.Wait()
			if err := ch.To(s.ID()).Broadcast("tick", tick{Name: "named"}); err != nil {
				t.Fatal(err)
			}
			if err := ch.Upsert(s.ID(), tick{Name: "a"}); err != nil {
				t.Fatal(err)
			}
		}
		send("other", "a") // the same key
		s.Resume()
		synctest.Wait()
		var got []string
		for _, m := range s.Drain() {
			var v tick
			m.Bind(t, &v)
			got = append(got, strings.TrimSpace(m.Event+" "+v.Name))
		}
		want := []string{
			"fill fill", "alarm a", "answer a", "JOIN", "alarm a", "answer a", "UPDATE", "alarm a", "filtered b", "answer a",
			"tick named", "UPDATE", "other a",
		}
		if !slices.Equal(got, want) {
			t.Errorf("got  %q\nwant %q", got, want)
		}
		// Three ticks of a, two of the filtered and of the named ones.
		if dropped := b.dropped.Load(); dropped != 3+2+2 {
			t.Errorf("%d messages were dropped", dropped)
		}
		if got := len(other.Drain()); got != 10 {
			t.Errorf("the other member got %d messages", got)
		}
	})
}

// A client that lags for less than a second, and by less than 64 KiB, gets everything.
func TestKeepLatestKeepsWhatAClientCanTake(t *testing.T) {
	onBoards(t, func() *board { return newBoard(pond.KeepLatest(nil)) }, func(t *testing.T, d *pondtest.Driver, tr pondtest.Transport, b *board) {
		s := d.Connect(tr, "/socket")
		s.Join("/latest/1", nil)
		s.Stall()
		const sent = 200
		b.tick(t, "/latest/1", "a", 100<<10) // more than the network takes
		synctest.Wait()                      // until a writer has taken it
		for range sent - 1 {
			b.tick(t, "/latest/1", "a", 0)
		}
		time.Sleep(999 * time.Millisecond)
		s.Resume()
		synctest.Wait()
		if got := len(ticksOf(t, s.Drain())["a"]); got != sent || b.dropped.Load() != 0 {
			t.Errorf("got %d messages of %d, and %d were dropped", got, sent, b.dropped.Load())
		}
	})
}

// What is queued for a client that stopped reading is bounded by the newest messages,
// however much is sent, even with a tiny outbox.
func TestKeepLatestIsBounded(t *testing.T) {
	const sent, names = 20_000 / kit.Slowdown, 10
	for _, outbox := range []int{8 << 10, 64 << 10, 1 << 20} {
		t.Run(fmt.Sprintf("%d KiB", outbox>>10), func(t *testing.T) {
			server := func() *board { return newBoard(pond.KeepLatest(byName), pond.WithOutboxSize(outbox)) }
			onBoards(t, server, func(t *testing.T, d *pondtest.Driver, tr pondtest.Transport, b *board) {
				s := d.Connect(tr, "/socket")
				s.Join("/latest/1", nil)
				s.Stall()
				before := kit.Heap()
				for i := range sent {
					b.tick(t, "/latest/1", strconv.Itoa(i%names), 500)
					if i%100 == 0 {
						time.Sleep(time.Second)
					}
				}
				if used := kit.Heap() - before; used > 512<<10 {
					t.Errorf("a client that stopped reading takes %d KiB", used>>10)
				}
				s.Resume()
				synctest.Wait()
				received := 0
				for name, got := range ticksOf(t, s.Drain()) {
					received += len(got)
					if n, _ := strconv.Atoi(name); got[len(got)-1] != sent-names+n+1 {
						t.Errorf("the newest of %s is %d", name, got[len(got)-1])
					}
				}
				if dropped := int(b.dropped.Load()); received+dropped != sent {
					t.Errorf("%d were received, %d dropped, and %d sent", received, dropped, sent)
				}
				if left := b.left(); len(left) > 0 {
					t.Errorf("the member left: %v", left)
				}
			})
		})
	}
}

// The newest messages of all keys must fit into an outbox. A client that does not read is
// closed if they do not, and others are not affected.
func TestKeepLatestTooManyKeys(t *testing.T) {
	for _, fits := range []bool{false, true} {
		outbox, keys, rounds := 1<<20/kit.Slowdown, 100_000/kit.Slowdown, 1
		if fits {
			outbox, keys, rounds = 4<<20, 10_000/kit.Slowdown, 3
		}
		t.Run(fmt.Sprintf("%d KiB, %d keys", outbox>>10, keys), func(t *testing.T) {
			server := func() *board { return newBoard(pond.KeepLatest(byName), pond.WithOutboxSize(outbox)) }
			onBoards(t, server, func(t *testing.T, d *pondtest.Driver, tr pondtest.Transport, b *board) {
				s, other := d.Connect(tr, "/socket"), d.Connect(tr, "/socket")
				s.Join("/latest/1", nil)
				other.Join("/latest/1", nil)
				s.Stall()
				for range rounds {
					for i := range keys {
						b.tick(t, "/latest/1", strconv.Itoa(i), 0)
						if i%1000 == 999 {
							synctest.Wait()
							if got := len(other.Drain()); got != 1000 {
								t.Fatalf("the other member got %d messages of 1000", got)
							}
						}
					}
				}
				time.Sleep(2 * time.Second)
				left := b.left()
				if fits {
					s.Resume()
					synctest.Wait()
					ticks := ticksOf(t, s.Drain())
					if len(left) > 0 || len(ticks) != keys {
						t.Fatalf("the client got %d keys of %d, and left: %v", len(ticks), keys, left)
					}
					for name, got := range ticks {
						if n, _ := strconv.Atoi(name); got[len(got)-1] != (rounds-1)*keys+n+1 {
							t.Fatalf("the newest of %s is %d", name, got[len(got)-1])
						}
					}
					return
				}
				if !slices.Equal(left, []pond.LeaveReason{pond.LeaveSlow}) {
					t.Errorf("members left: %v", left)
				}
			})
		})
	}
}

// Observer.Dropped names the member, with its state in the channel.
func TestKeepLatestNamesTheMember(t *testing.T) {
	type drop struct {
		channel, user string
		name          any
		n             int
	}
	var drops []drop
	server := func() *board {
		drops = nil
		b := new(board)
		b.Pond = pond.New(pond.WithObserver(&pond.Observer{
			Dropped: func(ch *pond.Channel, u pond.User, n int) {
				drops = append(drops, drop{ch.Name(), u.ID, u.Get("name"), n})
			},
		}))
		b.endpoint = b.Endpoint("/socket", kit.Accept)
		b.endpoint.Lobby("/latest/:id", kit.Admit, pond.WithSlowClients(pond.KeepLatest(nil)))
		return b
	}
	onBoards(t, server, func(t *testing.T, d *pondtest.Driver, tr pondtest.Transport, b *board) {
		s := d.Connect(tr, "/socket")
		s.Join("/latest/1", nil)
		ch, _ := b.endpoint.Channel("/latest/1")
		if err := ch.Assign(s.ID(), "name", "Ann"); err != nil {
			t.Fatal(err)
		}
		lag := func() {
			s.Stall()
			b.tick(t, "/latest/1", "a", 100<<10) // more than the network takes
			time.Sleep(time.Second)
			for range 3 {
				b.tick(t, "/latest/1", "a", 0)
			}
		}
		lag()
		s.Resume()
		synctest.Wait()
		if want := []drop{{"/latest/1", s.ID(), "Ann", 2}}; !slices.Equal(drops, want) {
			t.Errorf("reported %v, want %v", drops, want)
		}
		s.Drain()
		lag()
		if err := ch.Evict(s.ID(), ""); err != nil {
			t.Fatal(err)
		}
		s.Resume()
		synctest.Wait()
		if got := len(ticksOf(t, s.Drain())["a"]); got != 4 || len(drops) != 1 {
			t.Errorf("a client that is not a member any more got %d messages of 4", got)
		}
	})
}

// A client that is a member of other channels, too, is closed for what it does not read
// there. So is one that left the lobby with KeepLatest.
func TestKeepLatestIsForOneLobby(t *testing.T) {
	const outbox = 64 << 10
	for _, both := range []bool{true, false} {
		t.Run(fmt.Sprintf("in both %t", both), func(t *testing.T) {
			server := func() *board { return newBoard(pond.KeepLatest(nil), pond.WithOutboxSize(outbox)) }
			onBoards(t, server, func(t *testing.T, d *pondtest.Driver, tr pondtest.Transport, b *board) {
				s := d.Connect(tr, "/socket")
				s.Join("/latest/1", nil)
				s.Join("/all/1", nil)
				if !both {
					s.Leave("/latest/1")
					<-b.reasons
				}
				s.Stall()
				for range 3 * outbox >> 10 {
					b.tick(t, "/all/1", "a", 1<<10)
					if both {
						b.tick(t, "/latest/1", "a", 1<<10)
					}
				}
				time.Sleep(2 * time.Second)
				left := b.left()
				if want := map[bool]int{true: 2, false: 1}[both]; len(left) != want || left[0] != pond.LeaveSlow {
					t.Errorf("the member left: %v", left)
				}
			})
		})
	}
}

// Messages of two channels do not replace each other, and neither do messages of a lobby
// that keeps all.
func TestKeepLatestIsPerChannel(t *testing.T) {
	onBoards(t, func() *board { return newBoard(pond.KeepLatest(nil)) }, func(t *testing.T, d *pondtest.Driver, tr pondtest.Transport, b *board) {
		s := d.Connect(tr, "/socket")
		channels := []string{"/latest/1", "/latest/2", "/all/1"}
		for _, ch := range channels {
			s.Join(ch, nil)
		}
		s.Stall()
		b.tick(t, "/all/1", "a", 100<<10)
		time.Sleep(time.Second)
		for range 3 {
			for _, ch := range channels {
				b.tick(t, ch, "a", 0)
			}
		}
		s.Resume()
		synctest.Wait()
		got := map[string]int{}
		for _, m := range s.Drain() {
			got[m.Channel]++
		}
		if got["/latest/1"] != 1 || got["/latest/2"] != 1 || got["/all/1"] != 4 {
			t.Errorf("got %v messages", got)
		}
	})
}
