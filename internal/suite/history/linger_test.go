package history_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/pondsocket/pond"
	"github.com/pondsocket/pond/pondtest"
)

// exists reports whether the history of a position exists.
func exists(t *testing.T, e *pond.Endpoint, channel string, p pondtest.Position) bool {
	t.Helper()
	for _, err := range e.History(t.Context(), channel, pond.After(pond.Position{Epoch: p.Epoch, Offset: p.Offset})) {
		if errors.Is(err, pond.ErrPositionLost) {
			return false
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return true
}

// Channels without members count in the limit of the history, even if no message was sent to
// them. So a client that joins and leaves one channel after the other cannot fill memory.
func TestHistoryLimitCountsEmptyChannels(t *testing.T) {
	const limit, channels = 64 << 10, 200
	p, e, _ := newPond(pond.History{}, pond.WithHistoryLimit(limit))
	pondtest.Run(t, p, func(t *testing.T, d *pondtest.Driver) {
		s := d.Connect(pondtest.WebSocket, "/socket")
		positions := make([]pondtest.Position, channels)
		for n := range positions {
			name := fmt.Sprintf("/log/%d", n)
			positions[n] = acknowledged(t, s.Join(name, nil, pondtest.Want("recover"))).Recover.Position
			s.Leave(name)
			time.Sleep(time.Second) // so that they expire one after the other
		}
		left := 0
		for n, position := range positions {
			if exists(t, e, fmt.Sprintf("/log/%d", n), position) {
				left++
			}
		}
		if most := limit >> 10; left > most || left < most/2 {
			t.Errorf("%d of %d channels without members exist, want about %d", left, channels, most)
		}
		if last := channels - 1; !exists(t, e, fmt.Sprintf("/log/%d", last), positions[last]) {
			t.Error("the latest channel was removed")
		}
	})
}

// A message that code outside of handlers sends to a channel without members is kept for the
// whole age of the history, like all others.
func TestX3MessagesToALingeringChannelExtendIt(t *testing.T) {
	p, e, _ := newPond(pond.History{Age: time.Hour, Newcomers: 10})
	pondtest.Run(t, p, func(t *testing.T, d *pondtest.Driver) {
		s := d.Connect(pondtest.WebSocket, "/socket")
		first := acknowledged(t, s.Join(room, nil, pondtest.Want("recover"))).Recover
		ch, _ := e.Channel(room)
		s.Leave(room)
		for n := 1; n <= 3; n++ { // each after most of the age has passed
			time.Sleep(50 * time.Minute)
			if err := ch.Broadcast("said", map[string]int{"n": n}); err != nil {
				t.Fatal(n, err)
			}
		}
		time.Sleep(59 * time.Minute)
		a := acknowledged(t, s.Join(room, nil, pondtest.Last(10))).Recover
		if a.Epoch != first.Epoch {
			t.Fatalf("the epoch is %s, before it was %s", a.Epoch, first.Epoch)
		}
		expect(t, s, "3", "RECOVERED") // the others expired
		s.Leave(room)
		time.Sleep(time.Hour + time.Second)
		if err := ch.Broadcast("said", nil); !errors.Is(err, pond.ErrClosed) {
			t.Errorf("after the history expired, Broadcast returned %v", err)
		}
	})
}
