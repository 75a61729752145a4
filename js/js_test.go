package js_test

import (
	"compress/gzip"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/pondsocket/pond/js"
)

func get(t *testing.T, method string, header http.Header) *http.Response {
	t.Helper()
	r := httptest.NewRequest(method, "/any/path/pond.js", http.NoBody)
	r.Header = header
	w := httptest.NewRecorder()
	js.Handler().ServeHTTP(w, r)
	return w.Result()
}

func body(t *testing.T, r io.Reader) string {
	t.Helper()
	text, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func module(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("pond.js")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestHandler(t *testing.T) {
	resp := get(t, http.MethodGet, http.Header{})
	if got := body(t, resp.Body); resp.StatusCode != http.StatusOK || got != module(t) {
		t.Errorf("GET = %d, %d bytes", resp.StatusCode, len(got))
	}
	for name, want := range map[string]string{
		"Content-Type":                 "text/javascript; charset=utf-8",
		"X-Content-Type-Options":       "nosniff",
		"Cache-Control":                "no-cache",
		"Vary":                         "Accept-Encoding",
		"Access-Control-Allow-Origin":  "*",
		"Cross-Origin-Resource-Policy": "cross-origin",
		"Content-Encoding":             "",
	} {
		if got := resp.Header.Get(name); got != want {
			t.Errorf("%s = %q, want %q", name, got, want)
		}
	}
}

func TestHandlerCompresses(t *testing.T) {
	for accept, want := range map[string]bool{
		"gzip": true, "br, GZIP;q=0.5": true, "deflate, gzip": true,
		"": false, "br": false, "gzip;q=0": false, "gzip; q=0.000": false, "xgzip": false,
	} {
		resp := get(t, http.MethodGet, http.Header{"Accept-Encoding": {accept}})
		if got := resp.Header.Get("Content-Encoding") == "gzip"; got != want {
			t.Errorf("%q: compressed = %v, want %v", accept, got, want)
		}
		var r io.Reader = resp.Body
		if want {
			var err error
			if r, err = gzip.NewReader(resp.Body); err != nil {
				t.Fatal(err)
			}
		}
		if body(t, r) != module(t) {
			t.Errorf("%q: another module", accept)
		}
	}
}

func TestHandlerIsCached(t *testing.T) {
	etags := map[string]bool{}
	for _, accept := range []string{"", "gzip"} {
		header := http.Header{"Accept-Encoding": {accept}}
		etag := get(t, http.MethodGet, header).Header.Get("ETag")
		etags[etag] = true
		header.Set("If-None-Match", etag)
		if resp := get(t, http.MethodGet, header); resp.StatusCode != http.StatusNotModified || body(t, resp.Body) != "" {
			t.Errorf("%q: again = %d, want 304", accept, resp.StatusCode)
		}
		header.Set("If-None-Match", `"old"`)
		if resp := get(t, http.MethodGet, header); resp.StatusCode != http.StatusOK {
			t.Errorf("%q: with an old copy = %d, want 200", accept, resp.StatusCode)
		}
	}
	if len(etags) != 2 {
		t.Errorf("ETags = %v, want one for each encoding", etags)
	}
}

func TestHandlerServesBothModules(t *testing.T) {
	for path, file := range map[string]string{
		"/pond.js": "pond.js", "/": "pond.js", "/assets/client.js": "pond.js",
		"/pond-shared.js": "pond-shared.js", "/assets/pond-shared.js": "pond-shared.js",
	} {
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		w := httptest.NewRecorder()
		js.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, http.NoBody))
		if w.Body.String() != string(want) {
			t.Errorf("%s is not %s", path, file)
		}
	}
}

func TestHandlerMethods(t *testing.T) {
	resp := get(t, http.MethodHead, http.Header{})
	if resp.StatusCode != http.StatusOK || body(t, resp.Body) != "" {
		t.Errorf("HEAD = %d", resp.StatusCode)
	}
	resp = get(t, http.MethodPost, http.Header{})
	if resp.StatusCode != http.StatusMethodNotAllowed || !strings.Contains(resp.Header.Get("Allow"), "GET") {
		t.Errorf("POST = %d, Allow %q", resp.StatusCode, resp.Header.Get("Allow"))
	}
}
