package pond_test

import (
	"time"

	"github.com/pondsocket/pond"
)

// Defaults are for all endpoints of a Pond; an endpoint may have its own.
func ExampleWithEndpointDefaults() {
	p := pond.New(pond.WithEndpointDefaults(
		pond.WithMaxMessageSize(16<<10),
		pond.WithPingInterval(20*time.Second),
	))
	chat := p.Endpoint("/socket", accept, pond.WithRateLimit(0.01, 2))
	chat.Lobby("/chat/:room", admit).OnMessage("say", func(ctx *pond.EventContext) error {
		return ctx.Reply("said", nil)
	})
	p.Endpoint("/admin", accept, pond.WithMaxConns(10), pond.WithMaxMessageSize(1<<20))

	v := serve(p, p)
	defer v.close()
	ann := v.connect("Ann", "/socket")
	ann.join("/chat/1") // a message, too
	for range 2 {
		ann.send("/chat/1", "say", nil)
		ann.receive()
	}
	// Output:
	// Ann gets SYSTEM ACKNOWLEDGE {}
	// Ann gets SYSTEM said {}
	// Ann gets ERROR HANDLER_NOT_FOUND {"code":429,"message":"too many messages","status":429,"statusCode":429,"error":{"message":"too many messages","status":429}}
}
