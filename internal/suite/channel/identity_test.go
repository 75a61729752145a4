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

// identified accepts every client as the person that its query names.
func identified(ctx *pond.ConnectionContext) error {
	if who := ctx.Query().Get("who"); who != "" {
		if err := ctx.Identify(who); err != nil {
			return err
		}
	}
	return ctx.Accept()
}

// ToIdentity, EvictIdentity and DisconnectIdentity include all connections of a person.
func TestIdentity(t *testing.T) {
	var e *pond.Endpoint
	var mu sync.Mutex // guards the following variable
	var seen []string
	note := func(kind string, u pond.User) {
		mu.Lock()
		defer mu.Unlock()
		seen = append(seen, kind+" "+u.Identity())
	}
	server := func() *pond.Pond {
		seen = nil
		p := pond.New(pond.WithLogger(kit.Silent))
		e = p.Endpoint("/socket", identified)
		l := e.Lobby("/chat/:room", func(ctx *pond.JoinContext) error { note("join", ctx.User()); return ctx.Accept() })
		l.OnMessage("say", func(ctx *pond.EventContext) error {
			note("event", ctx.User())
			return ctx.Channel().ToIdentity("ann", "nobody", "", "ann").Broadcast("said", nil)
		})
		l.OnOutgoing("said", func(ctx *pond.OutgoingContext) error { note("outgoing", ctx.User()); return nil })
		l.OnLeave(func(ctx *pond.LeaveContext) error { note("leave", ctx.User()); return nil })
		return p
	}
	kit.OnBoth(t, server, func(t *testing.T, d *pondtest.Driver, tr pondtest.Transport) {
		ann1, ann2 := d.Connect(tr, "/socket?who=ann"), d.Connect(tr, "/socket?who=ann")
		bob, nobody := d.Connect(tr, "/socket?who=bob"), d.Connect(tr, "/socket")
		for _, s := range []*pondtest.Session{ann1, ann2, bob, nobody} {
			s.Join("/chat/1", nil)
		}
		ann1.Join("/chat/2", nil)
		bob.Send("/chat/1", "say", nil)
		ann1.Expect("said")
		ann2.Expect("said")
		synctest.Wait()
		want := "join ann;join ann;join bob;join ;join ann;event bob;outgoing ann;outgoing ann"
		if got := strings.Join(seen, ";"); got != want {
			t.Errorf("handlers saw %s", got)
		}
		bob.Quiet()
		nobody.Quiet()

		ch, _ := e.Channel("/chat/1")
		for _, who := range []string{"nobody", ""} {
			if err := ch.EvictIdentity(who, ""); !errors.Is(err, pond.ErrNotMember) {
				t.Errorf("EvictIdentity(%q): %v", who, err)
			}
			if err := e.DisconnectIdentity(who, 0, ""); !errors.Is(err, pond.ErrClosed) {
				t.Errorf("DisconnectIdentity(%q): %v", who, err)
			}
		}
		if err := ch.EvictIdentity("ann", "spam"); err != nil || ch.Len() != 2 {
			t.Errorf("EvictIdentity: %v, %d members are left", err, ch.Len())
		}
		ann1.Expect("kicked_out")
		ann2.ReceiveEvent("kicked_out")
		if err := ch.EvictIdentity("ann", "spam"); !errors.Is(err, pond.ErrNotMember) {
			t.Errorf("EvictIdentity again: %v", err)
		}
		ann2.Join("/chat/1", nil) // nothing keeps the person from joining again

		if err := e.DisconnectIdentity("ann", http.StatusForbidden, "banned"); err != nil {
			t.Error(err)
		}
		for _, s := range []*pondtest.Session{ann1, ann2} {
			s.Drain()
			if code, _ := s.Closed(); tr == pondtest.WebSocket && code != 4403 {
				t.Errorf("closed with %d", code)
			}
		}
		synctest.Wait()
		if e.Len() != 2 || ch.Len() != 2 {
			t.Errorf("%d clients, %d members", e.Len(), ch.Len())
		}
		if err := e.DisconnectIdentity("ann", 0, ""); !errors.Is(err, pond.ErrClosed) {
			t.Errorf("DisconnectIdentity again: %v", err)
		}
		bob.Send("/chat/1", "say", nil)
		bob.Drain() // kicked, twice
		bob.Quiet()
	})
}

// DisconnectIdentity includes clients whose connection handler still runs, and forgets
// those that are rejected.
func TestDisconnectIdentityWhileConnecting(t *testing.T) {
	var p *pond.Pond
	var e *pond.Endpoint
	server := func() *pond.Pond {
		p = pond.New(pond.WithLogger(kit.Silent))
		e = p.Endpoint("/socket", func(ctx *pond.ConnectionContext) error {
			if err := ctx.Identify("ann"); err != nil {
				return err
			}
			if ctx.Query().Has("ban") {
				if err := e.DisconnectIdentity("ann", http.StatusForbidden, "banned"); err != nil {
					return err
				}
			}
			if ctx.Query().Has("no") {
				return ctx.Decline(http.StatusTeapot, "")
			}
			return ctx.Accept()
		}, pond.WithMaxConns(2))
		e.Lobby("/chat/:room", kit.Admit)
		return p
	}
	kit.OnBoth(t, server, func(t *testing.T, d *pondtest.Driver, tr pondtest.Transport) {
		for range 3 {
			if r := d.Declined(tr, "/socket?ban&no"); r.StatusCode != http.StatusTeapot {
				t.Errorf("status %d", r.StatusCode)
			}
		}
		if err := e.DisconnectIdentity("ann", 0, ""); !errors.Is(err, pond.ErrClosed) {
			t.Errorf("rejected clients are kept: %v", err)
		}
		s := d.Connect(tr, "/socket?ban")
		if code, _ := s.Closed(); tr == pondtest.WebSocket && code != 4403 {
			t.Errorf("closed with %d", code)
		}
		synctest.Wait()
		if e.Len() != 0 {
			t.Errorf("%d clients", e.Len())
		}
		s = d.Connect(tr, "/socket") // only clients that were connected are disconnected
		s.Join("/chat/1", nil)
	})
}

// The connection handler can replace an identity, but not set an invalid one.
func TestIdentify(t *testing.T) {
	p := pond.New(pond.WithLogger(kit.Silent))
	e := p.Endpoint("/socket", func(ctx *pond.ConnectionContext) error {
		for _, id := range []string{"", strings.Repeat("x", 257), "\xff"} {
			if err := ctx.Identify(id); err == nil || !strings.HasPrefix(err.Error(), "pond: ") {
				t.Errorf("Identify(%.10q...): %v", id, err)
			}
		}
		return errors.Join(ctx.Identify("ann"), ctx.Identify(strings.Repeat("ö", 128)), ctx.Identify("bob"), ctx.Accept())
	})
	e.Lobby("/chat/:room", kit.Admit)
	pondtest.Run(t, p, func(t *testing.T, d *pondtest.Driver) {
		s := d.Connect(pondtest.WebSocket, "/socket")
		s.Join("/chat/1", nil)
		ch, _ := e.Channel("/chat/1")
		u, _ := ch.User(s.ID())
		if u.Identity() != "bob" || (pond.User{}).Identity() != "" {
			t.Errorf("identity %q", u.Identity())
		}
		got := fmt.Sprint(e.DisconnectIdentity("ann", 0, ""), e.DisconnectIdentity("bob", 0, ""))
		if want := fmt.Sprint(pond.ErrClosed, nil); got != want {
			t.Errorf("got %s", got)
		}
	})
}
