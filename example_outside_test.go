package pond_test

import (
	"fmt"

	"github.com/pondsocket/pond"
)

// Code outside of handlers finds a live channel by its name: to send from a job
// or an HTTP handler, for example.
func ExampleEndpoint_Channel() {
	p := pond.New()
	endpoint := p.Endpoint("/socket", accept)
	endpoint.Lobby("/orders/:id", admit)

	ship := func(order string) {
		ch, ok := endpoint.Channel("/orders/" + order)
		if !ok {
			fmt.Println("nobody is looking at order", order)
			return
		}
		if err := ch.Broadcast("shipped", nil); err != nil {
			fmt.Println(err)
		}
	}

	v := serve(p, p)
	defer v.close()
	ann := v.connect("Ann", "/socket")
	ann.join("/orders/42")
	ship("42")
	ann.receive()
	ship("43")
	// Output:
	// Ann gets SYSTEM ACKNOWLEDGE {}
	// Ann gets BROADCAST shipped {}
	// nobody is looking at order 43
}
