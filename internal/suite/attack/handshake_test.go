package attack_test

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pondsocket/pond"
	"github.com/pondsocket/pond/internal/pipenet"
	"github.com/pondsocket/pond/internal/suite/kit"
)

// upgrade is a request for a WebSocket, without the empty line at the end.
const upgrade = "GET /socket HTTP/1.1\r\nHost: pond\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
	"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"

// A client that sends anything instead of a handshake gets one response, and other
// clients do not notice.
func TestAttackHandshakes(t *testing.T) {
	without := func(text string, with ...string) string {
		if !strings.Contains(upgrade, text) {
			t.Fatalf("there is no %q", text)
		}
		return strings.Replace(upgrade, text, strings.Join(with, ""), 1) + "\r\n"
	}
	const key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
	p, e, _ := kit.NewPond()
	server := httptest.NewServer(p)
	server.Config.ErrorLog = nil
	defer server.Close()
	addr := server.Listener.Addr().String()
	for name, test := range map[string]struct {
		request string
		status  int
		header  string
	}{
		"good":                      {upgrade + "\r\n", 101, "Sec-Websocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo="},
		"lower case":                {without("Connection: Upgrade\r\nUpgrade: websocket", "connection: upgrade\r\nupgrade: websocket"), 101, ""},
		"upper case":                {without("Connection: Upgrade\r\nUpgrade: websocket", "CONNECTION: UPGRADE\r\nUPGRADE: WEBSOCKET"), 101, ""},
		"Firefox":                   {without("Connection: Upgrade", "Connection: keep-alive, Upgrade"), 101, ""},
		"two lines":                 {without("Connection: Upgrade", "Connection: keep-alive\r\nConnection: Upgrade"), 101, ""},
		"spaces":                    {without("Upgrade: websocket", "Upgrade: \t websocket \t "), 101, ""},
		"empty elements":            {without("Connection: Upgrade", "Connection: ,,Upgrade , ,"), 101, ""},
		"space inside":              {without("Upgrade: websocket", "Upgrade: web socket"), 426, "Upgrade: websocket"},
		"another protocol":          {without("Upgrade: websocket", "Upgrade: h2c"), 426, "Upgrade: websocket"},
		"no Connection":             {without("Connection: Upgrade\r\n"), 426, "Upgrade: websocket"},
		"subprotocol":               {upgrade + "Sec-WebSocket-Protocol: chat, superchat\r\n\r\n", 101, "Sec-Websocket-Protocol: "},
		"odd subprotocol":           {upgrade + "Sec-WebSocket-Protocol: \xfc\xf1\xed\xe7\xf6d\xe9, \xe2\x98\x83\r\n\r\n", 101, "Sec-Websocket-Protocol: "},
		"broken extensions":         {upgrade + "Sec-WebSocket-Extensions: ;;\r\n\r\n", 400, ""},
		"many extensions":           {upgrade + "Sec-WebSocket-Extensions: " + strings.Repeat("permessage-deflate;a=1,", 20_000) + "x\r\n\r\n", 400, ""},
		"more extensions than any":  {upgrade + "Sec-WebSocket-Extensions: " + strings.Repeat("a,", 1<<18) + "x\r\n\r\n", 400, ""},
		"no version":                {without("Sec-WebSocket-Version: 13\r\n"), 426, "Sec-Websocket-Version: 13"},
		"old version":               {without("Version: 13", "Version: 8"), 426, "Sec-Websocket-Version: 13"},
		"later version":             {without("Version: 13", "Version: 14"), 426, ""},
		"two versions":              {without("Version: 13", "Version: 13, 8"), 426, ""},
		"no key":                    {without(key), 400, ""},
		"empty key":                 {without(key, "Sec-WebSocket-Key:\r\n"), 400, ""},
		"short key":                 {without(key, "Sec-WebSocket-Key: c2hvcnQ=\r\n"), 400, ""},
		"long key":                  {without(key, "Sec-WebSocket-Key: "+strings.Repeat("A", 100_000)+"==\r\n"), 400, ""},
		"two keys":                  {upgrade + key + "\r\n", 400, ""},
		"no base64":                 {without(key, "Sec-WebSocket-Key: !!!!!!!!!!!!!!!!!!!!!!==\r\n"), 400, ""},
		"POST":                      {without("GET", "POST"), 400, ""},
		"HTTP/1.0":                  {without("HTTP/1.1", "HTTP/1.0"), 400, ""},
		"HTTP/0.9":                  {"GET /socket\r\n\r\n", 400, ""},
		"HTTP/3.0":                  {without("HTTP/1.1", "HTTP/3.0"), 505, ""},
		"no Host":                   {without("Host: pond\r\n"), 400, ""},
		"two Hosts":                 {upgrade + "Host: evil.example\r\n\r\n", 400, ""},
		"odd Host":                  {without("Host: pond", "Host: po nd/"), 400, ""},
		"space in front of a colon": {without("Upgrade: websocket", "Upgrade : websocket"), 400, ""},
		"folded header":             {without("Upgrade: websocket", "Upgrade:\r\n websocket"), 101, ""},
		"NUL in a header":           {upgrade + "X: a\x00b\r\n\r\n", 400, ""},
		"line end in a path":        {without("/socket", "/socket%0d%0aX:y"), 404, ""},
		"1,000 headers":             {upgrade + strings.Repeat("X-Y: z\r\n", 1000) + "\r\n", 101, ""},
		"1 MB header":               {upgrade + "X: " + strings.Repeat("y", 1<<20+8192) + "\r\n\r\n", 431, ""},
		"1 MB of headers":           {upgrade + strings.Repeat("X: y\r\n", 1<<18) + "\r\n", 431, ""},
		"1 MB path":                 {without("/socket", "/"+strings.Repeat("y", 1<<20+4096)), 431, ""},
		"body":                      {upgrade + "Content-Length: 11\r\n\r\n\x81\x85\x00\x00\x00\x00hello", 400, ""},
		"chunked body":              {upgrade + "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", 400, ""},
		"empty body":                {upgrade + "Content-Length: 0\r\n\r\n", 101, ""},
		"two lengths":               {upgrade + "Content-Length: 1\r\nContent-Length: 2\r\n\r\nxx", 400, ""},
		"negative length":           {upgrade + "Content-Length: -1\r\n\r\n", 400, ""},
		"odd encoding":              {upgrade + "Transfer-Encoding: xchunked\r\n\r\n", 501, ""},
		"two encodings":             {upgrade + "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n", 501, ""},
		"TLS":                       {"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + strings.Repeat("\x00", 50) + "\r\n\r\n", 400, ""},
		"HTTP/2":                    {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 404, ""},
		"garbage":                   {"\x00\xff\xfe garbage\r\n\r\n", 400, ""},
	} {
		t.Run(name, func(t *testing.T) {
			conn, err := net.Dial("tcp", addr)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			_ = conn.SetDeadline(time.Now().Add(kit.Patience))
			go io.WriteString(conn, test.request) // the server may respond before it read everything
			resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil {
				t.Fatal(err)
			}
			if resp.StatusCode != test.status {
				t.Errorf("status %d, want %d", resp.StatusCode, test.status)
			}
			if h, want, ok := strings.Cut(test.header, ": "); ok && resp.Header.Get(h) != want {
				t.Errorf("%s: %q, want %q", h, resp.Header.Get(h), want)
			}
		})
	}
	kit.Eventually(t, "all are gone", func() bool { return e.Len() == 0 })
	kit.Clients(t, addr, 1)[0].Close()
}

// The server does not keep the request of a handshake in memory.
func TestAttackLargeHeadersAreForgotten(t *testing.T) {
	const n, size = 20, 900 << 10
	p, e, _ := kit.NewPond()
	server := httptest.NewServer(p)
	defer server.Close()
	before := kit.Heap()
	for i := range n {
		conn, err := net.Dial("tcp", server.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		request := upgrade
		if i%2 == 1 {
			request = "GET /socket HTTP/1.1\r\nHost: pond\r\nAccept: text/event-stream\r\n"
		}
		io.WriteString(conn, request+"X: "+strings.Repeat("y", size)+"\r\n\r\n")
	}
	kit.Eventually(t, "all are connected", func() bool { return e.Len() == n })
	kit.Eventually(t, "nothing is left of the headers", func() bool { return kit.Heap()-before < n*(64<<10) })
}

// serveOnPipes serves like [pond.Pond.Serve], but in a bubble, where timeouts take no real
// time. The connections of dial buffer as many bytes as given.
func serveOnPipes(t *testing.T, p *pond.Pond, buffer int, test func(t *testing.T, dial func() net.Conn)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		listener := pipenet.Listen(buffer)
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- p.Serve(ctx, &http.Server{}, listener) }()
		var mu sync.Mutex
		var conns []net.Conn
		test(t, func() net.Conn {
			conn, err := listener.Dial(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			mu.Lock()
			defer mu.Unlock()
			conns = append(conns, conn)
			return conn
		})
		for _, conn := range conns {
			conn.Close()
		}
		stop()
		if err := <-ended; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
}

// ends writes to a connection every second and returns how long the server takes to
// close it.
func ends(conn net.Conn, something string) time.Duration {
	began := time.Now()
	over := make(chan struct{})
	go func() {
		defer close(over)
		io.Copy(io.Discard, conn)
	}()
	for {
		if something != "" {
			io.WriteString(conn, something) // fails when the server closed the connection
		}
		select {
		case <-over:
			return time.Since(began)
		case <-time.After(time.Second):
		}
		if time.Since(began) > time.Hour {
			return time.Since(began)
		}
	}
}

// By default, the server disconnects a client that takes more than ten seconds for a
// request, and a client that sends no next request for two minutes.
func TestAttackSlowloris(t *testing.T) {
	for name, test := range map[string]struct {
		first, then string
		most        time.Duration
	}{
		"nothing":             {"", "", 10 * time.Second},
		"a byte a second":     {"", "G", 10 * time.Second},
		"a header a second":   {"GET /socket HTTP/1.1\r\nHost: pond\r\n", "X: y\r\n", 10 * time.Second},
		"an unfinished line":  {"GET /socket HTTP/1.1\r\nHost: pond\r\nX: y", "y", 10 * time.Second},
		"a frame a byte":      {upgrade + "\r\n\x81\xfe\x10\x00\x00\x00\x00\x00", "x", 2 * time.Minute},
		"a fragment a second": {upgrade + "\r\n\x01\x80\x00\x00\x00\x00", "\x00\x80\x00\x00\x00\x00", 2 * time.Minute},
		"half a header":       {upgrade + "\r\n\x81", "", 2 * time.Minute},
		"nothing more":        {"GET /nowhere HTTP/1.1\r\nHost: pond\r\n\r\n", "", 3 * time.Minute},
		"no pong":             {upgrade + "\r\n", "", time.Minute + 10*time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			p, e, _ := kit.NewPond()
			serveOnPipes(t, p, 0, func(t *testing.T, dial func() net.Conn) {
				conn := dial()
				io.WriteString(conn, test.first)
				if took := ends(conn, test.then); took > test.most {
					t.Errorf("it took %v", took)
				}
				synctest.Wait()
				if e.Len() != 0 {
					t.Error("the client is still connected")
				}
			})
		})
	}
}

// A client counts against the limit of connections while it waits for a slow
// connection handler, until it gives up. Further clients are rejected at once.
func TestAttackConnectsThatNeverEnd(t *testing.T) {
	const places = 5
	var met kit.Limits
	p := pond.New(met.Observer(), pond.WithLogger(kit.Silent))
	e := p.Endpoint("/socket", func(ctx *pond.ConnectionContext) error {
		if !ctx.Query().Has("hang") {
			return ctx.Accept()
		}
		<-ctx.Done()
		return ctx.Err()
	}, pond.WithMaxConns(places))
	serveOnPipes(t, p, 0, func(t *testing.T, dial func() net.Conn) {
		var hanging []net.Conn
		for i := range 2 * places {
			conn := dial()
			io.WriteString(conn, strings.Replace(upgrade, "/socket", "/socket?hang", 1)+"\r\n")
			synctest.Wait()
			if i < places {
				hanging = append(hanging, conn)
				continue
			}
			resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil || resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") == "" {
				t.Fatalf("%v, %v", resp, err)
			}
		}
		if n := met.Of(pond.LimitConns); n != places {
			t.Errorf("observed %d times", n)
		}
		for _, conn := range hanging {
			conn.Close()
		}
		synctest.Wait()
		for range places {
			io.WriteString(dial(), upgrade+"\r\n")
		}
		synctest.Wait()
		if e.Len() != places {
			t.Errorf("%d of %d slots are in use", e.Len(), places)
		}
	})
}
