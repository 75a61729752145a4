package main

import (
	"fmt"
	"testing"

	"github.com/pondsocket/pond/pondtest"
)

// owners returns the sessions that may rename the room.
func owners(t *testing.T, all []*pondtest.Session) (owners []*pondtest.Session) {
	t.Helper()
	for _, s := range all {
		s.Drain()
		if answer := s.Request("/rooms/1", "rename", nil); answer.Event == "renamed" {
			owners = append(owners, s)
		}
	}
	return owners
}

func TestOneOwner(t *testing.T) {
	for range 100 { // a race does not show in every round
		pondtest.Run(t, rooms(), func(t *testing.T, d *pondtest.Driver) {
			var all []*pondtest.Session
			for range 20 {
				all = append(all, d.Connect(pondtest.WebSocket, "/socket"))
			}
			for i, s := range all { // without waiting for the answers
				s.SendRaw(fmt.Appendf(nil, `{"action":"JOIN_CHANNEL","event":"JOIN_CHANNEL","channelName":"/rooms/1","requestId":"%d","payload":{}}`, i))
			}
			for _, s := range all {
				s.ReceiveEvent("ACKNOWLEDGE")
			}
			if n := len(owners(t, all)); n != 1 {
				t.Errorf("%d owners", n)
			}
		})
	}
}

func TestOwnershipPasses(t *testing.T) {
	for _, tr := range pondtest.Transports {
		t.Run(string(tr), func(t *testing.T) {
			pondtest.Run(t, rooms(), func(t *testing.T, d *pondtest.Driver) {
				ann, bob, cid := d.Connect(tr, "/socket"), d.Connect(tr, "/socket"), d.Connect(tr, "/socket")
				for _, s := range []*pondtest.Session{ann, bob, cid} {
					s.Join("/rooms/1", nil)
				}
				if all := owners(t, []*pondtest.Session{ann, bob, cid}); len(all) != 1 || all[0] != ann {
					t.Fatalf("%d owners, want Ann", len(all))
				}
				ann.Reset()
				bob.Quiet() // waits until Ann left
				if all := owners(t, []*pondtest.Session{bob, cid}); len(all) != 1 {
					t.Fatalf("%d owners after Ann left", len(all))
				}
				bob.Leave("/rooms/1")
				cid.Leave("/rooms/1")
				cid.Join("/rooms/1", nil) // a new channel with the same name
				if all := owners(t, []*pondtest.Session{cid}); len(all) != 1 {
					t.Error("the new channel has no owner")
				}
			})
		})
	}
}
