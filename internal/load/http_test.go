package load

import (
	"bufio"
	"io"
	"net/http"
	"strings"
	"testing"
)

func TestRequestsAreHTTP(t *testing.T) {
	b := appendOpening(nil, WebSocket, "example.com", Request{"/socket?v=1", "X-A: b\r\n"})
	b = appendOpening(b, SSE, "example.com", Request{Path: "/socket"})
	b = appendPost(b, "example.com", Request{"/socket", "X-A: c\r\n"}, []byte("body"))
	r := bufio.NewReader(strings.NewReader(string(b)))
	for _, tt := range []struct {
		method, uri, key, value, body string
	}{
		{"GET", "/socket?v=1", "Upgrade", "websocket", ""},
		{"GET", "/socket", "Accept", "text/event-stream", ""},
		{"POST", "/socket", "X-A", "c", "body"},
	} {
		req, err := http.ReadRequest(r)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(req.Body)
		if err != nil || string(body) != tt.body {
			t.Errorf("body %q, %v, want %q", body, err, tt.body)
		}
		if req.Method != tt.method || req.RequestURI != tt.uri || req.Host != "example.com" || req.Header.Get(tt.key) != tt.value {
			t.Errorf("%s %s to %s with %v, want %s %s with %s: %s",
				req.Method, req.RequestURI, req.Host, req.Header, tt.method, tt.uri, tt.key, tt.value)
		}
	}
	if n := r.Buffered(); n > 0 {
		t.Errorf("%d bytes are left", n)
	}
}

func TestResponsesComeInPieces(t *testing.T) {
	responses := []string{
		"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbody",
		"HTTP/1.1 204 No Content\r\n\r\n",
		"HTTP/1.1 401 Who\r\ntransfer-encoding:  Chunked\r\n\r\n" + inChunks("0\r\n\r\n", "more"),
		"HTTP/1.0 304 Not Modified\r\n\r\n",
	}
	b := []byte(strings.Join(responses, ""))
	for i, status := range []int{200, 204, 401, 304} {
		for cut := range len(responses[i]) {
			if _, n, err := nextResponse(b[:cut]); n != 0 || err != nil {
				t.Errorf("%q: %d, %v", b[:cut], n, err)
			}
		}
		h, n, err := nextResponse(b)
		if err != nil || n != len(responses[i]) || h.status != status {
			t.Fatalf("%q: status %d, %d bytes, %v", b, h.status, n, err)
		}
		b = b[n:]
	}
	for _, bad := range []string{
		"SSH-2.0-x\r\n\r\n", "HTTP/2 200\r\n\r\n", "HTTP/1.1 OK\r\n\r\n", "HTTP/1.1 200 OK\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", strings.Repeat("x", 65<<10),
	} {
		if _, n, err := nextResponse([]byte(bad)); err == nil {
			t.Errorf("%.40q: %d bytes, no error", bad, n)
		}
	}
}

func TestAccepts(t *testing.T) {
	for _, tt := range []struct {
		transport Transport
		head      string
		want      string // in the error
	}{
		{WebSocket, "101 Switching Protocols\r\nSEC-WEBSOCKET-ACCEPT: " + handshakeAccept, ""},
		{WebSocket, "101 Switching Protocols\r\nSec-WebSocket-Accept: x", "101 Switching"},
		{WebSocket, "403 Forbidden", "403 Forbidden"},
		{WebSocket, "200 OK\r\nContent-Type: text/event-stream", "200 OK"},
		{SSE, "200 OK\r\nContent-Type: text/event-stream", ""},
		{SSE, "200 OK\r\ncontent-type: Text/Event-Stream; charset=utf-8", ""},
		{SSE, "200 OK\r\nContent-Type: text/html; charset=utf-8", `"text/html" instead of an event stream`},
		{SSE, "503 Service Unavailable\r\nContent-Type: text/event-stream", "503"},
	} {
		h, _, err := nextHead([]byte("HTTP/1.1 " + tt.head + "\r\n\r\n"))
		if err != nil {
			t.Fatal(err)
		}
		err = h.accepts(tt.transport)
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s, %q: %v, want %q", tt.transport, tt.head, err, tt.want)
		}
	}
}
