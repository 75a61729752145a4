package pond_test

import "github.com/pondsocket/pond"

// What one handler assigns, later ones get. No client ever sees it, and what is
// assigned in one channel is unknown in the others.
func ExampleEventContext_Assign() {
	p := pond.New()
	endpoint := p.Endpoint("/socket", func(ctx *pond.ConnectionContext) error {
		ctx.Assign("plan", "free") // for all channels that the client will join
		return ctx.Accept()
	})
	lobby := endpoint.Lobby("/docs/:id", func(ctx *pond.JoinContext) error {
		if ctx.Channel().Len() == 0 {
			ctx.Assign("role", "owner") // in this channel: the first one owns it
		}
		return ctx.Accept()
	})
	lobby.OnMessage("edit", func(ctx *pond.EventContext) error {
		edits, _ := ctx.Get("edits").(int)
		if err := ctx.Assign("edits", edits+1); err != nil {
			return err
		}
		return ctx.Reply("edited", map[string]any{
			"plan": ctx.Get("plan"), "role": ctx.Get("role"), "edits": ctx.Get("edits"),
		})
	})

	v := serve(p, p)
	defer v.close()
	ann, bob := v.connect("Ann", "/socket"), v.connect("Bob", "/socket")
	ann.join("/docs/1")
	bob.join("/docs/1")
	for _, g := range []*guest{ann, ann, bob} {
		g.send("/docs/1", "edit", nil)
		g.receive()
	}
	// Output:
	// Ann gets SYSTEM ACKNOWLEDGE {}
	// Bob gets SYSTEM ACKNOWLEDGE {}
	// Ann gets SYSTEM edited {"edits":1,"plan":"free","role":"owner"}
	// Ann gets SYSTEM edited {"edits":2,"plan":"free","role":"owner"}
	// Bob gets SYSTEM edited {"edits":1,"plan":"free","role":null}
}
