package pond_test

import (
	"errors"

	"github.com/pondsocket/pond"
)

// onType tells the others, and onWhisper one member, whose ID is in the name of
// the event. Both confirm.
func onType(ctx *pond.EventContext) error {
	return errors.Join(ctx.Others().Broadcast("typing", ctx.Payload()), ctx.Reply("ok", nil))
}

func onWhisper(ctx *pond.EventContext) error {
	return errors.Join(ctx.Channel().To(ctx.Param("id")).Broadcast("whisper", ctx.Payload()), ctx.Reply("ok", nil))
}

// One verb and an audience: all members, all but the sender, or some.
func ExampleEventContext_Others() {
	p := pond.New()
	lobby := p.Endpoint("/socket", accept).Lobby("/chat/:room", admit)
	lobby.OnMessage("typing", onType)
	lobby.OnMessage("whisper/:id", onWhisper)

	v := serve(p, p)
	defer v.close()
	ann, bob := v.connect("Ann", "/socket"), v.connect("Bob", "/socket")
	ann.join("/chat/1")
	bob.join("/chat/1")

	ann.send("/chat/1", "typing", map[string]string{"name": "Ann"})
	ann.receive() // only that it is done
	bob.receive()
	ann.send("/chat/1", "whisper/"+bob.id, map[string]string{"text": "hi"})
	ann.receive()
	bob.receive()
	// Output:
	// Ann gets SYSTEM ACKNOWLEDGE {}
	// Bob gets SYSTEM ACKNOWLEDGE {}
	// Ann gets SYSTEM ok {}
	// Bob gets BROADCAST typing {"name":"Ann"}
	// Ann gets SYSTEM ok {}
	// Bob gets BROADCAST whisper {"text":"hi"}
}
