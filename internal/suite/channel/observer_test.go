package channel_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pondsocket/pond"
	"github.com/pondsocket/pond/internal/suite/kit"
	"github.com/pondsocket/pond/pondtest"
)

// The observer is notified of each event once, in order.
func TestObserver(t *testing.T) {
	for _, tr := range pondtest.Transports {
		t.Run(string(tr), func(t *testing.T) {
			var mu sync.Mutex
			var heard []string
			note := func(format string, args ...any) {
				mu.Lock()
				defer mu.Unlock()
				heard = append(heard, fmt.Sprintf(format, args...))
			}
			p := pond.New(pond.WithLogger(kit.Silent), pond.WithObserver(&pond.Observer{
				Connected:    func(e *pond.Endpoint, _ string, _ pond.Transport) { note("connected %s", e.Path()) },
				Disconnected: func(_ *pond.Endpoint, _ string, _ pond.Transport, err error) { note("disconnected %t", err != nil) },
				Rejected:     func(_ *pond.Endpoint, status int) { note("refused %d", status) },
				Joined:       func(ch *pond.Channel, _ pond.User) { note("joined %s", ch.Name()) },
				Left:         func(ch *pond.Channel, _ pond.User, r pond.LeaveReason) { note("left %s %s", ch.Name(), r) },
				Handled: func(ch *pond.Channel, event string, d time.Duration, err error) {
					note("handled %s %q %v %t", ch.Name(), event, d, err == nil)
				},
				Sent:    func(ch *pond.Channel, event string, n int) { note("sent %s %s %d", ch.Name(), event, n) },
				Limited: func(_ *pond.Endpoint, l pond.Limit) { note("limited %s", l) },
			}))
			l := p.Endpoint("/socket", func(ctx *pond.ConnectionContext) error {
				if ctx.Query().Has("no") {
					return ctx.Decline(403, "")
				}
				return ctx.Accept()
			}).Lobby("/chat/:room", kit.Admit)
			l.OnMessage("say", func(ctx *pond.EventContext) error {
				time.Sleep(time.Second)
				return errors.Join(ctx.Broadcast("said", nil), ctx.Reply("ok", nil))
			})
			l.OnMessage("fail", func(*pond.EventContext) error { return errors.New("no") })
			pondtest.Run(t, p, func(t *testing.T, d *pondtest.Driver) {
				d.Declined(tr, "/socket?no")
				s := d.Connect(tr, "/socket")
				s.Join("/chat/1", nil)
				s.Join("/chat/"+strings.Repeat("x", 300), nil)
				s.Request("/chat/1", "say", nil)
				s.Request("/chat/1", "fail", nil)
				s.Close()
				synctest.Wait()
			})
			want := []string{
				"refused 403",
				"connected /socket",
				"joined /chat/1",
				`handled /chat/1 "" 0s true`,
				"limited channel_name",
				"sent /chat/1 said 1",
				"sent /chat/1 ok 1",
				`handled /chat/1 "say" 1s true`,
				`handled /chat/1 "fail" 0s false`,
				"left /chat/1 connection_closed",
				"disconnected true",
			}
			if got := strings.Join(heard, "\n"); got != strings.Join(want, "\n") {
				t.Errorf("heard\n%s", got)
			}
		})
	}
}

func TestLiteral(t *testing.T) {
	p, _, l := kit.NewPond()
	for _, name := range []string{"presence:update", "job:*", "a{b", `back\slash`} {
		l.OnMessage(pond.Literal(name), func(ctx *pond.EventContext) error { return ctx.Reply("literal", nil) })
	}
	pondtest.Run(t, p, func(t *testing.T, d *pondtest.Driver) {
		s := d.Connect(pondtest.WebSocket, "/socket")
		s.Join("/chat/1", nil)
		for _, name := range []string{"presence:update", "job:*", "a{b", `back\slash`} {
			kit.Is(t, s.Request("/chat/1", name, nil), "SYSTEM", "literal", "{}")
		}
		for _, name := range []string{"presence:x", "job:1"} {
			if m := s.Request("/chat/1", name, nil); m.Action != "ERROR" {
				t.Errorf("%s: %v", name, m)
			}
		}
	})
}

// Misuse panics at registration, with a message that starts with the name of the
// package.
func TestMisusePanics(t *testing.T) {
	p, e, l := kit.NewPond()
	for name, misuse := range map[string]func(){
		"path":    func() { p.Endpoint("/a?b", kit.Accept) },
		"brace":   func() { p.Endpoint("/{tenant}", kit.Accept) },
		"taken":   func() { p.Endpoint("/socket", kit.Accept) },
		"no auth": func() { p.Endpoint("/x", nil) },
		"lobby":   func() { e.Lobby("/chat/:room", kit.Admit) },
		"no join": func() { e.Lobby("/x", nil) },
		"event":   func() { l.OnMessage("say", nil) },
		"event twice": func() {
			l.OnMessage("say", func(*pond.EventContext) error { return nil })
		},
		"outgoing": func() { l.OnOutgoing("/:", func(*pond.OutgoingContext) error { return nil }) },
		"leave twice": func() {
			l.OnLeave(func(*pond.LeaveContext) error { return nil })
			l.OnLeave(func(*pond.LeaveContext) error { return nil })
		},
		"limit":  func() { pond.WithMaxConns(0) },
		"origin": func() { pond.WithOrigins("example.com") },
		"late":   func() { _ = p.Shutdown(t.Context()); p.Endpoint("/late", kit.Accept) },
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if text, ok := recover().(string); !ok || !strings.HasPrefix(text, "pond: ") {
					t.Errorf("panic %q", text)
				}
			}()
			misuse()
		})
	}
}
