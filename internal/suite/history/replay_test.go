package history_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pondsocket/pond"
	"github.com/pondsocket/pond/pondtest"
)

// A message with many exceptions lists its receivers. A client that is catching up is not
// among them: it reads the message from the log.
func TestX9ManyExceptionsDuringAReplay(t *testing.T) {
	const messages = 100
	onBoth(t, pond.History{Newcomers: messages}, func(t *testing.T, d *pondtest.Driver, e *pond.Endpoint, tr pondtest.Transport) {
		for n := 1; n <= messages; n++ {
			if err := e.Publish(t.Context(), room, "said", map[string]any{"n": n, "text": strings.Repeat("x", 4000)}); err != nil {
				t.Fatal(err)
			}
		}
		late := d.Connect(tr, "/socket")
		late.Stall()
		late.SendJoin(room, nil, pondtest.Last(messages))
		synctest.Wait()
		var others []string
		for range 20 {
			s := d.Connect(tr, "/socket")
			s.Join(room, nil)
			others = append(others, s.ID())
		}
		ch, _ := e.Channel(room)
		for n := messages + 1; n <= messages+3; n++ {
			if err := ch.Except(others...).Broadcast("said", map[string]any{"n": n}); err != nil {
				t.Fatal(err)
			}
		}
		late.Resume()
		var last uint64
		for _, m := range late.Drain() {
			if m.Event != "said" {
				continue
			}
			if last++; m.Offset != last {
				t.Fatalf("received %d, want %d", m.Offset, last)
			}
		}
		if last != messages+3 {
			t.Errorf("received %d messages", last)
		}
	}, pond.WithOutboxSize(16<<10))
}

// A replay is queued in pages. So a client that pauses during a replay that is larger
// than its outbox is not slow, and costs no more memory than another one.
func TestX10ReplaysWaitForTheClient(t *testing.T) {
	const messages = 100
	onBoth(t, pond.History{Newcomers: messages}, func(t *testing.T, d *pondtest.Driver, e *pond.Endpoint, tr pondtest.Transport) {
		for n := 1; n <= messages; n++ {
			if err := e.Publish(t.Context(), room, "said", map[string]any{"n": n, "text": strings.Repeat("x", 4000)}); err != nil {
				t.Fatal(err)
			}
		}
		s := d.Connect(tr, "/socket")
		s.Stall()
		s.SendJoin(room, nil, pondtest.Last(messages))
		time.Sleep(10 * time.Second)
		s.Resume()
		for _, m := range s.Drain() {
			if m.Event == "RECOVERED" && s.Position(room).Offset == messages {
				return
			}
		}
		t.Errorf("the replay ended at %d; the connection ended: %v", s.Position(room).Offset, s.Ended())
	}, pond.WithOutboxSize(16<<10), pond.WithWriteTimeout(time.Hour))
}
