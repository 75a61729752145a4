package server_test

import (
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pondsocket/pond"
	"github.com/pondsocket/pond/internal/suite/kit"
	"github.com/pondsocket/pond/pondtest"
)

// identify accepts every client as the person that its query names.
func identify(ctx *pond.ConnectionContext) error {
	if who := ctx.Query().Get("who"); who != "" {
		if err := ctx.Identify(who); err != nil {
			return err
		}
	}
	return ctx.Accept()
}

// A person has no more connections than the limit, over both transports together. Other
// persons, and clients without an identity, are not affected.
func TestMaxConnsPerIdentity(t *testing.T) {
	var met kit.Limits
	p := pond.New(met.Observer())
	p.Endpoint("/socket", identify, pond.WithMaxConnsPerIdentity(2), pond.WithJoinByURL()).Lobby("/chat/:room", kit.Admit)
	pondtest.Run(t, p, func(t *testing.T, d *pondtest.Driver) {
		a, b := d.Connect(pondtest.WebSocket, "/socket?who=ann"), d.Connect(pondtest.SSE, "/socket?who=ann")
		for _, tr := range pondtest.Transports {
			r := d.Declined(tr, "/socket?who=ann")
			if r.StatusCode != http.StatusTooManyRequests || r.Header.Get("Retry-After") == "" {
				t.Errorf("%s: status %d, %v", tr, r.StatusCode, r.Header)
			}
			d.Connect(tr, "/socket?who=bob")
			for range 3 {
				d.Connect(tr, "/socket")
			}
		}
		// An EventSource would give up after a 429.
		r := d.Do(kit.Request("GET", "/socket?who=ann&join=/chat/1", "", "Accept: text/event-stream"))
		if body := kit.ReadAll(t, r); r.StatusCode != http.StatusOK || body[:7] != "retry: " {
			t.Errorf("status %d, %q", r.StatusCode, body)
		}
		if n := met.Of(pond.LimitIdentity); n != 3 {
			t.Errorf("observed %d", n)
		}
		for _, s := range []*pondtest.Session{a, b} {
			s.Close()
			synctest.Wait()
			d.Connect(pondtest.WebSocket, "/socket?who=ann")
		}
	})
}

// The limit is exact if all clients of a person connect at the same time.
func TestMaxConnsPerIdentityIsExact(t *testing.T) {
	const limit, attempts = 5, 50
	p := pond.New()
	p.Endpoint("/socket", func(ctx *pond.ConnectionContext) error {
		if err := identify(ctx); err != nil {
			return err
		}
		time.Sleep(time.Second) // until all clients have sent their requests
		return nil
	}, pond.WithMaxConnsPerIdentity(limit))
	pondtest.Run(t, p, func(t *testing.T, d *pondtest.Driver) {
		var wg sync.WaitGroup
		var accepted, rejected atomic.Int32
		for range attempts {
			req := kit.Request("GET", "/socket?who=ann", "", "Connection: Upgrade", "Upgrade: websocket",
				"Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==")
			wg.Go(func() {
				switch d.Do(req).StatusCode {
				case http.StatusSwitchingProtocols:
					accepted.Add(1)
				case http.StatusTooManyRequests:
					rejected.Add(1)
				}
			})
		}
		wg.Wait()
		if accepted.Load() != limit || rejected.Load() != attempts-limit {
			t.Errorf("%d accepted, %d rejected", accepted.Load(), rejected.Load())
		}
	})
}

// A handler that ignores the error of Identify does not accept a client beyond the
// limit. Clients that are rejected, by the limit or by the handler, take no slot, and a
// client that gets another identity takes a slot of that one only.
func TestMaxConnsPerIdentityAfterIdentify(t *testing.T) {
	server := func() *pond.Pond {
		p := pond.New(pond.WithLogger(kit.Silent))
		p.Endpoint("/socket", func(ctx *pond.ConnectionContext) error {
			for _, who := range ctx.Query()["who"] {
				_ = ctx.Identify(who)
			}
			switch {
			case ctx.Query().Has("decline"):
				return ctx.Decline(http.StatusTeapot, "")
			case ctx.Query().Has("panic"):
				panic("no")
			}
			return ctx.Accept()
		}, pond.WithMaxConnsPerIdentity(1))
		return p
	}
	kit.OnBoth(t, server, func(t *testing.T, d *pondtest.Driver, tr pondtest.Transport) {
		for target, want := range map[string]int{"?who=ann&decline": http.StatusTeapot, "?who=ann&panic": http.StatusInternalServerError} {
			for range 3 {
				if r := d.Declined(tr, "/socket"+target); r.StatusCode != want {
					t.Errorf("%s: status %d", target, r.StatusCode)
				}
			}
		}
		d.Connect(tr, "/socket?who=ann&who=ann&who=bob&who=") // an empty identity changes nothing
		ann := d.Connect(tr, "/socket?who=ann")
		for _, target := range []string{"?who=ann", "?who=bob", "?who=bob&who=ann", "?who=&who=ann"} {
			if r := d.Declined(tr, "/socket"+target); r.StatusCode != http.StatusTooManyRequests {
				t.Errorf("%s: status %d", target, r.StatusCode)
			}
		}
		d.Connect(tr, "/socket?who=ann&who=cid")
		if r := d.Declined(tr, "/socket?who=ann&decline"); r.StatusCode != http.StatusTeapot || r.Header.Get("Retry-After") != "" {
			t.Errorf("status %d, %v", r.StatusCode, r.Header)
		}
		ann.Close()
		synctest.Wait()
		d.Connect(tr, "/socket?who=ann")
	})
}

// A slot is free when the network connection is closed, which is not when the server
// decides to close it, and when the last handler returned.
func TestMaxConnsPerIdentityUntilClosed(t *testing.T) {
	var e *pond.Endpoint
	server := func() *pond.Pond {
		p := pond.New()
		e = p.Endpoint("/socket", identify, pond.WithMaxConnsPerIdentity(1), pond.WithCloseTimeout(5*time.Second))
		e.Lobby("/chat/:room", kit.Admit).OnLeave(func(*pond.LeaveContext) error {
			time.Sleep(time.Hour)
			return nil
		})
		return p
	}
	kit.OnBoth(t, server, func(t *testing.T, d *pondtest.Driver, tr pondtest.Transport) {
		full := func(when string) {
			t.Helper()
			if r := d.Declined(tr, "/socket?who=ann"); r.StatusCode != http.StatusTooManyRequests {
				t.Errorf("%s: status %d", when, r.StatusCode)
			}
		}
		s := d.Connect(tr, "/socket?who=ann")
		if tr == pondtest.WebSocket {
			s.Vanish() // the close frame is not answered
			if err := e.DisconnectIdentity("ann", 0, ""); err != nil {
				t.Error(err)
			}
			time.Sleep(4 * time.Second)
			full("before the socket is closed")
			time.Sleep(2 * time.Second)
			s = d.Connect(tr, "/socket?who=ann")
		}
		s.Join("/chat/1", nil)
		s.Reset()
		time.Sleep(time.Minute)
		full("while a leave handler runs")
		time.Sleep(time.Hour)
		d.Connect(tr, "/socket?who=ann")
	})
}
