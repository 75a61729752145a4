package pondtest_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pondsocket/pond/internal/ws"
	"github.com/pondsocket/pond/pondtest"
)

// drive runs a test once for each transport, against a server of its own.
func drive(t *testing.T, test func(t *testing.T, d *pondtest.Driver, s *server, tr pondtest.Transport)) {
	t.Helper()
	for _, tr := range pondtest.Transports {
		t.Run(string(tr), func(t *testing.T) {
			s := &server{}
			pondtest.Run(t, s, func(t *testing.T, d *pondtest.Driver) { test(t, d, s, tr) })
		})
	}
}

type note struct {
	Text string `json:"text,omitempty"`
	N    int    `json:"n,omitempty"`
}

func TestConversation(t *testing.T) {
	drive(t, func(t *testing.T, d *pondtest.Driver, _ *server, tr pondtest.Transport) {
		ann, bob := d.Connect(tr, "/socket?uid=ann"), d.Connect(tr, "/socket?uid=bob")
		if ann.ID() != "ann" || ann.ConnectionID() != "secret-1" {
			t.Errorf("identity is %q, %q", ann.ID(), ann.ConnectionID())
		}
		for _, s := range []*pondtest.Session{ann, bob} {
			if answer := s.Join("/chat", nil); answer.Event != "ACKNOWLEDGE" || answer.Channel != "/chat" {
				t.Errorf("answer to a join is %v", answer)
			}
			s.Expect("JOIN") // presence, which came before the answer
		}

		id := ann.Send("/chat", "say", note{Text: "hi"})
		for _, s := range []*pondtest.Session{ann, bob} {
			m := s.Receive()
			var got note
			m.Bind(t, &got)
			if m.Action != "BROADCAST" || m.Event != "said" || m.RequestID != id || got.Text != "hi" {
				t.Errorf("received %v", m)
			}
			if !strings.HasPrefix(string(m.Raw), `{"action":"BROADCAST"`) {
				t.Errorf("raw message is %s", m.Raw)
			}
		}

		if answer := bob.Leave("/chat"); answer.Event != "EXIT_ACKNOWLEDGE" {
			t.Errorf("answer to a leave is %v", answer)
		}
		ann.SendID("/chat", "say", "my own", nil)
		if m := ann.Receive(); m.RequestID != "my own" || string(m.Payload) != "{}" {
			t.Errorf("received %v", m)
		}
		ann.Quiet()
		bob.Quiet()
	})
}

func TestAnswersLeaveTheRestInOrder(t *testing.T) {
	drive(t, func(t *testing.T, d *pondtest.Driver, _ *server, tr pondtest.Transport) {
		ann := d.Connect(tr, "/socket?uid=ann")
		ann.Join("/chat", nil)
		ann.Expect("JOIN")
		ann.Send("/chat", "say", note{N: 1})
		for i := range 3 {
			answer := ann.Request("/chat", "echo", note{N: i + 1})
			if want := fmt.Sprintf(`{"n":%d}`, i+1); string(answer.Payload) != want {
				t.Errorf("answer is %v, want %s", answer, want)
			}
		}
		ann.Send("/chat", "say", note{N: 2})
		var events []string
		for _, m := range ann.Unread() {
			events = append(events, m.Event)
		}
		want := []string{"said", "noise", "noise", "noise", "said"}
		if !slices.Equal(events, want) {
			t.Fatalf("unread are %q, want %q", events, want)
		}
		for _, event := range want {
			ann.Expect(event)
		}
		ann.Quiet()
	})
}

func TestHeartbeatsAreAnswered(t *testing.T) {
	drive(t, func(t *testing.T, d *pondtest.Driver, _ *server, tr pondtest.Transport) {
		ann := d.Connect(tr, "/socket?uid=ann")
		ann.Send("/chat", "say", nil) // its write deadline must not outlive it
		time.Sleep(time.Hour)
		ann.Quiet()
		if tr == pondtest.SSE {
			if n := len(ann.Events()) - 1; n != 120 {
				t.Errorf("%d keepalives in an hour, want 120", n)
			}
		}
		if answer := ann.Request("/chat", "echo", nil); answer.Event != "echoed" {
			t.Errorf("answer after an hour is %v", answer)
		}
		ann.Expect("noise")
	})
}

func TestStall(t *testing.T) {
	drive(t, func(t *testing.T, d *pondtest.Driver, s *server, tr pondtest.Transport) {
		ann := d.Connect(tr, "/socket?uid=ann")
		ann.Send("/chat", "flood", note{N: 3})
		ann.Stall()
		if n := len(ann.Unread()); n != 3 {
			t.Errorf("%d messages were received before the client stalled, want 3", n)
		}
		ann.Send("/chat", "flood", note{N: 200}) // much more than 64 KiB
		time.Sleep(20 * time.Second)
		if n := len(ann.Unread()); n != 3 {
			t.Errorf("a stalled client received %d messages", n-3)
		}
		ann.Resume()
		for range 203 {
			ann.Expect("drop")
		}
		ann.Quiet()

		ann.Stall()
		time.Sleep(time.Hour)
		s.mu.Lock()
		defer s.mu.Unlock()
		if silent := len(s.left) == 1; silent != (tr == pondtest.WebSocket) {
			t.Errorf("the server lost %q after an hour without pongs", s.left)
		}
	})
}

func TestCloseByTheClient(t *testing.T) {
	for _, test := range []struct {
		name  string
		close func(*pondtest.Session)
		how   map[pondtest.Transport]string // as the server sees it
		code  map[pondtest.Transport]int
	}{
		{
			name:  "Close",
			close: (*pondtest.Session).Close,
			how:   map[pondtest.Transport]string{pondtest.WebSocket: "ann closed with 1000", pondtest.SSE: "ann EOF"},
			code:  map[pondtest.Transport]int{pondtest.WebSocket: 1000, pondtest.SSE: 0},
		},
		{
			name:  "Reset",
			close: (*pondtest.Session).Reset,
			how:   map[pondtest.Transport]string{pondtest.WebSocket: "ann EOF", pondtest.SSE: "ann EOF"},
			code:  map[pondtest.Transport]int{pondtest.WebSocket: 1006, pondtest.SSE: 1006},
		},
	} {
		for _, stalled := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/stalled=%v", test.name, stalled), func(t *testing.T) {
				drive(t, func(t *testing.T, d *pondtest.Driver, s *server, tr pondtest.Transport) {
					ann, bob := d.Connect(tr, "/socket?uid=ann"), d.Connect(tr, "/socket?uid=bob")
					if stalled {
						ann.Stall()
					}
					test.close(ann)
					if code, reason := ann.Closed(); code != test.code[tr] || reason != "" {
						t.Errorf("ended with %d %q, want %d", code, reason, test.code[tr])
					}
					bob.Quiet() // waits until the server detects it
					s.mu.Lock()
					defer s.mu.Unlock()
					if want := []string{test.how[tr]}; !slices.Equal(s.left, want) {
						t.Errorf("the server saw %q, want %q", s.left, want)
					}
					test.close(ann) // no effect
				})
			})
		}
	}
}

func TestCloseByTheServer(t *testing.T) {
	drive(t, func(t *testing.T, d *pondtest.Driver, s *server, tr pondtest.Transport) {
		for event, want := range map[string]map[pondtest.Transport]string{
			"bye":    {pondtest.WebSocket: `1001 "bye"`, pondtest.SSE: `0 ""`},
			"vanish": {pondtest.WebSocket: `1006 ""`, pondtest.SSE: `1006 ""`},
		} {
			ann := d.Connect(tr, "/socket?uid="+event)
			ann.Send("/chat", "flood", note{N: 2})
			ann.Send("/chat", event, nil)
			code, reason := ann.Closed()
			if got := fmt.Sprintf("%d %q", code, reason); got != want[tr] {
				t.Errorf("%s: ended with %s, want %s", event, got, want[tr])
			}
			ann.Close()
			ann.Expect("drop")
			ann.Expect("drop")
			ann.Quiet()
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		if answered := slices.Contains(s.left, "bye closed with 1001"); answered != (tr == pondtest.WebSocket) {
			t.Errorf("the server saw %q: the client must answer a close frame", s.left)
		}
	})
}

func TestSendRaw(t *testing.T) {
	drive(t, func(t *testing.T, d *pondtest.Driver, _ *server, tr pondtest.Transport) {
		ann := d.Connect(tr, "/socket?uid=ann")
		ann.SendRaw([]byte("{oops"))
		if m := ann.Receive(); m.Event != "INVALID_MESSAGE" || !strings.Contains(string(m.Payload), "{oops") {
			t.Errorf("received %v", m)
		}
		ann.Send("/chat", "bye", nil)
		ann.Closed()
		ann.SendRaw([]byte("not an error"))
	})
}

func TestSendFrame(t *testing.T) {
	pondtest.Run(t, &server{}, func(t *testing.T, d *pondtest.Driver) {
		ann := d.Connect(pondtest.WebSocket, "/socket?uid=ann")
		first := ws.AppendMasked(nil, ws.Text, false, false, [4]byte{1, 2, 3, 4}, []byte("{oo"))
		ann.SendFrame(first[:4])
		ann.SendFrame(first[4:])
		ann.Quiet()
		ann.SendFrame(ws.AppendMasked(nil, ws.Continuation, true, false, [4]byte{}, []byte("ps")))
		if m := ann.Receive(); !strings.Contains(string(m.Payload), "{oops") {
			t.Errorf("received %v", m)
		}
	})
}
