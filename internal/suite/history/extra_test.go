package history_test

import (
	"fmt"
	"testing"

	"github.com/pondsocket/pond"
	"github.com/pondsocket/pond/pondtest"
)

// The limits of a history include what it keeps of a message besides its text. So a client
// that chooses the members that do not receive a message cannot fill memory with user IDs.
func TestHistoryBytesCountExceptions(t *testing.T) {
	p, _, l := newPond(pond.History{Messages: 1 << 20, Bytes: 1 << 20})
	type hidden struct{ IDs []string }
	pond.On(l, "hide-from", func(ctx *pond.EventContext, m hidden) error {
		return ctx.Channel().Except(m.IDs...).Broadcast("said", nil)
	})
	pondtest.Run(t, p, func(t *testing.T, d *pondtest.Driver) {
		s := d.Connect(pondtest.WebSocket, "/socket")
		s.Join(room, nil)
		var m hidden
		for i := range 5000 {
			m.IDs = append(m.IDs, fmt.Sprint(i))
		}
		before := heap()
		for range 200 {
			s.Send(room, "hide-from", m)
			s.Drain()
		}
		now := heap()
		if used := now - min(before, now); used > 4<<20 {
			t.Errorf("a history of 1 MiB takes %d bytes", used)
		}
	})
}
