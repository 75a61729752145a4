// Package js serves pond.js, the browser client of pond, from the memory of the program.
//
// The package is separate, so that a program that does not import it does not contain the client.
package js

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"net/http"
	"strings"
	"sync"
	"time"
)

//go:embed pond.js
var source []byte

// A representation is the module as one kind of client receives it.
type representation struct {
	body []byte
	etag string
}

func newRepresentation(body []byte) representation {
	sum := sha256.Sum256(body)
	return representation{body, `"` + hex.EncodeToString(sum[:8]) + `"`}
}

var plain = sync.OnceValue(func() representation { return newRepresentation(source) })

var compressed = sync.OnceValue(func() representation {
	var b bytes.Buffer
	w, _ := gzip.NewWriterLevel(&b, gzip.BestCompression) // the level is valid
	_, _ = w.Write(source)                                // a bytes.Buffer does not fail
	_ = w.Close()
	return newRepresentation(b.Bytes())
})

// Handler returns a handler that serves the module at any path:
//
//	mux.Handle("GET /pond.js", js.Handler())
//
// Browsers ask again before they use a cached copy, so that the client always fits the server.
// Modules of other origins may import it.
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
	module := plain()
	if acceptsGzip(r.Header.Values("Accept-Encoding")) {
		module = compressed()
		h.Set("Content-Encoding", "gzip")
	}
	h.Set("ETag", module.etag)
	http.ServeContent(w, r, "pond.js", time.Time{}, bytes.NewReader(module.body))
}

// acceptsGzip reports whether a client names gzip and does not exclude it.
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
