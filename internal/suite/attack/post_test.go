package attack_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pondsocket/pond"
	"github.com/pondsocket/pond/internal/suite/kit"
	"github.com/pondsocket/pond/pondtest"
)

// openStream opens an event stream on a raw connection and returns its connection
// ID.
func openStream(t *testing.T, conn net.Conn) (secret string, events *bufio.Scanner) {
	t.Helper()
	io.WriteString(conn, "GET /socket HTTP/1.1\r\nHost: pond\r\nAccept: text/event-stream\r\n\r\n")
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	return resp.Header.Get("X-Connection-ID"), bufio.NewScanner(resp.Body)
}

// post is the head of a POST request, without the empty line at the end.
func post(secret string) string {
	return "POST /socket HTTP/1.1\r\nHost: pond\r\nX-Connection-ID: " + secret + "\r\n"
}

// U7: a body that is too large is rejected before the server reads it, with or
// without a Content-Length.
func TestProbeU7HugePOST(t *testing.T) {
	const megabytes = 64
	for name, test := range map[string]struct {
		head, part string
		most       int // limit of the bytes that the client can write before the server closes the connection
	}{
		"length":  {fmt.Sprintf("Content-Length: %d\r\n\r\n", megabytes<<20), strings.Repeat("x", 1<<16), 1 << 19},
		"endless": {"Transfer-Encoding: chunked\r\n\r\n", "10000\r\n" + strings.Repeat("x", 1<<16) + "\r\n", 3 << 19},
	} {
		t.Run(name, func(t *testing.T) {
			var met kit.Limits
			p := pond.New(met.Observer())
			p.Endpoint("/socket", kit.Accept)
			serveOnPipes(t, p, 0, func(t *testing.T, dial func() net.Conn) {
				secret, _ := openStream(t, dial())
				conn := dial()
				sent := make(chan int)
				go func() {
					n, _ := io.WriteString(conn, post(secret)+test.head)
					for err := error(nil); err == nil && n < megabytes<<20; {
						var part int
						part, err = io.WriteString(conn, test.part)
						n += part
					}
					sent <- n
				}()
				resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
				if err != nil || resp.StatusCode != http.StatusRequestEntityTooLarge {
					t.Fatalf("%v, %v", resp, err)
				}
				io.Copy(io.Discard, conn)
				if n := <-sent; n > test.most {
					t.Errorf("%d bytes were taken", n)
				}
				if n := met.Of(pond.LimitMessage); n != 1 {
					t.Errorf("observed %d times", n)
				}
			})
		})
	}
}

// A wrong Content-Length never turns other bytes into a message, and delays only the
// same client, for half a minute at most.
func TestAttackContentLengthLie(t *testing.T) {
	const message = `{"action":"LEAVE_CHANNEL","event":"","channelName":"/chat/1","requestId":"r","payload":{}}`
	p, _, _ := kit.NewPond()
	serveOnPipes(t, p, 0, func(t *testing.T, dial func() net.Conn) {
		secret, events := openStream(t, dial())
		ask := func(request string) (statuses []int) {
			conn := dial()
			io.WriteString(conn, request)
			answers := bufio.NewReader(conn)
			for {
				resp, err := http.ReadResponse(answers, nil)
				if err != nil {
					return statuses
				}
				statuses = append(statuses, resp.StatusCode)
				if _, err := io.Copy(io.Discard, resp.Body); err != nil || resp.Close {
					return statuses
				}
			}
		}
		expect := func(event string) {
			t.Helper()
			for events.Scan() {
				if name, ok := strings.CutPrefix(events.Text(), "event: "); ok && name != "CONNECTION" {
					if name != event {
						t.Errorf("event %s, want %s", name, event)
					}
					return
				}
			}
			t.Errorf("no event %s", event)
		}
		if got := fmt.Sprint(ask(post(secret) + "Connection: close\r\nContent-Length: 90\r\n\r\n" + message)); got != "[204]" {
			t.Errorf("the right length: %s", got)
		}
		expect("EXIT_ACKNOWLEDGE")

		// Shorter than the body: the rest is not a request.
		if got := fmt.Sprint(ask(post(secret) + "Content-Length: 80\r\n\r\n" + message + "\r\n\r\n")); got != "[204 400]" {
			t.Errorf("too short: %s", got)
		}
		expect("INVALID_MESSAGE")

		// Longer than the body: other requests of this client wait for half a minute.
		began := time.Now()
		second := make(chan []int, 1)
		go func() {
			time.Sleep(time.Second)
			second <- ask(post(secret) + "Connection: close\r\nContent-Length: 90\r\n\r\n" + message)
		}()
		if got := fmt.Sprint(ask(post(secret) + "Content-Length: 100\r\n\r\n" + message)); got != "[400]" {
			t.Errorf("too long: %s", got)
		}
		if took := time.Since(began); took != 30*time.Second {
			t.Errorf("it took %v", took)
		}
		if got := fmt.Sprint(<-second); got != "[204]" {
			t.Errorf("the next one: %s", got)
		}
		expect("EXIT_ACKNOWLEDGE")
	})
}

// Several messages in one body are an array. Any other form is an invalid message.
func TestAttackManyMessagesInOnePOST(t *testing.T) {
	one := say(`"say"`, `"r"`, `{}`)
	for name, body := range map[string]string{
		"lines":   strings.Repeat(one+"\n", 1000),
		"strings": strings.Repeat("\x1e"+one+"\n", 1000),
		"nothing": strings.Repeat("\n", 1000),
	} {
		p, _, _ := kit.NewPond()
		pondtest.Run(t, p, func(t *testing.T, d *pondtest.Driver) {
			s := d.Connect(pondtest.SSE, "/socket")
			s.Join("/chat/1", nil)
			if status := d.Push(s, []byte(body)); status != http.StatusNoContent {
				t.Errorf("%s: status %d", name, status)
			}
			if m := s.Receive(); m.Event != "INVALID_MESSAGE" || kit.Status(t, m) != 400 {
				t.Errorf("%s: got %v", name, m)
			}
			s.Quiet()
		})
	}
}

// A form on another site can send text/plain with the cookies of the user. But
// without a preflight it cannot set the header X-Connection-ID, and its origin is
// not allowed.
func TestAttackCSRF(t *testing.T) {
	p, e, _ := kit.NewPond(pond.WithOrigins("https://good.example"))
	pondtest.Run(t, p, func(t *testing.T, d *pondtest.Driver) {
		victim := d.Connect(pondtest.SSE, "/socket", pondtest.Cookie("session", "victim"))
		victim.Join("/chat/1", nil)
		form := func(headers ...string) int {
			all := append([]string{"Cookie: session=victim", "Content-Type: text/plain"}, headers...)
			return d.Do(kit.Request("POST", "/socket", say(`"say"`, `"r"`, `{}`), all...)).StatusCode
		}
		id := "X-Connection-ID: " + victim.ConnectionID()
		for name, test := range map[string]struct {
			headers []string
			status  int
		}{
			"form":                       {[]string{"Origin: https://evil.example", "Sec-Fetch-Site: cross-site"}, 403},
			"form of an old browser":     {nil, 400},
			"sandbox":                    {[]string{"Origin: null"}, 403},
			"without Origin":             {[]string{"Sec-Fetch-Site: cross-site"}, 403},
			"with a stolen ID":           {[]string{"Origin: https://evil.example", id}, 403},
			"stolen ID, without Origin":  {[]string{"Sec-Fetch-Site: cross-site", id}, 403},
			"origin that looks like one": {[]string{"Origin: https://good.example.evil.example", id}, 403},
			"ID in the query":            {[]string{"Referer: http://example.com/?X-Connection-ID=" + victim.ConnectionID()}, 400},
			"ID in a cookie":             {[]string{"Cookie: X-Connection-ID=" + victim.ConnectionID()}, 400},
		} {
			if status := form(test.headers...); status != test.status {
				t.Errorf("%s: status %d, want %d", name, status, test.status)
			}
		}
		for _, origin := range []string{"https://evil.example", "null"} {
			if resp := d.Do(kit.Request("OPTIONS", "/socket", "", "Origin: "+origin, "Access-Control-Request-Headers: x-connection-id")); resp.StatusCode != http.StatusForbidden ||
				resp.Header.Get("Access-Control-Allow-Origin") != "" {
				t.Errorf("a page of %s may ask: %s", origin, resp.Status)
			}
		}
		victim.Quiet()
		if e.Len() != 1 {
			t.Error("the victim was disconnected")
		}
		// The header decides, not the content type.
		if status := form(id); status != http.StatusNoContent {
			t.Errorf("status %d", status)
		}
		victim.Expect("said")
	})
}

// The server ignores bytes that a client sends on the connection of its event
// stream, and after a body.
func TestAttackBytesOnAStream(t *testing.T) {
	p, e, _ := kit.NewPond()
	serveOnPipes(t, p, 0, func(t *testing.T, dial func() net.Conn) {
		conn := dial()
		openStream(t, conn)
		other := dial()
		secret, events := openStream(t, other)
		junk := bytes.Repeat([]byte("POST /socket HTTP/1.1\r\nHost: pond\r\nX-Connection-ID: "+secret+"\r\nContent-Length: 2\r\n\r\n{}"), 10_000)
		if _, err := conn.Write(junk); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		if e.Len() != 2 {
			t.Errorf("%d are connected", e.Len())
		}
		other.Close()
		for events.Scan() {
			if strings.Contains(events.Text(), "INVALID_MESSAGE") {
				t.Error("the bytes became a message")
			}
		}
	})
}
