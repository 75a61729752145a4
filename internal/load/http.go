package load

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// The key of every handshake and the expected answer, from RFC 6455 section 1.3. The
// key need not be random, because there are no caches to protect.
const (
	handshakeKey    = "dGhlIHNhbXBsZSBub25jZQ=="
	handshakeAccept = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
)

// appendOpening appends the request that connects a client.
func appendOpening(dst []byte, t Transport, host string, r Request) []byte {
	dst = fmt.Appendf(dst, "GET %s HTTP/1.1\r\nHost: %s\r\n", r.Path, host)
	if t == WebSocket {
		dst = append(dst, "Connection: Upgrade\r\nUpgrade: websocket\r\n"+
			"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: "+handshakeKey+"\r\n"...)
	} else {
		dst = append(dst, "Accept: text/event-stream\r\n"...)
	}
	return append(append(dst, r.Header...), "\r\n"...)
}

// appendPost appends a request that carries a message.
func appendPost(dst []byte, host string, r Request, message []byte) []byte {
	dst = append(append(append(dst, "POST "...), r.Path...), " HTTP/1.1\r\nHost: "...)
	dst = append(append(append(dst, host...), "\r\n"...), r.Header...)
	dst = strconv.AppendInt(append(dst, "Content-Length: "...), int64(len(message)), 10)
	return append(append(dst, "\r\n\r\n"...), message...)
}

var errHead = errors.New("the server did not send a valid HTTP/1.1 response")

// A head is the status line and the headers of an HTTP response.
type head struct {
	status int
	line   string // the status line
	fields string
}

// nextHead parses the head at the start of b and returns its size n, or 0 if the head
// is incomplete.
func nextHead(b []byte) (h head, n int, err error) {
	end := bytes.Index(b, []byte("\r\n\r\n"))
	if end < 0 {
		if len(b) > 64<<10 {
			return h, 0, errHead
		}
		return h, 0, nil
	}
	h.line, h.fields, _ = strings.Cut(string(b[:end+2]), "\r\n")
	version, status, _ := strings.Cut(h.line, " ")
	status, _, _ = strings.Cut(status, " ")
	if h.status, err = strconv.Atoi(status); err != nil || !strings.HasPrefix(version, "HTTP/1.") {
		return h, 0, errHead
	}
	return h, end + 4, nil
}

// field returns the first field with the given name, or "".
func (h head) field(name string) string {
	for line := range strings.SplitSeq(h.fields, "\r\n") {
		key, value, _ := strings.Cut(line, ":")
		if strings.EqualFold(key, name) {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

func (h head) chunked() bool { return strings.EqualFold(h.field("Transfer-Encoding"), "chunked") }

// accepts returns an error unless the response accepts the connection.
func (h head) accepts(t Transport) error {
	switch {
	case t == WebSocket && h.status == 101 && h.field("Sec-WebSocket-Accept") == handshakeAccept:
		return nil
	case t == SSE && h.status == 200:
		kind, _, _ := strings.Cut(h.field("Content-Type"), ";")
		if strings.EqualFold(strings.TrimSpace(kind), "text/event-stream") {
			return nil
		}
		return fmt.Errorf("the server responded with %q instead of an event stream", kind)
	}
	return fmt.Errorf("the server responded %q", h.line)
}

// nextResponse parses the response at the start of b and returns its size n, or 0 if
// the response is incomplete.
func nextResponse(b []byte) (h head, n int, err error) {
	h, n, err = nextHead(b)
	switch {
	case n == 0 || h.status == 204 || h.status == 304:
		return h, n, err
	case h.chunked():
		size, err := chunkedSize(b[n:])
		if size == 0 {
			return h, 0, err
		}
		return h, n + size, nil
	}
	length, err := strconv.Atoi(h.field("Content-Length"))
	if err != nil || length < 0 {
		return h, 0, errHead
	}
	if len(b) < n+length {
		return h, 0, nil
	}
	return h, n + length, nil
}
