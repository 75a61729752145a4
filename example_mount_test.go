package pond_test

import (
	"fmt"
	"net/http"

	"github.com/pondsocket/pond"
)

// A Pond is an http.Handler: mount it where you like. Its endpoints are named by
// what is left of the path.
func ExamplePond_ServeHTTP() {
	p := pond.New()
	endpoint := p.Endpoint("/:tenant/socket", func(ctx *pond.ConnectionContext) error {
		fmt.Printf("a client of %q\n", ctx.Param("tenant"))
		return ctx.Accept()
	})

	mux := http.NewServeMux()
	mux.Handle("/realtime/", http.StripPrefix("/realtime", p))
	mux.Handle("GET /widget", endpoint) // an endpoint is a handler of its own

	v := serve(p, mux)
	defer v.close()
	v.connect("Ann", "/realtime/acme/socket")
	v.connect("Bob", "/realtime/elsewhere")
	v.connect("Cid", "/widget")
	// Output:
	// a client of "acme"
	// Bob is declined: 404 no endpoint at this path
	// a client of ""
}
