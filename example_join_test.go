package pond_test

import (
	"net/http"

	"github.com/pondsocket/pond"
)

// enterRoom lets everybody into rooms, but for the one of the staff.
func enterRoom(ctx *pond.JoinContext) error {
	var params struct {
		Badge string `json:"badge"`
	}
	if err := ctx.Bind(&params); err != nil {
		return err // 400: the parameters have another form
	}
	if ctx.Channel().Param("room") == "staff" && params.Badge != "staff" {
		return ctx.Decline(http.StatusForbidden, "staff only")
	}
	return ctx.Accept()
}

// A join handler decides who becomes a member of a channel. The pattern of the
// lobby gives the parameters of the channel's name.
func ExampleEndpoint_Lobby() {
	p := pond.New()
	endpoint := p.Endpoint("/socket", accept)
	endpoint.Lobby("/rooms/:room", enterRoom)

	v := serve(p, p)
	defer v.close()
	ann := v.connect("Ann", "/socket")
	ann.join("/rooms/lounge")
	ann.join("/rooms/staff", map[string]string{"badge": "visitor"})
	ann.join("/rooms/staff", map[string]string{"badge": "staff"})
	// Output:
	// Ann gets SYSTEM ACKNOWLEDGE {}
	// Ann gets SYSTEM UNAUTHORIZED {"code":"UNAUTHORIZED_JOIN_REQUEST","message":"staff only","status":403,"statusCode":403,"error":{"message":"staff only","status":403}}
	// Ann gets SYSTEM ACKNOWLEDGE {}
}
