package docs_test

import (
	"testing"
	"time"

	"github.com/pondsocket/pond"
	"github.com/pondsocket/pond/pondtest"
)

func auth(ctx *pond.ConnectionContext) error { return ctx.Accept() }

func onJoin(ctx *pond.JoinContext) error { return ctx.Accept() }

func onMessage(ctx *pond.EventContext) error { return ctx.Broadcast(ctx.Event(), ctx.Payload()) }

func newChat() *pond.Pond {
	p := pond.New()
	lobby := p.Endpoint("/socket", auth).Lobby("/chat/:room_id", onJoin)
	lobby.OnMessage("message", onMessage)
	lobby.OnLeave(func(ctx *pond.LeaveContext) error { return ctx.Broadcast("left", nil) })
	return p
}

func TestChatInMemory(t *testing.T) {
	for _, tr := range pondtest.Transports {
		t.Run(string(tr), func(t *testing.T) {
			pondtest.Run(t, newChat(), func(t *testing.T, d *pondtest.Driver) {
				ann, bob := d.Connect(tr, "/socket"), d.Connect(tr, "/socket")
				ann.Join("/chat/1", nil)
				bob.Join("/chat/1", nil)
				bob.Close()
				ann.Expect("left")
				time.Sleep(time.Hour) // of heartbeats, in no time
				ann.Quiet()
			})
		})
	}
}
