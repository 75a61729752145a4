package pond_test

import "github.com/pondsocket/pond"

// An Offer is what is on the market. Only buyers see prices.
type Offer struct {
	Item  string `json:"item"`
	Price int    `json:"price,omitempty"`
}

const offered pond.Event[Offer] = "offer"

func hidePrice(ctx *pond.OutgoingContext) error {
	switch ctx.Get("role") {
	case "buyer":
		return nil // as it is
	case "visitor":
		var offer Offer
		if err := ctx.Bind(&offer); err != nil {
			return err
		}
		offer.Price = 0
		return ctx.Transform(offer)
	default:
		ctx.Block()
		return nil
	}
}

// An OnOutgoing handler runs once for each recipient of an event, and decides
// what that one gets to see.
func ExampleLobby_OnOutgoing() {
	p := pond.New()
	endpoint := p.Endpoint("/socket", func(ctx *pond.ConnectionContext) error {
		ctx.Assign("role", ctx.Query().Get("role"))
		return ctx.Accept()
	})
	lobby := endpoint.Lobby("/market", admit)
	lobby.OnOutgoing("offer", hidePrice)

	v := serve(p, p)
	defer v.close()
	ann := v.connect("Ann", "/socket?role=buyer")
	bob := v.connect("Bob", "/socket?role=visitor")
	ann.join("/market")
	bob.join("/market")

	market, _ := endpoint.Channel("/market")
	if err := market.Broadcast(offered.With(Offer{"lamp", 40})); err != nil {
		panic(err)
	}
	ann.receive()
	bob.receive()
	// Output:
	// Ann gets SYSTEM ACKNOWLEDGE {}
	// Bob gets SYSTEM ACKNOWLEDGE {}
	// Ann gets BROADCAST offer {"item":"lamp","price":40}
	// Bob gets BROADCAST offer {"item":"lamp"}
}
