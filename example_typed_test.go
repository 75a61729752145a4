package pond_test

import (
	"net/http"

	"github.com/pondsocket/pond"
)

// A Move is what a player sends, and what the others get.
type Move struct {
	From string `json:"from"`
	To   string `json:"to"`
}

// moved names the event once, for handlers and for what they send.
const moved pond.Event[Move] = "move"

func onMove(ctx *pond.EventContext, m Move) error {
	if m.From == m.To {
		return pond.Errorf(http.StatusUnprocessableEntity, "%s is where it is already", m.From)
	}
	return ctx.Broadcast(moved.With(m))
}

// On registers a handler that gets its payload decoded. What does not decode is
// answered with 400, and the handler does not see it.
func ExampleOn() {
	p := pond.New()
	lobby := p.Endpoint("/socket", accept).Lobby("/games/:id", admit)
	pond.On(lobby, moved, onMove)

	v := serve(p, p)
	defer v.close()
	ann := v.connect("Ann", "/socket")
	ann.join("/games/7")
	ann.send("/games/7", "move", Move{"e2", "e4"})
	ann.receive()
	ann.send("/games/7", "move", map[string]int{"from": 52})
	ann.receive()
	// Output:
	// Ann gets SYSTEM ACKNOWLEDGE {}
	// Ann gets BROADCAST move {"from":"e2","to":"e4"}
	// Ann gets ERROR HANDLER_NOT_FOUND {"code":400,"message":"the payload does not have the expected form","status":400,"statusCode":400,"error":{"message":"the payload does not have the expected form","status":400}}
}
