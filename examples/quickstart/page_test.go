package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/pondsocket/pond"
)

func TestPage(t *testing.T) {
	for path, want := range map[string]string{"/": "<!doctype html>", "/pond.js": "// pond.js"} {
		w := httptest.NewRecorder()
		handler(pond.New()).ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
		body, _ := io.ReadAll(w.Body)
		if w.Code != http.StatusOK || !strings.HasPrefix(string(body), want) {
			t.Errorf("%s: %d %.100s", path, w.Code, body)
		}
	}
}
