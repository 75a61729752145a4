package main

import (
	"embed"
	"io/fs"
	"net/http"
	"path"

	"github.com/pondsocket/pond/js"
)

//go:embed demo
var demoFiles embed.FS

// contentTypes maps extensions to content types. Browsers do not run a module with
// another type, and the types that package mime returns depend on the machine.
var contentTypes = map[string]string{
	"":      "text/html; charset=utf-8",
	".css":  "text/css; charset=utf-8",
	".html": "text/html; charset=utf-8",
	".js":   "text/javascript; charset=utf-8",
	".svg":  "image/svg+xml",
}

// page serves the files of the demo. The security policy does not allow the browser
// to load or run anything else.
func page() http.Handler {
	root, err := fs.Sub(demoFiles, "demo")
	if err != nil {
		panic(err) // the folder is part of the program
	}
	files, client := http.FileServerFS(root), js.Handler()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "+
			"connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Cache-Control", "no-cache")
		if contentType, ok := contentTypes[path.Ext(r.URL.Path)]; ok {
			h.Set("Content-Type", contentType)
		}
		if r.URL.Path == "/pond.js" {
			client.ServeHTTP(w, r)
			return
		}
		files.ServeHTTP(w, r)
	})
}
