package server_test

import (
	"net/http"
	"testing"
	"testing/synctest"

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
				body := kit.ReadAll(t, r)
				t.Logf("%s: %d %q", name, r.StatusCode, body)
				if name != "/drop/1" && r.StatusCode == 200 {
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
