package pond_test

import (
	"net/http"

	"github.com/pondsocket/pond"
)

// Evict ends one membership, Close all of a channel, and Disconnect the
// connection itself.
func ExampleChannel_Evict() {
	p := pond.New()
	endpoint := p.Endpoint("/socket", accept)
	endpoint.Lobby("/chat/:room", admit)

	v := serve(p, p)
	defer v.close()
	ann, bob := v.connect("Ann", "/socket"), v.connect("Bob", "/socket")
	ann.join("/chat/1")
	bob.join("/chat/1")

	chat, _ := endpoint.Channel("/chat/1")
	_ = chat.Evict(bob.id, "spam")
	bob.receive()
	bob.receive() // the same, for other clients
	ann.next()    // that Bob was evicted, with his ID
	chat.Close("closing time")
	ann.receive()
	_ = endpoint.Disconnect(bob.id, http.StatusForbidden, "banned")
	bob.receive()
	// Output:
	// Ann gets SYSTEM ACKNOWLEDGE {}
	// Bob gets SYSTEM ACKNOWLEDGE {}
	// Bob gets SYSTEM kicked_out {"message":"spam","code":403,"reason":"spam"}
	// Bob gets SYSTEM EVICTED {"reason":"spam"}
	// Ann gets ERROR destroyed {"message":"closing time"}
	// Bob is disconnected
}
