package attack_test

import (
	"strings"
	"testing"
	"testing/synctest"

	"github.com/pondsocket/pond"
	"github.com/pondsocket/pond/internal/suite/kit"
	"github.com/pondsocket/pond/pondtest"
)

// filled is a presence with almost as many bytes as allowed.
var filled = map[string]string{"text": strings.Repeat("x", 16_000)}

// roster connects tracked members. The last of them have a large presence.
func roster(t *testing.T, d *pondtest.Driver, e *pond.Endpoint, members, large int) (*pond.Channel, []*pondtest.Session) {
	t.Helper()
	var sessions []*pondtest.Session
	for range members {
		s := d.Connect(pondtest.WebSocket, "/socket")
		s.Join("/chat/1", nil)
		sessions = append(sessions, s)
	}
	ch, _ := e.Channel("/chat/1")
	for i, s := range sessions {
		var presence any
		if i >= members-large {
			presence = filled
		}
		if err := ch.Track(s.ID(), presence); err != nil {
			t.Fatal(err)
		}
	}
	synctest.Wait()
	for _, s := range sessions {
		s.Drain()
	}
	return ch, sessions
}

// Every change of presence sends the whole list. For clients that do not read, the server
// keeps only the latest list.
func TestAttackPresenceFloodBehindSlowReaders(t *testing.T) {
	const members, flood = 5, 200
	for name, change := range map[string]func(ch *pond.Channel, id string, i int) error{
		"update": func(ch *pond.Channel, id string, i int) error { return ch.Upsert(id, map[string]int{"i": i}) },
		"come and go": func(ch *pond.Channel, id string, i int) error {
			if i%2 == 0 {
				return ch.Untrack(id)
			}
			return ch.Track(id, nil)
		},
	} {
		t.Run(name, func(t *testing.T) {
			p, e, _ := kit.NewPond()
			pondtest.Run(t, p, func(t *testing.T, d *pondtest.Driver) {
				ch, sessions := roster(t, d, e, members, members-1)
				reader := sessions[0]
				for _, s := range sessions[1:] {
					s.Stall()
				}
				before := kit.Heap()
				for i := range flood {
					if err := change(ch, reader.ID(), i); err != nil {
						t.Fatal(err)
					}
					reader.Drain()
				}
				if grown := kit.Heap() - before; grown > 2<<20 {
					t.Errorf("memory has grown by %d bytes", grown)
				}
				if ch.Len() != members {
					t.Error("the slow readers were disconnected, so nothing was tested")
				}
			})
		})
	}
}

// Members that stopped reading share one copy of the queued list.
func TestAttackPresenceOfSlowReaders(t *testing.T) {
	const members, large = 20, 8
	p, e, _ := kit.NewPond()
	pondtest.Run(t, p, func(t *testing.T, d *pondtest.Driver) {
		ch, sessions := roster(t, d, e, members, large)
		for _, s := range sessions {
			s.Stall()
		}
		before := kit.Heap()
		if err := ch.Update(sessions[0].ID(), map[string]int{"i": 1}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		// Bytes in the network buffers are not part of the server's memory.
		if grown := kit.Heap() - before - members*(64<<10); grown > 1<<20 {
			t.Errorf("memory has grown by %d bytes", grown)
		}
	})
}
