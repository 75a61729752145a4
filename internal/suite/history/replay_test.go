package history_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pondsocket/pond"
	"github.com/pondsocket/pond/internal/suite/kit"
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

// Messages that are hidden from a client also move its position if it was away when they
// were sent.
func TestX13aHiddenMessagesInAReplay(t *testing.T) {
	onBoth(t, pond.History{}, func(t *testing.T, d *pondtest.Driver, e *pond.Endpoint, tr pondtest.Transport) {
		s := d.Connect(tr, "/socket")
		s.Join(room, nil, pondtest.Want("recover"))
		at, id := s.Position(room), s.ID()
		other := d.Connect(tr, "/socket")
		other.Join(room, nil)
		s.Reset()
		ch, _ := e.Channel(room)
		for n := range 64 {
			if err := ch.Except(id).Broadcast("said", map[string]int{"n": n}); err != nil {
				t.Fatal(err)
			}
		}
		back := d.Connect(tr, "/socket")
		back.Join(room, nil, pondtest.From(at, id))
		kit.Is(t, back.Receive(), "SYSTEM", "POSITION", fmt.Sprintf(`{"epoch":"%s","offset":%d}`, at.Epoch, at.Offset+64))
		kit.Is(t, back.Receive(), "SYSTEM", "RECOVERED", fmt.Sprintf(`{"epoch":"%s","offset":%d}`, at.Epoch, at.Offset+64))
	})
}

// What is sent to a client alone while it catches up waits for its place. A client that
// lets more of it wait than its outbox may contain is slow.
func TestX10HeldMessagesAreLimited(t *testing.T) {
	const messages = 100
	onBoth(t, pond.History{Newcomers: messages}, func(t *testing.T, d *pondtest.Driver, e *pond.Endpoint, tr pondtest.Transport) {
		for n := range messages {
			if err := e.Publish(t.Context(), room, "said", map[string]any{"n": n, "text": strings.Repeat("x", 4000)}); err != nil {
				t.Fatal(err)
			}
		}
		s := d.Connect(tr, "/socket")
		s.Stall()
		s.SendJoin(room, nil, pondtest.Last(messages))
		synctest.Wait()
		ch, _ := e.Channel(room)
		for n := range 3 {
			if _, member := ch.User(s.ID()); !member {
				t.Fatalf("the client was disconnected after %d messages", n)
			}
			if err := ch.To(s.ID()).Broadcast("told", map[string]string{"text": strings.Repeat("x", 7000)}); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		if _, member := ch.User(s.ID()); member {
			t.Error("the client is still a member, although too much is held for it")
		}
	}, pond.WithOutboxSize(16<<10), pond.WithWriteTimeout(time.Hour))
}

// The limit is for what is held at the same time. Messages that were sent do not count any
// more, although the replay goes on.
func TestX10SentMessagesAreNotHeld(t *testing.T) {
	const messages = 100
	for _, tr := range pondtest.Transports {
		t.Run(string(tr), func(t *testing.T) {
			p, e, l := newPond(pond.History{Newcomers: messages}, pond.WithOutboxSize(16<<10), pond.WithWriteTimeout(time.Hour))
			var goOn chan struct{}
			l.OnOutgoing("told", func(*pond.OutgoingContext) error {
				<-goOn
				return nil
			})
			pondtest.Run(t, p, func(t *testing.T, d *pondtest.Driver) {
				goOn = make(chan struct{})
				publish := func() {
					for n := range messages {
						if err := e.Publish(t.Context(), room, "said", map[string]any{"n": n, "text": strings.Repeat("x", 4000)}); err != nil {
							t.Fatal(err)
						}
					}
				}
				publish()
				s := d.Connect(tr, "/socket")
				s.Stall()
				s.SendJoin(room, nil, pondtest.Last(messages))
				synctest.Wait()
				ch, _ := e.Channel(room)
				tell := func() {
					for range 2 {
						if err := ch.To(s.ID()).Broadcast("told", map[string]string{"text": strings.Repeat("x", 7000)}); err != nil {
							t.Fatal(err)
						}
					}
					synctest.Wait()
				}
				tell()
				publish()
				s.Resume()
				synctest.Wait() // the first messages of tell are being sent
				tell()
				if _, member := ch.User(s.ID()); !member {
					t.Error("the client was disconnected")
				}
				close(goOn)
				told := 0
				for _, m := range s.Drain() {
					if m.Event == "told" {
						told++
					}
				}
				if told != 4 {
					t.Errorf("received %d messages, want 4", told)
				}
			})
		})
	}
}
