package transport_test

import (
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pondsocket/pond/internal/transport"
	"github.com/pondsocket/pond/internal/ws"
)

// While the commits of a busy hub are left to a worker, a Close delivers them at once, in
// order.
func TestCloseDoesNotWaitForWorkers(t *testing.T) {
	s := serve(t, testConfig())
	c := dial(t, s, "")
	p := receive(t, s.conns)
	var group transport.Group
	group.Init(s.hub)
	seat := &transport.Seat{Conn: p.Conn}
	group.Add(seat)
	other := &transport.Seat{Conn: p.Conn}
	s.hub.Schedule()
	broadcast := func(text string) {
		var w transport.Work
		group.Broadcast(&w, frame(text), false)
		w.Do()
	}
	broadcast("1")
	p.Send(frame("2"))
	group.Add(other)
	broadcast("3")
	group.Remove(seat)
	broadcast("4")
	group.Remove(other)
	broadcast("5")
	var delivered atomic.Bool
	p.Send(transport.NewMark(func() { delivered.Store(true) }))
	if delivered.Load() {
		t.Error("a message does not wait for the worker")
	}
	p.Close(ws.CloseGoingAway, "bye", transport.ErrClosed)
	p.Send(frame("6"))
	if end := c.closed(); end.Code != ws.CloseGoingAway {
		t.Errorf("closed with %v", end)
	}
	if want := []string{"1", "2", "3", "3", "4"}; !slices.Equal(c.got, want) {
		t.Errorf("got %q, want %q", c.got, want)
	}
}

// After yields that take long, there are no yields for a while.
func TestYieldsPause(t *testing.T) {
	const long, first, longest = 10 * time.Millisecond, 20 * time.Millisecond, 10 * time.Second
	synctest.Test(t, func(t *testing.T) {
		y := transport.NewYielder()
		yield := func(takes time.Duration, commits uint64) bool {
			return y.Yield(func() uint64 {
				time.Sleep(takes)
				return commits
			})
		}
		yields := func(takes time.Duration, commits uint64) {
			t.Helper()
			if !yield(takes, commits) {
				t.Fatal("did not yield")
			}
		}
		pauses := func(want time.Duration) {
			t.Helper()
			time.Sleep(want - time.Nanosecond)
			if yield(0, 0) {
				t.Fatalf("yields before a pause of %v is over", want)
			}
			time.Sleep(time.Nanosecond)
		}
		yields(0, 0)
		yields(0, 5)
		yields(long, 10) // as many as that time is worth
		for pause := first; pause < longest; pause *= 2 {
			yields(long, 1)
			pauses(pause)
		}
		for range 2 {
			yields(long, 1)
			pauses(longest)
		}
		yields(0, 0) // brings nothing, and so does not prove that yields are short
		yields(long, 1)
		pauses(longest)
		yields(0, 1)
		for range 4 { // at the same time, of several shards
			go yield(long, 0)
		}
		time.Sleep(long)
		synctest.Wait()
		pauses(first)
		yields(0, 1)
	})
}
