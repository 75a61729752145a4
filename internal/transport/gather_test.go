package transport_test

import (
	"slices"
	"testing"

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
	s.hub.Gather()
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
	p.Close(ws.CloseGoingAway, "bye", transport.ErrClosed)
	p.Send(frame("6"))
	if end := c.closed(); end.Code != ws.CloseGoingAway {
		t.Errorf("closed with %v", end)
	}
	if want := []string{"1", "2", "3", "3", "4"}; !slices.Equal(c.got, want) {
		t.Errorf("got %q, want %q", c.got, want)
	}
}
