package pondclient

import (
	"context"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// request returns a request to the endpoint.
func (c *Client) request(ctx context.Context, method, token string, body io.Reader) *http.Request {
	u := *c.url
	header := c.cfg.header.Clone()
	if header == nil {
		header = http.Header{}
	}
	switch {
	case token == "":
	case c.cfg.parameter != "":
		query := u.Query()
		query.Set(c.cfg.parameter, token)
		u.RawQuery = query.Encode()
	default:
		header.Set("Authorization", "Bearer "+token)
	}
	req, err := http.NewRequestWithContext(ctx, method, u.String(), body)
	if err != nil {
		// The URL was parsed before and the methods are constants, so this does not happen.
		req = (&http.Request{Method: method, URL: &u, Body: http.NoBody}).WithContext(ctx)
	}
	req.Header = header
	if host := header.Get("Host"); host != "" {
		req.Host = host
	}
	return req
}

// withoutURL returns an error of net/http without the URL, which may contain a
// token.
func withoutURL(err error) error {
	if e, ok := errors.AsType[*url.Error](err); ok {
		return e.Err
	}
	return err
}

// maxReason limits the text of a rejection in bytes.
const maxReason = 200

// refusal returns the reason why a server rejected a request, and closes the response.
func refusal(t Transport, resp *http.Response) *ConnectionError {
	defer resp.Body.Close()
	e := &ConnectionError{Transport: t, Status: resp.StatusCode, RetryAfter: retryAfter(resp.Header), reached: true}
	if media, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type")); media == "text/plain" { // not the page of a proxy
		text, _ := io.ReadAll(io.LimitReader(resp.Body, maxReason))
		e.Reason = printable(text)
	}
	return e
}

// printable returns the start of a text, as one line.
func printable(text []byte) string {
	s := strings.ToValidUTF8(string(text), string(utf8.RuneError))
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, s)
	return strings.TrimSpace(s)
}

// retryAfter returns the delay in a header. If it is a date, it is compared with the
// server's date, not with the local clock.
func retryAfter(h http.Header) time.Duration {
	value := h.Get("Retry-After")
	if seconds, err := strconv.Atoi(value); err == nil || errors.Is(err, strconv.ErrRange) {
		return time.Duration(min(max(seconds, 0), int(maxAdvice.Seconds()))) * time.Second
	}
	at, err := http.ParseTime(value)
	if err != nil {
		return 0
	}
	now, err := http.ParseTime(h.Get("Date"))
	if err != nil {
		now = time.Now()
	}
	return min(max(at.Sub(now), 0), maxAdvice)
}

// maxAdvice limits the delay that a server can advise.
const maxAdvice = 10 * time.Minute
