package pond_test

import (
	"fmt"
	"net/http"

	"github.com/pondsocket/pond"
)

// sessions stands for what knows who is logged in.
var sessions = map[string]string{"s3cr3t": "ann"}

// logIn lets in whoever is logged in, and keeps the name for later handlers.
func logIn(ctx *pond.ConnectionContext) error {
	name, ok := sessions[ctx.Cookies()["session"]]
	if !ok {
		name, ok = sessions[ctx.Query().Get("session")] // for clients without cookies
	}
	if !ok {
		return ctx.Decline(http.StatusUnauthorized, "log in first")
	}
	ctx.Assign("name", name)
	return ctx.Accept()
}

// A connection handler decides who may connect. Who is not accepted is declined.
func ExamplePond_Endpoint() {
	p := pond.New()
	endpoint := p.Endpoint("/socket", logIn)

	v := serve(p, p)
	defer v.close()
	v.connect("Eve", "/socket?session=guess")
	v.connect("Ann", "/socket?session=s3cr3t")
	fmt.Println(endpoint.Len(), "client is connected")
	// Output:
	// Eve is declined: 401 log in first
	// 1 client is connected
}
