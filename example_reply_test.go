package pond_test

import (
	"strings"

	"github.com/pondsocket/pond"
)

func onCount(ctx *pond.EventContext) error {
	var request struct {
		Text string `json:"text"`
	}
	if err := ctx.Bind(&request); err != nil {
		return err
	}
	return ctx.Reply("counted", map[string]int{"words": len(strings.Fields(request.Text))})
}

// A reply goes to the sender alone. It carries the ID of the request, by which
// clients find the question that it answers.
func ExampleEventContext_Reply() {
	p := pond.New()
	lobby := p.Endpoint("/socket", accept).Lobby("/texts/:id", admit)
	lobby.OnMessage("count", onCount)

	v := serve(p, p)
	defer v.close()
	ann := v.connect("Ann", "/socket")
	ann.join("/texts/1")
	ann.send("/texts/1", "count", map[string]string{"text": "to be or not to be"})
	ann.receive()
	// Output:
	// Ann gets SYSTEM ACKNOWLEDGE {}
	// Ann gets SYSTEM counted {"words":6}
}
