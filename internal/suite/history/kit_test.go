package history_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"

	"github.com/pondsocket/pond"
	"github.com/pondsocket/pond/internal/suite/kit"
	"github.com/pondsocket/pond/pondtest"
)

const room = "/log/1"

// newPond returns a server whose channels /log/:room have this history.
func newPond(h pond.History, opts ...pond.EndpointOption) (*pond.Pond, *pond.Endpoint, *pond.Lobby) {
	p := pond.New(pond.WithLogger(kit.Silent))
	e := p.Endpoint("/socket", kit.Accept, opts...)
	l := e.Lobby("/log/:room", kit.Admit, pond.WithHistory(h))
	kit.Handlers(l)
	return p, e, l
}

// onBoth runs test over each transport with a new server.
func onBoth(t *testing.T, h pond.History, test func(t *testing.T, d *pondtest.Driver, e *pond.Endpoint, tr pondtest.Transport), opts ...pond.EndpointOption) {
	t.Helper()
	for _, tr := range pondtest.Transports {
		t.Run(string(tr), func(t *testing.T) {
			p, e, _ := newPond(h, opts...)
			pondtest.Run(t, p, func(t *testing.T, d *pondtest.Driver) { test(t, d, e, tr) })
		})
	}
}

// say publishes messages with the numbers from first to last.
func say(t *testing.T, e *pond.Endpoint, first, last int) {
	t.Helper()
	for n := first; n <= last; n++ {
		if err := e.Publish(t.Context(), room, "said", json.RawMessage(fmt.Sprintf(`{"n":%d}`, n))); err != nil {
			t.Fatal(err)
		}
	}
}

// An ack is the payload of an acknowledgement.
type ack struct {
	Recover *struct {
		pondtest.Position
		To        *uint64
		Recovered *bool
		Reason    string
	}
}

// acknowledged returns the payload of an acknowledgement.
func acknowledged(t *testing.T, m pondtest.Message) (a ack) {
	t.Helper()
	if m.Action != "SYSTEM" || m.Event != "ACKNOWLEDGE" {
		t.Fatalf("got %v, want an acknowledgement", m)
	}
	m.Bind(t, &a)
	return a
}

// events returns what messages are, in short: the number of a "said", otherwise the event.
func events(t *testing.T, messages []pondtest.Message) (list []string) {
	t.Helper()
	for _, m := range messages {
		text := m.Event
		if m.Event == "said" {
			var v struct{ N int }
			m.Bind(t, &v)
			text = fmt.Sprint(v.N)
		}
		list = append(list, text)
	}
	return list
}

// expect checks what a client received, in order.
func expect(t *testing.T, s *pondtest.Session, want ...string) {
	t.Helper()
	if got := events(t, s.Drain()); !slices.Equal(got, want) {
		t.Fatalf("received %s, want %s", short(got), short(want))
	}
}

// short returns the beginning and the end of a list.
func short(list []string) string {
	if len(list) > 20 {
		return fmt.Sprint(list[:10], " ... ", list[len(list)-10:])
	}
	return fmt.Sprint(list)
}

// numbers returns the texts of the numbers from first to last.
func numbers(first, last int) (list []string) {
	for n := first; n <= last; n++ {
		list = append(list, fmt.Sprint(n))
	}
	return list
}
