package channel_test

import (
	"errors"
	"fmt"
	"net/http"
	"runtime"
	"testing"

	"github.com/pondsocket/pond"
	"github.com/pondsocket/pond/internal/suite/kit"
	"github.com/pondsocket/pond/pondtest"
)

// If OnFirstJoin fails, the client is not a member, OnLastLeave does not run, and the
// next client is the first.
func TestFailingFirstJoin(t *testing.T) {
	for name, test := range map[string]struct {
		fail   func() error
		status int
	}{
		"typed error":  {func() error { return pond.Errorf(http.StatusServiceUnavailable, "no database") }, 503},
		"other error":  {func() error { return errors.New("no") }, 500},
		"panic":        {func() error { panic("no") }, 500},
		"Goexit":       {func() error { runtime.Goexit(); return nil }, 500},
		"closes":       {nil, 410},
		"nil *Error":   {func() error { return (*pond.Error)(nil) }, 0},
		"not returned": {nil, 401},
	} {
		t.Run(name, func(t *testing.T) {
			onEdges(t, func(t *testing.T, d *pondtest.Driver, tr pondtest.Transport, s *edges) {
				last := ""
				s.first = func(ctx *pond.JoinContext) error {
					switch name {
					case "closes":
						ctx.Channel().Close("")
						return nil
					case "not returned":
						return errors.New("no")
					}
					return test.fail()
				}
				if name == "closes" {
					last = ", last 1 channel_closed"
				}
				s.join = func(ctx *pond.JoinContext) error {
					err := ctx.Accept()
					if name == "not returned" {
						return nil
					}
					return err
				}
				ann, bob := d.Connect(tr, "/socket"), d.Connect(tr, "/socket")
				ann.SendJoin("/chat/1", nil)
				if test.status == 0 {
					ann.ReceiveEvent("ACKNOWLEDGE")
					return
				}
				if status := kit.Status(t, ann.ReceiveEvent("UNAUTHORIZED")); status != test.status {
					t.Errorf("status %d, want %d", status, test.status)
				}
				journal := "first in <nil>" + last + ", join in <nil>"
				if name == "panic" || name == "Goexit" {
					journal = "first in <nil>" // the join handler does not return either
				}
				s.expect(t, journal)
				s.first = func(*pond.JoinContext) error { return nil }
				bob.Join("/chat/1", nil)
				s.expect(t, "first in <nil>, join in 2")
				bob.Leave("/chat/1")
				s.expect(t, "leave 2, last 2 explicit_leave")
			})
		})
	}
}

// The leave handler and OnLastLeave both run, even if they fail, and the channel can be used
// again.
func TestFailingLastLeave(t *testing.T) {
	failures := map[string]func() error{
		"no":     func() error { return nil },
		"error":  func() error { return errors.New("no") },
		"panic":  func() error { panic("no") },
		"Goexit": func() error { runtime.Goexit(); return nil },
	}
	for leave, failLeave := range failures {
		for last, failLast := range failures {
			t.Run(leave+" then "+last, func(t *testing.T) {
				onEdges(t, func(t *testing.T, d *pondtest.Driver, tr pondtest.Transport, s *edges) {
					s.leave = func(*pond.LeaveContext) error { return failLeave() }
					s.last = func(*pond.LeaveContext) error { return failLast() }
					ann := d.Connect(tr, "/socket")
					for i := 1; i <= 2; i++ {
						ann.Join("/chat/1", nil)
						ann.Leave("/chat/1")
						s.expect(t, fmt.Sprintf("first in <nil>, join in %d, leave %[1]d, last %[1]d explicit_leave", i))
					}
					ann.Join("/chat/1", nil)
					ann.Reset()
					s.expect(t, "first in <nil>, join in 3, leave 3, last 3 connection_closed")
				})
			})
		}
	}
}

func TestEdgesAreSetOnce(t *testing.T) {
	l := pond.New().Endpoint("/socket", kit.Accept).Lobby("/chat/:room", kit.Admit)
	func() {
		defer func() {
			if got := recover(); got != "pond: message typed has no handler" {
				t.Errorf("On without a handler panics with %v", got)
			}
		}()
		pond.On[struct{}](l, "typed", nil)
	}()
	for name, set := range map[string]func(nothing bool){
		"OnLeave":     func(nothing bool) { l.OnLeave(handler[*pond.LeaveContext](nothing)) },
		"OnFirstJoin": func(nothing bool) { l.OnFirstJoin(handler[*pond.JoinContext](nothing)) },
		"OnLastLeave": func(nothing bool) { l.OnLastLeave(handler[*pond.LeaveContext](nothing)) },
	} {
		for _, test := range []struct {
			nothing bool
			want    string
		}{
			{true, "pond: lobby /chat/:room: " + name + " without a handler"},
			{false, ""},
			{false, "pond: lobby /chat/:room: a second call of " + name},
		} {
			func() {
				defer func() {
					if got := recover(); got != any(test.want) && (got != nil || test.want != "") {
						t.Errorf("%s panics with %v, want %q", name, got, test.want)
					}
				}()
				set(test.nothing)
			}()
		}
	}
}

func handler[C any](nothing bool) pond.Handler[C] {
	if nothing {
		return nil
	}
	return func(C) error { return nil }
}

// A stream that joins by its URL is rejected with the status of OnFirstJoin.
func TestFailingFirstJoinByURL(t *testing.T) {
	first := pond.Errorf(http.StatusForbidden, "not now")
	p := pond.New(pond.WithLogger(kit.Silent))
	l := p.Endpoint("/socket", kit.Accept, pond.WithJoinByURL()).Lobby("/chat/:room", kit.Admit)
	l.OnFirstJoin(func(*pond.JoinContext) error { return first })
	pondtest.Run(t, p, func(t *testing.T, d *pondtest.Driver) {
		const target = "/socket?join=/chat/1"
		if resp := d.Declined(pondtest.SSE, target); resp.StatusCode != http.StatusForbidden {
			t.Errorf("status %d", resp.StatusCode)
		}
		d.Connect(pondtest.WebSocket, target).ReceiveEvent("UNAUTHORIZED")
		first = nil
		for _, tr := range pondtest.Transports {
			d.Connect(tr, target).ReceiveEvent("ACKNOWLEDGE")
		}
	})
}
