package pond_test

import "github.com/pondsocket/pond"

// Ann and Bob meet in a room. What one says, both get.
func Example() {
	p := pond.New()
	endpoint := p.Endpoint("/socket", func(ctx *pond.ConnectionContext) error { return ctx.Accept() })
	lobby := endpoint.Lobby("/chat/:room", func(ctx *pond.JoinContext) error { return ctx.Accept() })
	lobby.OnMessage("say", func(ctx *pond.EventContext) error {
		return ctx.Broadcast("said", ctx.Payload())
	})

	v := serve(p, p) // a test's server: see http.ListenAndServe, or Pond.ListenAndServe
	defer v.close()
	ann, bob := v.connect("Ann", "/socket"), v.connect("Bob", "/socket")
	ann.join("/chat/42")
	bob.join("/chat/42")
	ann.send("/chat/42", "say", map[string]string{"text": "hi"})
	ann.receive()
	bob.receive()
	// Output:
	// Ann gets SYSTEM ACKNOWLEDGE {}
	// Bob gets SYSTEM ACKNOWLEDGE {}
	// Ann gets BROADCAST said {"text":"hi"}
	// Bob gets BROADCAST said {"text":"hi"}
}
