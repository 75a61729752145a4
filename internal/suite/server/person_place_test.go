package server_test

import (
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pondsocket/pond"
	"github.com/pondsocket/pond/internal/suite/kit"
	"github.com/pondsocket/pond/pondtest"
)

// A place is given back when the join of an event stream's URL is declined, in whatever way.
func TestMaxConnsPerIdentityAfterADeclinedURL(t *testing.T) {
	p := pond.New(pond.WithLogger(kit.Silent))
	e := p.Endpoint("/socket", identify, pond.WithMaxConnsPerIdentity(1), pond.WithJoinByURL())
	e.Lobby("/no/:room", func(ctx *pond.JoinContext) error { return ctx.Decline(http.StatusTeapot, "") })
	e.Lobby("/panic/:room", func(*pond.JoinContext) error { panic("no") })
	e.Lobby("/drop/:room", func(ctx *pond.JoinContext) error {
		_ = e.DisconnectIdentity("ann", 0, "")
		<-ctx.Done()
		return ctx.Accept()
	})
	e.Lobby("/hook/:room", kit.Admit, pond.WithLeaveGrace(1)).OnIdentityJoin(func(*pond.JoinContext) error { panic("no") })
	pondtest.Run(t, p, func(t *testing.T, d *pondtest.Driver) {
		for _, name := range []string{"/no/1", "/panic/1", "/hook/1", "/none/1", "/drop/1"} {
			for range 3 {
				r := d.Do(kit.Request("GET", "/socket?who=ann&join="+name, "", "Accept: text/event-stream"))
				kit.ReadAll(t, r)
				if name != "/drop/1" && r.StatusCode == http.StatusOK {
					t.Errorf("%s: accepted", name)
				}
				synctest.Wait()
			}
			s := d.Connect(pondtest.WebSocket, "/socket?who=ann")
			s.Close()
			synctest.Wait()
		}
	})
}

// Code that calls Identify after the handler returned, such as one that a middleware gave
// up, gets an error. It takes no place, which nothing would give back.
func TestIdentifyAfterTheHandler(t *testing.T) {
	errs := make(chan error, 1)
	server := func() *pond.Pond {
		p := pond.New()
		p.Endpoint("/socket", func(ctx *pond.ConnectionContext) error {
			if !ctx.Query().Has("late") {
				return identify(ctx)
			}
			go func() { time.Sleep(time.Second); errs <- ctx.Identify("ann") }()
			if ctx.Query().Has("accept") {
				return ctx.Accept()
			}
			return ctx.Decline(http.StatusTeapot, "")
		}, pond.WithMaxConnsPerIdentity(1))
		return p
	}
	kit.OnBoth(t, server, func(t *testing.T, d *pondtest.Driver, tr pondtest.Transport) {
		errs = make(chan error, 1)
		d.Declined(tr, "/socket?late")
		if <-errs == nil {
			t.Error("a late call for a rejected client succeeded")
		}
		d.Connect(tr, "/socket?late&accept")
		if <-errs == nil {
			t.Error("a late call for an accepted client succeeded")
		}
		d.Connect(tr, "/socket?who=ann")
	})
}
