package pond_test

import (
	"context"
	"fmt"
	"net/http"

	"github.com/pondsocket/pond"
)

// noted is a middleware for the handlers of all five contexts.
func noted[C context.Context](next pond.Handler[C]) pond.Handler[C] {
	return func(ctx C) error {
		err := next(ctx)
		fmt.Printf("%T: %v\n", ctx, err)
		return err
	}
}

// only is a middleware for events that requires a role.
func only(role string) pond.Middleware[*pond.EventContext] {
	return func(next pond.Handler[*pond.EventContext]) pond.Handler[*pond.EventContext] {
		return func(ctx *pond.EventContext) error {
			if ctx.Get("role") != role {
				return pond.Errorf(http.StatusForbidden, "only for a %s", role)
			}
			return next(ctx)
		}
	}
}

// A middleware is a function that wraps a handler, as is common with net/http. The
// first middleware in a chain runs first.
func ExampleChain() {
	p := pond.New()
	endpoint := p.Endpoint("/socket", pond.Chain(accept, noted[*pond.ConnectionContext]))
	lobby := endpoint.Lobby("/chat/:room", pond.Chain(admit, noted[*pond.JoinContext]))
	wipe := func(ctx *pond.EventContext) error { return ctx.Broadcast("cleared", nil) }
	lobby.OnMessage("clear", pond.Chain(wipe, noted[*pond.EventContext], only("moderator")))

	v := serve(p, p)
	defer v.close()
	ann := v.connect("Ann", "/socket")
	ann.post("JOIN_CHANNEL", "/chat/1", "", nil)
	ann.next()
	ann.send("/chat/1", "clear", nil)
	ann.next()
	// Output:
	// *pond.ConnectionContext: <nil>
	// *pond.JoinContext: <nil>
	// *pond.EventContext: 403 only for a moderator
}
