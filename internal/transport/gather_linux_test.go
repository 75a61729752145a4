package transport_test

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/pondsocket/pond/internal/transport"
)

// The tests of this file use direct writes: the goroutine that delivers also writes.

// groups returns groups with one seat for each of peers.
func groups(s *server, n int, peers ...*peer) ([]transport.Group, [][]*transport.Seat) {
	all, seats := make([]transport.Group, n), make([][]*transport.Seat, n)
	for i := range all {
		all[i].Init(s.hub)
		for _, p := range peers {
			seat := &transport.Seat{Conn: p.Conn}
			all[i].Add(seat)
			seats[i] = append(seats[i], seat)
		}
	}
	return all, seats
}

func broadcast(g *transport.Group, f *transport.Frame, except ...*transport.Seat) {
	var w transport.Work
	g.Broadcast(&w, f, false, except...)
	w.Do()
}

// A seat that is excluded from one of many combined messages receives the others.
func TestExceptHoldsForCombinedMessages(t *testing.T) {
	s := serve(t, testConfig())
	c := dial(t, s, "")
	rooms, seats := groups(s, 2, receive(t, s.conns))
	release := s.hub.Hold()
	for i := range 6 {
		var except []*transport.Seat
		if i == 2 {
			except = seats[0]
		}
		broadcast(&rooms[i%2], frame(strconv.Itoa(i)), except...)
	}
	release()
	if err := c.read(func() bool { return slices.Contains(c.got, "5") }); err != nil {
		t.Fatal(err)
	}
	if want := []string{"0", "1", "3", "4", "5"}; !slices.Equal(c.got, want) {
		t.Errorf("got %q, want %q", c.got, want)
	}
}

// However many messages are combined, few of them are queued for a client before it is
// written to. So a client that reads does not become slow.
func TestCombiningLimitsTheQueue(t *testing.T) {
	const messages, size = 40, 1 << 10
	for _, outbox := range []int{4 << 10, 1 << 20} {
		t.Run(strconv.Itoa(outbox), func(t *testing.T) {
			cfg := testConfig()
			cfg.OutboxBytes = outbox
			s := serve(t, cfg)
			c := dial(t, s, "")
			p := receive(t, s.conns)
			rooms, _ := groups(s, 2, p)
			queued := 0
			release := s.hub.Hold()
			p.Send(transport.NewMark(func() { queued = p.Queued() }))
			for i := range messages {
				broadcast(&rooms[i%2], frame(strings.Repeat("x", size)))
			}
			release()
			if most := min(outbox, 32<<10) + 2*size; queued > most {
				t.Errorf("%d bytes were queued before the first write, want at most %d", queued, most)
			}
			if err := c.read(func() bool { return len(c.got) == messages }); err != nil {
				t.Errorf("the client received %d messages of %d: %v", len(c.got), messages, err)
			}
		})
	}
}

// A burst for many clients is written in parts, so that the first client does not wait
// until everything is queued.
func TestCombiningLimitsAllQueues(t *testing.T) {
	const clients, size = 40, 16 << 10 // 640 KiB
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	s := serve(t, testConfig())
	var peers []*peer
	for range clients {
		dial(t, s, "")
		peers = append(peers, receive(t, s.conns))
	}
	first, last := peers[0], peers[clients-1]
	rooms, _ := groups(s, 2, first)
	queued := -1
	release := s.hub.Hold()
	first.Send(transport.NewMark(func() { queued = last.Queued() }))
	for i := range 3 {
		broadcast(&rooms[i%2], frame("{}"))
	}
	for _, p := range peers[1:] {
		p.Send(frame(strings.Repeat("x", size)))
	}
	release()
	if queued != 0 {
		t.Errorf("%d bytes were queued for the last client before the first one was written to, want 0", queued)
	}
}

// A frame for one client that is combined with others counts once as committed and then
// as queued.
func TestCombinedFramesLeaveRoom(t *testing.T) {
	s := serve(t, testConfig())
	dial(t, s, "")
	p := receive(t, s.conns)
	rooms, _ := groups(s, 2, p)
	release := s.hub.Hold()
	for i := range 4 {
		broadcast(&rooms[i%2], frame("{}"))
		p.Send(frame("{}"))
	}
	release()
	if !p.HasRoom(frame(strings.Repeat("x", 4*testConfig().OutboxBytes-100))) {
		t.Error("all was written, but there is no room for a large frame")
	}
}

// The goroutine that commits writes to few connections itself, unless others committed.
func TestWhichGoroutineWrites(t *testing.T) {
	for _, tc := range []struct {
		name    string
		members int
		busy    bool
		inline  bool
	}{
		{"few members", 10, false, true},
		{"few members of a busy hub", 10, true, false},
		{"many members", 40, false, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(2))
			s := serve(t, testConfig())
			var peers []*peer
			for range tc.members {
				dial(t, s, "")
				peers = append(peers, receive(t, s.conns))
			}
			rooms, _ := groups(s, 2, peers...)
			runtime.GOMAXPROCS(1)
			writes := func() (inline bool) {
				s.hub.ResumeYields()
				stack := make(chan string, 1)
				note := sync.OnceFunc(func() { stack <- string(debug.Stack()) })
				f := transport.NewLazyFrame("said", 10, func() [3][]byte {
					note()
					return [3][]byte{[]byte("{}")}
				})
				var w transport.Work
				rooms[0].Broadcast(&w, f, false)
				var others sync.WaitGroup
				if tc.busy {
					others.Go(func() { broadcast(&rooms[1], frame("{}")) })
				}
				w.Do()
				others.Wait()
				return strings.Contains(receive(t, stack), "transport.(*Work).Do")
			}
			// The scheduler may run goroutines in another order, but not each time.
			for range 50 {
				if writes() == tc.inline {
					return
				}
			}
			t.Errorf("the goroutine that commits writes: %v, want %v", !tc.inline, tc.inline)
		})
	}
}

// Commits that are combined do not fill the small outbox of a client that reads: the
// client is not closed, and none of its frames is dropped.
func TestCombinedCommitsFitIntoSmallOutboxes(t *testing.T) {
	const messages = 60
	for _, latest := range []bool{false, true} {
		t.Run(fmt.Sprintf("latest %v", latest), func(t *testing.T) {
			cfg := testConfig()
			cfg.OutboxBytes = 4 << 10
			s := serve(t, cfg)
			c := dial(t, s, "")
			p := receive(t, s.conns)
			space := new(transport.KeySpace)
			if latest {
				p.KeepLatest(cfg.WriteTimeout)
			}
			var groups [2]transport.Group
			for i := range groups {
				groups[i].Init(s.hub)
				groups[i].Add(&transport.Seat{Conn: p.Conn})
			}
			release := s.hub.Hold()
			for i := range messages {
				f := frame(fmt.Sprint(i, strings.Repeat(" ", 500)))
				if latest {
					f.SetKey(space, "key")
				}
				var w transport.Work
				groups[i%2].Broadcast(&w, f, false)
				w.Do()
			}
			release()
			for i := range messages {
				if got := strings.TrimSpace(c.next()); got != fmt.Sprint(i) {
					t.Fatalf("got %s, want %d", got, i)
				}
			}
		})
	}
}
