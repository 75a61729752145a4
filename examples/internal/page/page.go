// Package page serves the pages of the examples: their files, the browser client, and the
// style sheet and functions that they share. There is no build step.
package page

import (
	"embed"
	"io/fs"
	"net/http"

	"github.com/pondsocket/pond/js"
)

//go:embed page.js style.css
var shared embed.FS

// Handler serves the folder page of files, and /pond.js, /page.js and /style.css. Its
// security policy does not allow the browser to load or run anything else.
func Handler(files fs.FS) http.Handler {
	own, err := fs.Sub(files, "page")
	if err != nil {
		panic(err) // "page" is a valid path
	}
	mux := http.NewServeMux()
	mux.Handle("/", http.FileServerFS(own))
	mux.Handle("/pond.js", js.Handler())
	mux.Handle("/page.js", http.FileServerFS(shared))
	mux.Handle("/style.css", http.FileServerFS(shared))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "+
			"img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Cache-Control", "no-cache")
		mux.ServeHTTP(w, r)
	})
}
