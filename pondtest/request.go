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

// host is where the server seems to be.
const host = "example.com"

// connectionIDHeader carries the connection ID of an SSE client.
const connectionIDHeader = "X-Connection-ID"

// An Option changes a request of a client before it is sent.
type Option = func(*http.Request)

// Header sets a header, also one that the driver has set.
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

// RemoteAddr sets the address that the client seems to have, such as
// "203.0.113.7:4711". The default is another port of 192.0.2.2 for each
// connection.
func RemoteAddr(addr string) Option {
	return func(r *http.Request) { r.RemoteAddr = addr } // for the driver
}

// Do sends a request to the server, on a connection of its own, and returns the
// answer. Its body can be read without waiting. The URL needs no more than a
// path. A RemoteAddr is the client's, as with [RemoteAddr].
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

// Push sends body the way an SSE client sends a message, and returns the status.
func (d *Driver) Push(s *Session, body []byte) (status int) {
	d.t.Helper()
	return s.ask(http.MethodPost, body).StatusCode
}

// Disconnect asks the server to end the connection of an SSE client, and returns
// the status.
func (d *Driver) Disconnect(s *Session) (status int) {
	d.t.Helper()
	return s.ask(http.MethodDelete, nil).StatusCode
}

// ask sends a request of s that belongs to its connection.
func (s *Session) ask(method string, data []byte) *http.Response {
	s.t.Helper()
	if s.vanished {
		s.fatalf("has vanished, so that nobody answers")
	}
	req := s.driver.request(method, s.target, bytes.NewReader(data), s.opts, func(h http.Header) {
		h.Set(connectionIDHeader, s.ConnectionID())
		if method == http.MethodPost {
			h.Set("Content-Type", "application/json")
		}
	})
	return s.driver.do(req, s.network)
}

// request makes a request with what ask and then the options put into it.
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

// exchange sends req and reads the answer up to its body. What follows on conn
// can be read from the buffer.
func exchange(conn *pipenet.Conn, req *http.Request) (*http.Response, *bufio.Reader, error) {
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return nil, nil, err
	}
	unsent := req.Write(conn) // a server may answer before it has read everything
	buf := bufio.NewReader(conn)
	resp, err := http.ReadResponse(buf, req)
	if err != nil {
		return nil, nil, errors.Join(unsent, fmt.Errorf("no answer: %w", err))
	}
	return resp, buf, nil
}

// readBody replaces the body of resp by a copy in memory.
func readBody(resp *http.Response) error {
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		return fmt.Errorf("answer %s, but its body does not end: %w", resp.Status, err)
	}
	resp.Body = io.NopCloser(bytes.NewReader(data))
	return nil
}

// body returns the text of an answer whose body is in memory.
func body(resp *http.Response) string {
	data, _ := io.ReadAll(resp.Body)
	return strings.TrimSpace(string(data))
}
