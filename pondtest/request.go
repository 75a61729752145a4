package pondtest

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/pondsocket/pond/internal/pipenet"
)

// host is the host of the server's URL.
const host = "example.com"

// connectionIDHeader carries the connection ID of an SSE client.
const connectionIDHeader = "X-Connection-ID"

// An Option changes a request before the client sends it.
type Option = func(*http.Request)

// Header sets a header. It can replace a header that the driver set.
func Header(key, value string) Option {
	return func(r *http.Request) {
		if http.CanonicalHeaderKey(key) == "Host" {
			r.Host = value // net/http ignores the header
			return
		}
		r.Header.Set(key, value)
	}
}

// Cookie adds a cookie.
func Cookie(name, value string) Option {
	return func(r *http.Request) {
		r.AddCookie(&http.Cookie{Name: name, Value: value}) //nolint:gosec // attributes are for responses
	}
}

// Query adds a parameter to the query of the target.
func Query(key, value string) Option {
	return func(r *http.Request) {
		if r.URL.RawQuery != "" {
			r.URL.RawQuery += "&"
		}
		r.URL.RawQuery += url.QueryEscape(key) + "=" + url.QueryEscape(value)
	}
}

// RemoteAddr sets the client address that the server sees, such as
// "203.0.113.7:4711". By default, each connection has its own port of 192.0.2.2.
func RemoteAddr(addr string) Option {
	return func(r *http.Request) { r.RemoteAddr = addr } // used by Driver.dial
}

// Do sends a request to the server on a new connection, and returns the response,
// whose body is in memory. The URL of the request may be just a path. If its
// RemoteAddr is set, it is the client address, as with [RemoteAddr].
func (d *Driver) Do(req *http.Request) *http.Response {
	d.t.Helper()
	return d.do(req, network{})
}

func (d *Driver) do(req *http.Request, n network) *http.Response {
	d.t.Helper()
	req = req.Clone(req.Context())
	if req.URL.Host == "" && req.Host == "" {
		req.Host = host
	}
	req.Close = true
	conn := d.dial(req, n)
	defer conn.Close()
	resp, _, err := exchange(conn, req)
	if err == nil {
		err = readBody(resp)
	}
	if err != nil {
		d.t.Fatalf("pondtest: %s %s: %v", req.Method, req.URL.RequestURI(), err)
	}
	return resp
}

// Push sends body as an SSE client sends a message, and returns the status of the
// response.
func (d *Driver) Push(s *Session, body []byte) (status int) {
	d.t.Helper()
	return s.ask(http.MethodPost, body).StatusCode
}

// Disconnect asks the server to end the connection of an SSE client, and returns
// the status of the response.
func (d *Driver) Disconnect(s *Session) (status int) {
	d.t.Helper()
	return s.ask(http.MethodDelete, nil).StatusCode
}

// ask sends a request that refers to the connection of s.
func (s *Session) ask(method string, data []byte) *http.Response {
	s.t.Helper()
	if s.vanished {
		s.fatalf("vanished, so there is no response")
	}
	req := s.driver.request(method, s.target, bytes.NewReader(data), s.opts, func(h http.Header) {
		h.Set(connectionIDHeader, s.ConnectionID())
		if method == http.MethodPost {
			h.Set("Content-Type", "application/json")
		}
	})
	return s.driver.do(req, s.network)
}

// request makes a request and applies ask and then the options to it.
func (d *Driver) request(method, target string, body io.Reader, opts []Option, ask func(http.Header)) *http.Request {
	d.t.Helper()
	req, err := http.NewRequestWithContext(d.t.Context(), method, "http://"+host+target, body)
	if err != nil {
		d.t.Fatalf("pondtest: %v", err)
	}
	ask(req.Header)
	for _, opt := range opts {
		opt(req)
	}
	return req
}

// exchange sends req and reads the headers of the response. The returned reader
// continues with the data after them.
func exchange(conn *pipenet.Conn, req *http.Request) (*http.Response, *bufio.Reader, error) {
	if err := conn.SetDeadline(time.Now().Add(timeout)); err != nil {
		return nil, nil, err
	}
	unsent := req.Write(conn) // a server may respond before it reads the whole request
	buf := bufio.NewReader(conn)
	resp, err := http.ReadResponse(buf, req)
	if err != nil {
		return nil, nil, errors.Join(unsent, fmt.Errorf("no response: %w", err))
	}
	return resp, buf, nil
}

// readBody replaces the body of resp with a copy in memory.
func readBody(resp *http.Response) error {
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		return fmt.Errorf("response %s, but its body is incomplete: %w", resp.Status, err)
	}
	resp.Body = io.NopCloser(bytes.NewReader(data))
	return nil
}

// body returns the text of a response whose body is in memory.
func body(resp *http.Response) string {
	data, _ := io.ReadAll(resp.Body)
	return strings.TrimSpace(string(data))
}
