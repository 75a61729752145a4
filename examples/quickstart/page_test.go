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
	w := httptest.NewRecorder()
	handler(pond.New()).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
	body, _ := io.ReadAll(w.Body)
	if w.Code != http.StatusOK || !strings.HasPrefix(string(body), "<!doctype html>") {
		t.Errorf("%d %s", w.Code, body)
	}
}
