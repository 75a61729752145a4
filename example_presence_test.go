package pond_test

import "github.com/pondsocket/pond"

// A Presence is what members see of each other.
type Presence struct {
	Name   string `json:"name"`
	Status string `json:"status"`
}

const wentAway pond.Event[struct{}] = "away"

// Members that are tracked get the list of all who are, with every change.
func ExampleJoinContext_Track() {
	p := pond.New()
	endpoint := p.Endpoint("/socket", func(ctx *pond.ConnectionContext) error {
		ctx.Assign("name", ctx.Query().Get("name"))
		return ctx.Accept()
	})
	lobby := endpoint.Lobby("/office/:floor", func(ctx *pond.JoinContext) error {
		if err := ctx.Accept(); err != nil {
			return err
		}
		name, _ := ctx.Get("name").(string)
		return ctx.Track(Presence{name, "online"})
	})
	pond.On(lobby, wentAway, func(ctx *pond.EventContext, _ struct{}) error {
		name, _ := ctx.Get("name").(string)
		return ctx.Update(Presence{name, "away"})
	})

	v := serve(p, p)
	defer v.close()
	ann := v.connect("Ann", "/socket?name=Ann")
	ann.join("/office/3")
	ann.receive()
	bob := v.connect("Bob", "/socket?name=Bob")
	bob.join("/office/3")
	ann.receive()
	bob.send("/office/3", "away", nil)
	ann.receive()
	bob.disconnect()
	ann.receive()
	// Output:
	// Ann gets SYSTEM ACKNOWLEDGE {}
	// Ann gets PRESENCE JOIN {"presence":[{"name":"Ann","status":"online"}],"changed":{"name":"Ann","status":"online"}}
	// Bob gets SYSTEM ACKNOWLEDGE {}
	// Ann gets PRESENCE JOIN {"presence":[{"name":"Ann","status":"online"},{"name":"Bob","status":"online"}],"changed":{"name":"Bob","status":"online"}}
	// Ann gets PRESENCE UPDATE {"presence":[{"name":"Ann","status":"online"},{"name":"Bob","status":"away"}],"changed":{"name":"Bob","status":"away"}}
	// Ann gets PRESENCE LEAVE {"presence":[{"name":"Ann","status":"online"}],"changed":{"name":"Bob","status":"away"}}
}
