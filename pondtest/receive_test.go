package pondtest_test

import (
	"testing"
	"testing/synctest"

	"github.com/pondsocket/pond/pondtest"
)

func TestReceiveEvent(t *testing.T) {
	drive(t, func(t *testing.T, d *pondtest.Driver, _ *server, tr pondtest.Transport) {
		ann := d.Connect(tr, "/socket?uid=ann")
		ann.Send("/chat", "flood", note{N: 2})
		ann.Send("/chat", "echo", note{N: 1})
		ann.Send("/chat", "echo", note{N: 2})
		for _, want := range []string{`{"n":1}`, `{"n":2}`} {
			if m := ann.ReceiveEvent("echoed"); m.Event != "echoed" || string(m.Payload) != want {
				t.Errorf("got %v, want %s", m, want)
			}
		}
		for _, event := range []string{"drop", "drop", "noise", "noise"} {
			ann.Expect(event)
		}
		ann.Quiet()
	})
}

func TestDrain(t *testing.T) {
	drive(t, func(t *testing.T, d *pondtest.Driver, _ *server, tr pondtest.Transport) {
		ann := d.Connect(tr, "/socket?uid=ann")
		if got := ann.Drain(); len(got) != 0 {
			t.Errorf("drained %v", got)
		}
		ann.Send("/chat", "echo", nil)
		if got := ann.Drain(); len(got) != 2 || got[0].Event != "noise" || got[1].Event != "echoed" {
			t.Errorf("drained %v", got)
		}
		ann.Quiet()
		ann.Send("/chat", "echo", nil)
		ann.Expect("noise")
	})
}

func TestEnded(t *testing.T) {
	drive(t, func(t *testing.T, d *pondtest.Driver, _ *server, tr pondtest.Transport) {
		ann := d.Connect(tr, "/socket?uid=ann")
		if ann.Ended() {
			t.Error("ended too early")
		}
		ann.Send("/chat", "bye", nil)
		if !ann.Ended() {
			t.Error("did not end")
		}
	})
}

func TestSameOrder(t *testing.T) {
	pondtest.Run(t, &server{}, func(t *testing.T, d *pondtest.Driver) {
		ann := d.Connect(pondtest.WebSocket, "/socket?uid=ann")
		bob := d.Connect(pondtest.SSE, "/socket?uid=bob")
		for _, s := range []*pondtest.Session{ann, bob} {
			s.Join("/chat", nil)
			s.Send("/chat", "echo", nil)
		}
		ann.Send("/chat", "say", note{N: 1})
		synctest.Wait()
		bob.Send("/chat", "say", note{N: 2})
		got := d.SameOrder("said", ann, bob)
		if len(got) != 2 || string(got[0].Payload) != `{"n":1}` || string(got[1].Payload) != `{"n":2}` {
			t.Errorf("got %v", got)
		}
		for _, s := range []*pondtest.Session{ann, bob} {
			for _, event := range []string{"JOIN", "noise", "echoed"} { // stay
				s.Expect(event)
			}
			s.Quiet()
		}
		ann.Send("/chat", "say", nil)
		if got := d.SameOrder("", ann, bob); len(got) != 1 {
			t.Errorf("got %v", got)
		}
	})
}
