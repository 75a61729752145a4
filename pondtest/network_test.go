package pondtest_test

import (
	"io"
	"net/http"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pondsocket/pond/internal/ws"
	"github.com/pondsocket/pond/pondtest"
)

func TestVanish(t *testing.T) {
	drive(t, func(t *testing.T, d *pondtest.Driver, s *server, tr pondtest.Transport) {
		ann, bob := d.Connect(tr, "/socket?uid=ann"), d.Connect(tr, "/socket?uid=bob")
		ann.Join("/chat", nil)
		bob.Join("/chat", nil)
		ann.Send("/chat", "say", nil)
		ann.Vanish()
		ann.Expect("JOIN")
		ann.Expect("said") // arrived before

		ann.Send("/chat", "say", nil)
		bob.Send("/chat", "say", note{N: 1})
		ann.Quiet()
		if got := d.SameOrder("said", bob); len(got) != 2 {
			t.Errorf("bob got %v, want no message from a client that vanished", got)
		}
		if lost := s.lost(); len(lost) > 0 {
			t.Errorf("the server detected it at once: %q", lost)
		}

		time.Sleep(time.Hour)
		var want []string
		if tr == pondtest.WebSocket {
			want = []string{"ann vanished"}
		}
		if lost := s.lost(); !slices.Equal(lost, want) {
			t.Errorf("the server lost %q after an hour, want %q", lost, want)
		}
		ann.Send("/chat", "say", nil) // the client still gets no error
		if ann.Ended() {
			t.Error("a client that vanished received something")
		}

		ann.Resume()
		ann.Expect("said")
		ann.Quiet()
		if ended := ann.Ended(); ended != (tr == pondtest.WebSocket) {
			t.Errorf("after Resume: ended = %v", ended)
		}
	})
}

func TestVanishedSSEClientResumes(t *testing.T) {
	pondtest.Run(t, &server{}, func(t *testing.T, d *pondtest.Driver) {
		ann := d.Connect(pondtest.SSE, "/socket?uid=ann")
		ann.Vanish()
		ann.Resume()
		ann.Request("/chat", "echo", nil)
		ann.Expect("noise")
	})
}

// The server detects the end in every state of the network.
func TestRunEndsFaultyNetworks(t *testing.T) {
	for name, fault := range map[string]func(*pondtest.Session){
		"vanished": (*pondtest.Session).Vanish,
		"delayed": func(s *pondtest.Session) {
			s.Delay(10 * time.Second)
			s.Send("/chat", "echo", nil)
			s.Delay(0)
		},
		"trickled": (*pondtest.Session).Trickle,
		"stalled and vanished": func(s *pondtest.Session) {
			s.Stall()
			s.Vanish()
		},
	} {
		t.Run(name, func(t *testing.T) {
			for _, tr := range pondtest.Transports {
				c := &closer{}
				pondtest.Run(t, c, func(_ *testing.T, d *pondtest.Driver) {
					ann := d.Connect(tr, "/socket?uid=ann")
					ann.Delay(time.Second)
					fault(ann)
					ann.Send("/chat", "flood", note{N: 200})
				})
				if len(c.left) != 1 {
					t.Errorf("%s: %q had left when the server was shut down, want one", tr, c.left)
				}
			}
		})
	}
}

func TestCloseOfAVanishedClient(t *testing.T) {
	drive(t, func(t *testing.T, d *pondtest.Driver, s *server, tr pondtest.Transport) {
		ann := d.Connect(tr, "/socket?uid=ann")
		ann.Vanish()
		ann.Close() // resumes first
		if !ann.Ended() || len(s.lost()) != 1 {
			t.Errorf("ended = %v, the server lost %q", ann.Ended(), s.lost())
		}
	})
}

func TestDelay(t *testing.T) {
	drive(t, func(t *testing.T, d *pondtest.Driver, s *server, tr pondtest.Transport) {
		ann, bob := d.Connect(tr, "/socket?uid=ann"), d.Connect(tr, "/socket?uid=bob")
		ann.Join("/chat", nil)
		bob.Join("/chat", nil)
		bob.Expect("JOIN")
		ann.Delay(10 * time.Second)

		began := time.Now()
		ann.Request("/chat", "echo", nil)
		if took := time.Since(began); took != 20*time.Second {
			t.Errorf("the round trip took %v, want 20s", took)
		}
		ann.Drain()

		began = time.Now()
		bob.Send("/chat", "say", nil)
		bob.Expect("said")
		if took := time.Since(began); took != 0 {
			t.Errorf("other sessions are delayed, too: %v", took)
		}
		ann.Quiet()
		ann.Expect("said")
		if took := time.Since(began); took != 10*time.Second {
			t.Errorf("a message of the server took %v, want 10s", took)
		}

		ann.Close()
		time.Sleep(10 * time.Second)
		if lost := s.lost(); len(lost) != 1 {
			t.Errorf("the server lost %q", lost)
		}
	})
}

func TestTrickle(t *testing.T) {
	drive(t, func(t *testing.T, d *pondtest.Driver, s *server, tr pondtest.Transport) {
		ann := d.Connect(tr, "/socket?uid=ann")
		ann.Trickle()
		ann.Join("/chat", nil)
		ann.Send("/chat", "say", note{Text: "é😀"})
		ann.Expect("JOIN")
		if got := string(ann.Expect("said")); got != `{"text":"é😀"}` {
			t.Errorf("got %s", got)
		}
		ann.Reconnect().Request("/chat", "echo", nil) // a handshake byte by byte
		ann.Close()
		if lost := s.lost(); len(lost) != 1 {
			t.Errorf("the server lost %q", lost)
		}
	})
}

// A reader reads what a client sends, and records the largest piece.
type reader struct {
	mu      sync.Mutex // guards the following field
	largest int
}

func (h *reader) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.Method == http.MethodPost:
		h.read(r.Body)
		w.WriteHeader(http.StatusNoContent)
	case r.Header.Get("Upgrade") == "":
		w.Header().Set("Content-Type", "text/event-stream")
		io.WriteString(w, "data: "+hello+"\n\n")
		http.NewResponseController(w).Flush()
		<-r.Context().Done()
	default:
		conn, buf, err := http.NewResponseController(w).Hijack()
		if err != nil {
			panic(err)
		}
		defer conn.Close()
		hs, _ := ws.ParseHandshake(r, false)
		conn.Write(ws.AppendSwitchingProtocols(nil, hs, nil))
		conn.Write(ws.AppendFrame(nil, ws.Text, false, []byte(hello)))
		h.read(buf)
	}
}

func (h *reader) read(r io.Reader) {
	for buf := make([]byte, 1000); ; {
		n, err := r.Read(buf)
		h.mu.Lock()
		h.largest = max(h.largest, n)
		h.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// reset returns largest and sets it to zero.
func (h *reader) reset() (largest int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	largest, h.largest = h.largest, 0
	return largest
}

func TestTrickleComesInBytes(t *testing.T) {
	for _, tr := range pondtest.Transports {
		t.Run(string(tr), func(t *testing.T) {
			h := &reader{}
			pondtest.Run(t, h, func(t *testing.T, d *pondtest.Driver) {
				want := func(s *pondtest.Session, trickles bool) {
					t.Helper()
					h.reset()
					s.Send("/chat", "say", nil)
					synctest.Wait()
					if largest := h.reset(); largest == 0 || trickles != (largest == 1) {
						t.Errorf("the largest piece has %d bytes; trickles = %v", largest, trickles)
					}
				}
				ann := d.Connect(tr, "/")
				want(ann, false)
				ann.Trickle()
				want(ann, true)
				want(ann.Reconnect(), true)
				want(d.Connect(tr, "/"), false)
			})
		})
	}
}

func TestReconnect(t *testing.T) {
	drive(t, func(t *testing.T, d *pondtest.Driver, s *server, tr pondtest.Transport) {
		old := d.Connect(tr, "/socket?uid=ann", pondtest.Cookie("session", "s1"))
		old.Join("/chat", nil)
		old.Delay(time.Second)
		old.Vanish()

		began := time.Now()
		ann := old.Reconnect()
		if took := time.Since(began); took != 2*time.Second {
			t.Errorf("the delay differs: connecting took %v", took)
		}
		if ann.ID() != "ann" || ann.ConnectionID() == old.ConnectionID() {
			t.Errorf("is %q, %q", ann.ID(), ann.ConnectionID())
		}
		s.mu.Lock()
		r := s.requests[len(s.requests)-1]
		s.mu.Unlock()
		if cookie, err := r.Cookie("session"); err != nil || cookie.Value != "s1" {
			t.Errorf("cookie %v, %v", cookie, err)
		}

		ann.Request("/chat", "echo", nil)
		ann.Expect("noise")
		if lost := s.lost(); len(lost) != 0 {
			t.Errorf("the server lost %q", lost)
		}
		old.Resume()
		ann.Send("/chat", "say", nil)
		old.ReceiveEvent("said")
		ann.Quiet() // it is not a member
	})
}

func TestRemoteAddr(t *testing.T) {
	drive(t, func(t *testing.T, d *pondtest.Driver, s *server, tr pondtest.Transport) {
		const addr = "203.0.113.7:4711"
		ann := d.Connect(tr, "/socket?uid=ann", pondtest.RemoteAddr(addr))
		ann.Send("/chat", "echo", nil)
		d.Connect(tr, "/socket?uid=bob")
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, r := range s.requests {
			if given := r.RemoteAddr == addr; given != (r.URL.Query().Get("uid") == "ann") {
				t.Errorf("%s %s comes from %s", r.Method, r.URL, r.RemoteAddr)
			}
		}
	})
}

func TestCloseWith(t *testing.T) {
	s := &server{}
	pondtest.Run(t, s, func(t *testing.T, d *pondtest.Driver) {
		ann := d.Connect(pondtest.WebSocket, "/socket?uid=ann")
		ann.CloseWith(4321, "going home")
		if code, _ := ann.Closed(); code != 4321 {
			t.Errorf("closed with %d", code)
		}
		if lost, want := s.lost(), []string{"ann closed with 4321going home"}; !slices.Equal(lost, want) {
			t.Errorf("the server saw %q, want %q", lost, want)
		}
		bob := d.Connect(pondtest.WebSocket, "/socket?uid=bob")
		bob.CloseWith(ws.CloseNoStatus, "")
		ann.CloseWith(4000, "no effect")
	})
}
