package attack_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pondsocket/pond"
	"github.com/pondsocket/pond/internal/suite/kit"
)

// A fuzzStream is an open event stream of a real server.
type fuzzStream struct {
	server  http.Handler
	id      string
	events  *bufio.Reader
	request int
}

func newFuzzStream(f *testing.F) *fuzzStream {
	p, _, _ := kit.NewPond()
	server := httptest.NewServer(p)
	f.Cleanup(server.Close)
	conn, err := net.Dial("tcp", server.Listener.Addr().String())
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { conn.Close() })
	_, _ = io.WriteString(conn, "GET /socket HTTP/1.1\r\nHost: pond\r\nAccept: text/event-stream\r\n\r\n")
	s := &fuzzStream{server: p, events: bufio.NewReader(conn)}
	hello, err := s.until(`"connectionId"`)
	if err != nil {
		f.Fatal(err)
	}
	_, id, _ := strings.Cut(hello, `"connectionId":"`)
	s.id, _, _ = strings.Cut(id, `"`)
	return s
}

// until reads up to the first line that contains what.
func (s *fuzzStream) until(what string) (line string, err error) {
	for err == nil && !strings.Contains(line, what) {
		line, err = s.events.ReadString('\n')
	}
	return line, err
}

func (s *fuzzStream) post(body io.Reader, header http.Header) int {
	r := httptest.NewRequest(http.MethodPost, "/socket", body)
	maps.Copy(r.Header, header)
	w := httptest.NewRecorder()
	s.server.ServeHTTP(w, r)
	return w.Code
}

// Every POST is accepted or rejected, and the stream continues.
func FuzzPost(f *testing.F) {
	for _, body := range []string{
		"", "{}", "null", "[]", "\x00", "\ufeff{}", `{"action":`,
		`{"action":"JOIN_CHANNEL","event":"JOIN_CHANNEL","channelName":"/chat/1","requestId":"1","payload":{}}`,
		`{"action":"BROADCAST","event":"ask","channelName":"/chat/1","requestId":"1","payload":{"a":[1,2]}}`,
		`{"action":"LEAVE_CHANNEL","event":"x","channelName":"/chat/1","requestId":"1","payload":{}}`,
		`{"action":"PING"}`, strings.Repeat("[", 5000), strings.Repeat("x", 1<<17),
	} {
		f.Add([]byte(body), "application/json", "", true)
	}
	f.Add([]byte("\x1f\x8b\x08"), "text/plain; charset=utf-16", "gzip", false)
	s := newFuzzStream(f)
	f.Fuzz(func(t *testing.T, body []byte, contentType, encoding string, sized bool) {
		header := http.Header{"X-Connection-Id": {s.id}, "Content-Type": {contentType}, "Content-Encoding": {encoding}}
		var r io.Reader = bytes.NewReader(body)
		if !sized {
			r = io.MultiReader(r) // hides the length
		}
		got := s.post(r, header)
		array := bytes.HasPrefix(bytes.TrimLeft(body, " \t\r\n"), []byte("["))
		if got != http.StatusNoContent && got != http.StatusRequestEntityTooLarge && (got != http.StatusBadRequest || !array) {
			t.Errorf("answered with %d", got)
		}
		s.request++
		id := fmt.Sprintf("is it still open %d", s.request)
		question := fmt.Sprintf(`{"action":"JOIN_CHANNEL","event":"x","channelName":"/none","requestId":%q,"payload":{}}`, id)
		if got := s.post(strings.NewReader(question), header); got != http.StatusNoContent {
			t.Fatalf("the next message was answered with %d", got)
		}
		if _, err := s.until(id); err != nil {
			t.Fatal(err)
		}
	})
}

// fuzzHost is the host that the requests of FuzzOpen name.
const fuzzHost = "pond.example"

// The status of each response to a request to connect says why it was rejected, and no
// page of another origin can connect.
func FuzzOpen(f *testing.F) {
	upgrade := "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
	for _, headers := range []string{
		"", "Accept: text/event-stream\r\n", "Accept: text/event-stream;q=0.5, */*\r\nCookie: a=1; b=%41; c; a=2\r\n",
		upgrade, upgrade + "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n",
		upgrade + "Origin: https://pond.example\r\n", upgrade + "Origin: https://evil.example\r\n", upgrade + "Origin: null\r\n",
		upgrade + "Origin: https://pond.example\r\nOrigin: https://evil.example\r\n",
		upgrade + "Origin: https://pond.example@evil.example\r\n", upgrade + "Origin: http://pond.example:80\r\n",
		upgrade + "Sec-Fetch-Site: cross-site\r\n", upgrade + "Cookie: =; ; =x; %zz=%zz; \"a\"=\"b\"\r\n",
		"Connection: keep-alive, upgrade\r\nUpgrade: h2c, WebSocket\r\nSec-WebSocket-Version: 8\r\n",
	} {
		f.Add("/socket?name=Ann", headers)
	}
	f.Add("/socket/%2e%2e/socket?a=%zz;b", "Accept: text/event-stream\r\n")
	server := sync.OnceValue(func() *httptest.Server {
		p := pond.New(pond.WithLogger(kit.Silent))
		p.Endpoint("/socket", func(ctx *pond.ConnectionContext) error {
			for name, value := range ctx.Cookies() {
				if strings.ContainsRune(name+value, '\n') && !strings.Contains(ctx.Request().Header.Get("Cookie"), "%0") {
					return fmt.Errorf("cookie %q=%q", name, value)
				}
			}
			_ = ctx.Query()
			return ctx.Accept()
		})
		return httptest.NewServer(p)
	})
	f.Cleanup(func() { server().Close() })
	f.Fuzz(func(t *testing.T, target, headers string) {
		head := "GET " + target + " HTTP/1.1\r\nHost: " + fuzzHost + "\r\n" + headers + "\r\n"
		sent, err := http.ReadRequest(bufio.NewReader(strings.NewReader(head)))
		if err != nil || sent.Host != fuzzHost || sent.ContentLength != 0 {
			t.Skip() // net/http rejects it, or waits for more
		}
		conn, err := net.Dial("tcp", server().Listener.Addr().String())
		if err != nil {
			t.Skip(err) // no free ports
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
		_, _ = io.WriteString(conn, head)
		resp, err := http.ReadResponse(bufio.NewReader(conn), sent)
		if err != nil {
			t.Fatal(err)
		}
		switch resp.StatusCode {
		case http.StatusSwitchingProtocols, http.StatusOK:
			if !mayEnter(sent) {
				t.Errorf("a page of %q can connect", sent.Header["Origin"])
			}
		case http.StatusBadRequest, http.StatusForbidden, http.StatusNotFound, http.StatusMethodNotAllowed,
			http.StatusExpectationFailed, http.StatusUpgradeRequired:
		default:
			t.Errorf("answered with %s", resp.Status)
		}
	})
}

// mayEnter is the rule about origins, written as simply as possible.
func mayEnter(r *http.Request) bool {
	origins := r.Header.Values("Origin")
	switch {
	case len(origins) == 0:
		return r.Header.Get("Sec-Fetch-Site") != "cross-site"
	case len(origins) > 1:
		return false
	case r.Header.Get("Sec-Fetch-Site") == "same-origin":
		return true
	}
	u, err := url.Parse(origins[0])
	return err == nil && strings.EqualFold(u.Hostname(), fuzzHost) && slices.Contains([]string{"", "80", "443"}, u.Port())
}
