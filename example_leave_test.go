package pond_test

import "github.com/pondsocket/pond"

// A leave handler runs once for each membership, whatever ended it. The member
// is out already: what is broadcast goes to those who remain.
func ExampleLobby_OnLeave() {
	p := pond.New()
	lobby := p.Endpoint("/socket", accept).Lobby("/chat/:room", admit)
	lobby.OnLeave(func(ctx *pond.LeaveContext) error {
		return ctx.Broadcast("left", map[string]string{"why": string(ctx.Reason()), "detail": ctx.Detail()})
	})
	lobby.OnMessage("kick/:id", func(ctx *pond.EventContext) error {
		return ctx.Channel().Evict(ctx.Param("id"), "spam")
	})

	v := serve(p, p)
	defer v.close()
	ann := v.connect("Ann", "/socket")
	ann.join("/chat/1")
	asks, closes, spams := v.connect("Bob", "/socket"), v.connect("Cid", "/socket"), v.connect("Dan", "/socket")
	for _, g := range []*guest{asks, closes, spams} {
		g.join("/chat/1")
	}

	asks.leave("/chat/1")
	ann.receive()
	closes.disconnect()
	ann.receive()
	ann.send("/chat/1", "kick/"+spams.id, nil)
	ann.next() // that somebody was evicted, and why
	ann.receive()
	// Output:
	// Ann gets SYSTEM ACKNOWLEDGE {}
	// Bob gets SYSTEM ACKNOWLEDGE {}
	// Cid gets SYSTEM ACKNOWLEDGE {}
	// Dan gets SYSTEM ACKNOWLEDGE {}
	// Ann gets BROADCAST left {"detail":"","why":"explicit_leave"}
	// Ann gets BROADCAST left {"detail":"","why":"connection_closed"}
	// Ann gets BROADCAST left {"detail":"spam","why":"evicted"}
}
