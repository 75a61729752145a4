package channel_test

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/pondsocket/pond"
	"github.com/pondsocket/pond/internal/suite/kit"
	"github.com/pondsocket/pond/pondtest"
)

// A journal records the calls of handlers in order. It is safe for concurrent use.
type journal struct {
	mu    sync.Mutex
	lines []string
}

func (j *journal) add(format string, args ...any) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lines = append(j.lines, fmt.Sprintf(format, args...))
}

// take returns the new lines.
func (j *journal) take() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	text := strings.Join(j.lines, ", ")
	j.lines = nil
	return text
}

func (j *journal) expect(t *testing.T, want string) {
	t.Helper()
	synctest.Wait()
	if got := j.take(); got != want {
		t.Errorf("handlers: %s\nwant:     %s", got, want)
	}
}

// An edges is a server whose lobby has handlers for first joins and last leaves that
// write into a journal. A test can replace what they do.
type edges struct {
	*pond.Pond
	*journal
	endpoint *pond.Endpoint
	join     func(ctx *pond.JoinContext) error
	first    func(ctx *pond.JoinContext) error
	leave    func(ctx *pond.LeaveContext) error
	last     func(ctx *pond.LeaveContext) error
	rooms    int // created so far
}

func newEdges(opts ...pond.LobbyOption) *edges {
	s := &edges{
		Pond: pond.New(pond.WithLogger(kit.Silent)), journal: &journal{},
		join:  kit.Admit,
		first: func(*pond.JoinContext) error { return nil },
		leave: func(*pond.LeaveContext) error { return nil },
		last:  func(*pond.LeaveContext) error { return nil },
	}
	s.endpoint = s.Endpoint("/socket", kit.Accept)
	l := s.endpoint.Lobby("/chat/:room", func(ctx *pond.JoinContext) error {
		err := s.join(ctx)
		s.add("join in %v", ctx.Channel().State())
		return err
	}, opts...)
	l.OnFirstJoin(func(ctx *pond.JoinContext) error {
		s.add("first in %v", ctx.Channel().State())
		s.rooms++
		ctx.Channel().SetState(s.rooms)
		ctx.Assign("role", "owner")
		return s.first(ctx)
	})
	l.OnLeave(func(ctx *pond.LeaveContext) error {
		s.add("leave %v", ctx.Channel().State())
		return s.leave(ctx)
	})
	l.OnLastLeave(func(ctx *pond.LeaveContext) error {
		s.add("last %v %v", ctx.Channel().State(), ctx.Reason())
		return s.last(ctx)
	})
	l.OnMessage("role", func(ctx *pond.EventContext) error { return ctx.Reply("role", map[string]any{"role": ctx.Get("role")}) })
	return s
}

func (s *edges) channel(t *testing.T) *pond.Channel {
	t.Helper()
	ch, ok := s.endpoint.Channel("/chat/1")
	if !ok {
		t.Fatal("the channel is not live")
	}
	return ch
}

// onEdges runs test over each transport, each time with a new server.
func onEdges(t *testing.T, test func(t *testing.T, d *pondtest.Driver, tr pondtest.Transport, s *edges), opts ...pond.LobbyOption) {
	t.Helper()
	for _, tr := range pondtest.Transports {
		t.Run(string(tr), func(t *testing.T) {
			s := newEdges(opts...)
			pondtest.Run(t, s, func(t *testing.T, d *pondtest.Driver) { test(t, d, tr, s) })
		})
	}
}

func TestFirstJoinAndLastLeave(t *testing.T) {
	onEdges(t, func(t *testing.T, d *pondtest.Driver, tr pondtest.Transport, s *edges) {
		ann, bob := d.Connect(tr, "/socket"), d.Connect(tr, "/socket")
		ann.Join("/chat/1", nil)
		s.expect(t, "first in <nil>, join in 1")
		bob.Join("/chat/1", nil)
		s.expect(t, "join in 1")
		ch := s.channel(t)
		ann.Leave("/chat/1")
		s.expect(t, "leave 1")
		bob.Leave("/chat/1")
		s.expect(t, "leave 1, last 1 explicit_leave")
		if ch.State() != nil {
			t.Error("the state outlives the members")
		}
		bob.Join("/chat/1", nil)
		s.expect(t, "first in <nil>, join in 2")
	})
}

// What OnFirstJoin can do with its context.
func TestFirstJoinContext(t *testing.T) {
	onEdges(t, func(t *testing.T, d *pondtest.Driver, tr pondtest.Transport, s *edges) {
		s.first = func(ctx *pond.JoinContext) error {
			for what, err := range map[string]error{
				"Reply": ctx.Reply("no", nil), "Broadcast": ctx.Broadcast("no", nil), "Track": ctx.Track(nil),
				"Others": ctx.Others().Broadcast("no", nil),
			} {
				if !errors.Is(err, pond.ErrNotAccepted) {
					t.Errorf("%s: %v", what, err)
				}
			}
			if err := ctx.Accept(); !errors.Is(err, pond.ErrDecided) {
				t.Errorf("Accept: %v", err)
			}
			if n := ctx.Channel().Len(); n != 0 {
				t.Errorf("%d members", n)
			}
			return nil
		}
		s.join = func(ctx *pond.JoinContext) error {
			if ctx.Channel().Len() == 0 && ctx.Channel().State() != nil {
				t.Error("the room has state before Accept")
			}
			return ctx.Accept()
		}
		ann, bob := d.Connect(tr, "/socket"), d.Connect(tr, "/socket")
		ann.Join("/chat/1", nil)
		bob.Join("/chat/1", nil)
		kit.Is(t, ann.Request("/chat/1", "role", nil), "SYSTEM", "role", `{"role":"owner"}`)
		kit.Is(t, bob.Request("/chat/1", "role", nil), "SYSTEM", "role", `{"role":null}`)
		ann.Quiet()
	})
}

// OnFirstJoin does not run for a client that is declined.
func TestDeclinedFirstJoin(t *testing.T) {
	onEdges(t, func(t *testing.T, d *pondtest.Driver, tr pondtest.Transport, s *edges) {
		s.join = func(ctx *pond.JoinContext) error { return ctx.Decline(http.StatusForbidden, "no") }
		ann := d.Connect(tr, "/socket")
		ann.SendJoin("/chat/1", nil)
		ann.ReceiveEvent("UNAUTHORIZED")
		s.expect(t, "join in <nil>")
	})
}

func TestLastLeaveReasons(t *testing.T) {
	for want, end := range map[string]func(t *testing.T, p *edges, d *pondtest.Driver, s *pondtest.Session){
		"explicit_leave":      func(_ *testing.T, _ *edges, _ *pondtest.Driver, s *pondtest.Session) { s.Leave("/chat/1") },
		"connection_closed":   func(_ *testing.T, _ *edges, _ *pondtest.Driver, s *pondtest.Session) { s.Close() },
		"connection_closed 2": func(_ *testing.T, _ *edges, _ *pondtest.Driver, s *pondtest.Session) { s.Reset() },
		"connection_closed 3": func(_ *testing.T, p *edges, _ *pondtest.Driver, s *pondtest.Session) {
			_ = p.endpoint.Disconnect(s.ID(), 0, "")
		},
		"evicted": func(t *testing.T, p *edges, _ *pondtest.Driver, s *pondtest.Session) {
			_ = p.channel(t).Evict(s.ID(), "")
		},
		"channel_closed":  func(t *testing.T, p *edges, _ *pondtest.Driver, _ *pondtest.Session) { p.channel(t).Close("") },
		"server_shutdown": func(t *testing.T, p *edges, _ *pondtest.Driver, _ *pondtest.Session) { _ = p.Shutdown(t.Context()) },
	} {
		t.Run(want, func(t *testing.T) {
			onEdges(t, func(t *testing.T, d *pondtest.Driver, tr pondtest.Transport, p *edges) {
				s := d.Connect(tr, "/socket")
				s.Join("/chat/1", nil)
				p.expect(t, "first in <nil>, join in 1")
				end(t, p, d, s)
				p.expect(t, "leave 1, last 1 "+strings.Fields(want)[0])
			})
		})
	}
}

// A client that leaves and joins again at once is the first again, because its leave
// handler runs before its join handler.
func TestRejoinAtOnce(t *testing.T) {
	onEdges(t, func(t *testing.T, d *pondtest.Driver, tr pondtest.Transport, s *edges) {
		ann := d.Connect(tr, "/socket")
		ann.Join("/chat/1", nil)
		s.take()
		for i := range 3 {
			if tr == pondtest.WebSocket { // without waiting for the answer
				ann.SendRaw([]byte(`{"action":"LEAVE_CHANNEL","event":"LEAVE_CHANNEL","channelName":"/chat/1","requestId":"1","payload":{}}`))
				ann.SendRaw([]byte(`{"action":"JOIN_CHANNEL","event":"JOIN_CHANNEL","channelName":"/chat/1","requestId":"2","payload":{}}`))
				ann.ReceiveEvent("EXIT_ACKNOWLEDGE")
				ann.ReceiveEvent("ACKNOWLEDGE")
			} else {
				ann.Leave("/chat/1")
				ann.Join("/chat/1", nil)
			}
			s.expect(t, fmt.Sprintf("leave %d, last %[1]d explicit_leave, first in <nil>, join in %d", i+1, i+2))
		}
	})
}

// A client that joins while the leave handler of the last member runs keeps the state of the
// room alive.
func TestJoinDuringLastLeaveHandler(t *testing.T) {
	onEdges(t, func(t *testing.T, d *pondtest.Driver, tr pondtest.Transport, s *edges) {
		hold := make(chan struct{})
		s.leave = func(*pond.LeaveContext) error { <-hold; return nil }
		ann, bob := d.Connect(tr, "/socket"), d.Connect(tr, "/socket")
		ann.Join("/chat/1", nil)
		ann.Reset()
		synctest.Wait()
		bob.Join("/chat/1", nil)
		s.expect(t, "first in <nil>, join in 1, leave 1, join in 1")
		close(hold)
		s.expect(t, "")
		bob.Leave("/chat/1")
		s.expect(t, "leave 1, last 1 explicit_leave")
	})
}

// Accept waits while OnFirstJoin or OnLastLeave runs for another client. Declined clients
// do not wait, and neither do clients of another channel.
func TestAcceptWaitsForEdges(t *testing.T) {
	onEdges(t, func(t *testing.T, d *pondtest.Driver, tr pondtest.Transport, s *edges) {
		hold := make(chan struct{})
		s.first = func(ctx *pond.JoinContext) error {
			if ctx.Param("room") == "1" {
				<-hold
			}
			return nil
		}
		s.last = func(*pond.LeaveContext) error { <-hold; return nil }
		ann, bob, cid := d.Connect(tr, "/socket"), d.Connect(tr, "/socket"), d.Connect(tr, "/socket")
		ann.SendJoin("/chat/1", nil)
		synctest.Wait()
		bob.SendJoin("/chat/1", nil)
		s.expect(t, "first in <nil>")
		cid.Join("/chat/2", nil)
		s.expect(t, "first in <nil>, join in 2")
		cid.Leave("/chat/2")
		s.expect(t, "leave 2, last 2 explicit_leave")
		hold <- struct{}{} // one of the two
		hold <- struct{}{}
		ann.ReceiveEvent("ACKNOWLEDGE")
		bob.ReceiveEvent("ACKNOWLEDGE")
		s.expect(t, "join in 1, join in 1")

		ann.Leave("/chat/1")
		bob.Leave("/chat/1")
		s.expect(t, "leave 1, leave 1, last 1 explicit_leave")
		cid.SendJoin("/chat/1", nil)
		s.expect(t, "") // OnLastLeave has not returned
		cid.Quiet()
		hold <- struct{}{}
		s.expect(t, "first in <nil>")
		hold <- struct{}{}
		cid.ReceiveEvent("ACKNOWLEDGE")
		s.expect(t, "join in 3")
		close(hold)
	})
}

// Accept does not wait longer than the connection lasts.
func TestAcceptEndsWithTheConnection(t *testing.T) {
	onEdges(t, func(t *testing.T, d *pondtest.Driver, tr pondtest.Transport, s *edges) {
		hold := make(chan struct{})
		s.first = func(*pond.JoinContext) error { <-hold; return nil }
		var failed error
		s.join = func(ctx *pond.JoinContext) error {
			err := ctx.Accept()
			if err != nil {
				failed = err
			}
			return err
		}
		ann, bob := d.Connect(tr, "/socket"), d.Connect(tr, "/socket")
		ann.SendJoin("/chat/1", nil)
		synctest.Wait()
		bob.SendJoin("/chat/1", nil)
		synctest.Wait()
		_ = s.endpoint.Disconnect(bob.ID(), 0, "")
		s.expect(t, "first in <nil>, join in 1")
		if !errors.Is(failed, pond.ErrClosed) {
			t.Errorf("Accept of a client that is disconnected: %v", failed)
		}
		_ = s.endpoint.Disconnect(ann.ID(), 0, "")
		close(hold)
		s.expect(t, "last 1 connection_closed, join in <nil>")
	})
}

// A channel with history outlives its members, but its state does not.
func TestEdgesOfALingeringChannel(t *testing.T) {
	onEdges(t, func(t *testing.T, d *pondtest.Driver, tr pondtest.Transport, s *edges) {
		ann := d.Connect(tr, "/socket")
		ann.Join("/chat/1", nil)
		ch := s.channel(t)
		if err := ch.Broadcast("hello", nil); err != nil {
			t.Fatal(err)
		}
		ann.ReceiveEvent("hello")
		ann.Leave("/chat/1")
		s.expect(t, "first in <nil>, join in 1, leave 1, last 1 explicit_leave")
		ch.SetState("too late")
		ann.Join("/chat/1", nil)
		s.expect(t, "first in <nil>, join in 2")
		if ch != s.channel(t) {
			t.Error("the channel is a new one")
		}
	}, pond.WithHistory(pond.History{Messages: 10}))
}
