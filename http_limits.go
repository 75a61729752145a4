package pond

import (
	"net/http"
	"strings"
)

// Limits of what a request to connect may contain. Parsed, a query parameter or a
// cookie takes many times the bytes that it has in the request.
const (
	maxQueryParams = 1000
	maxCookies     = 1000
)

// checkSize rejects a request whose query or cookies would cost much more memory
// than they have bytes. It counts and parses nothing.
func checkSize(r *http.Request) error {
	if strings.Count(r.URL.RawQuery, "&") >= maxQueryParams {
		return refuse(http.StatusBadRequest, "too many query parameters")
	}
	cookies := 0
	for _, line := range r.Header["Cookie"] {
		cookies += 1 + strings.Count(line, ";")
	}
	if cookies > maxCookies {
		return refuse(http.StatusBadRequest, "too many cookies")
	}
	return nil
}
