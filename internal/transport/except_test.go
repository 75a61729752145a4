package transport_test

import (
	"runtime"
	"strconv"
	"sync"
	"testing"

	"github.com/pondsocket/pond/internal/transport"
)

// A seat that is excluded from a broadcast does not receive it, even if workers of
// other shards run at the same time.
func TestExceptHoldsAcrossShards(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(4))
	const n, rounds = 80, 300
	s := serve(t, testConfig())
	var g transport.Group
	g.Init(s.hub)
	clients, seats := make([]*client, n), make([]*transport.Seat, n)
	for i := range n {
		clients[i] = dial(t, s, "")
		seats[i] = &transport.Seat{Conn: receive(t, s.conns).Conn}
		g.Add(seats[i])
	}
	for i := range rounds {
		var w transport.Work
		g.Broadcast(&w, frame(strconv.Itoa(i%n)), false, seats[i%n])
		w.Do()
	}
	var w transport.Work
	g.Broadcast(&w, frame("end"), false)
	w.Do()
	var wg sync.WaitGroup
	for i, c := range clients {
		wg.Go(func() {
			got := 0
			for msg := c.next(); msg != "end"; msg = c.next() {
				if msg == strconv.Itoa(i) {
					t.Errorf("client %d got a message that excludes it", i)
				}
				got++
			}
			want := rounds - (rounds+n-1-i)/n
			if got != want {
				t.Errorf("client %d got %d messages, want %d", i, got, want)
			}
		})
	}
	wg.Wait()
}
