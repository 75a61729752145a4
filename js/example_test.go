package js_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"

	"github.com/pondsocket/pond"
	"github.com/pondsocket/pond/js"
)

func ExampleHandler() {
	p := pond.New()
	p.Endpoint("/socket", func(ctx *pond.ConnectionContext) error { return ctx.Accept() })

	mux := http.NewServeMux()
	mux.Handle("/socket", p)
	mux.Handle("GET /pond.js", js.Handler())

	w := httptest.NewRecorder()
	mux.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/pond.js", http.NoBody))
	fmt.Println(w.Code, w.Header().Get("Content-Type"))
	// Output: 200 text/javascript; charset=utf-8
}
