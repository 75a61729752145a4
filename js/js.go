// Package js serves pond.js, the browser client of pond, from the memory of the program.
//
// The package is separate, so that only programs that import it contain the client.
package js

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"net/http"
	"path"
	"strings"
	"sync"
	"time"
)

//go:embed pond.js
var source []byte

//go:embed pond-shared.js
var sharedSource []byte

// A representation is a module in one encoding.
type representation struct {
	body []byte
	etag string
}

func newRepresentation(body []byte) representation {
	sum := sha256.Sum256(body)
	return representation{body, `"` + hex.EncodeToString(sum[:8]) + `"`}
}

// A module has several representations. Each is created when the first client requests
// it.
type module struct {
	plain, compressed func() representation
}

func newModule(source []byte) module {
	return module{
		plain: sync.OnceValue(func() representation { return newRepresentation(source) }),
		compressed: sync.OnceValue(func() representation {
			var b bytes.Buffer
			w, _ := gzip.NewWriterLevel(&b, gzip.BestCompression) // the level is valid
			_, _ = w.Write(source)                                // a bytes.Buffer does not fail
			_ = w.Close()
			return newRepresentation(b.Bytes())
		}),
	}
}

var (
	client = newModule(source)
	shared = newModule(sharedSource)
)

// Handler returns a handler that serves the module pond.js at any path. If the last
// segment of the path is pond-shared.js, it serves the module that shares a connection
// between tabs:
//
//	mux.Handle("GET /pond.js", js.Handler())
//	mux.Handle("GET /pond-shared.js", js.Handler())
//
// Browsers revalidate a cached copy before they use it, so that the client always has
// the version of the server. Pages of other origins may import the module.
func Handler() http.Handler {
	return http.HandlerFunc(serve)
}

func serve(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "this method is not allowed", http.StatusMethodNotAllowed)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "text/javascript; charset=utf-8")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Access-Control-Allow-Origin", "*")
	h.Set("Cross-Origin-Resource-Policy", "cross-origin")
	h.Set("Cache-Control", "no-cache")
	h.Add("Vary", "Accept-Encoding")
	name, m := "pond.js", client
	if path.Base(r.URL.Path) == "pond-shared.js" {
		name, m = "pond-shared.js", shared
	}
	body := m.plain
	if acceptsGzip(r.Header.Values("Accept-Encoding")) {
		body = m.compressed
		h.Set("Content-Encoding", "gzip")
	}
	h.Set("ETag", body().etag)
	http.ServeContent(w, r, name, time.Time{}, bytes.NewReader(body().body))
}

// acceptsGzip reports whether a client accepts gzip.
func acceptsGzip(values []string) bool {
	for coding := range strings.SplitSeq(strings.Join(values, ","), ",") {
		name, parameter, _ := strings.Cut(coding, ";")
		if strings.EqualFold(strings.TrimSpace(name), "gzip") {
			quality := strings.ReplaceAll(parameter, " ", "")
			return strings.TrimRight(quality, "0") != "q=" && strings.TrimRight(quality, "0") != "q=0."
		}
	}
	return false
}
