package pondtest_test

import (
	"io"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/pondsocket/pond/internal/ws"
	"github.com/pondsocket/pond/pondtest"
)

// A failure is a test that must fail, with the expected message.
type failure struct {
	name    string
	handler http.Handler // a server if nil
	test    func(t *testing.T, d *pondtest.Driver)
	want    string
}

// failing makes TestFailing fail; it is set in a separate process.
const failing = "PONDTEST_FAILING"

func TestFailing(t *testing.T) {
	if os.Getenv(failing) == "" {
		t.Skip("runs in the process that TestFailures starts")
	}
	for _, f := range failures {
		t.Run(f.name, func(t *testing.T) {
			if f.handler == nil {
				f.handler = &server{}
			}
			pondtest.Run(t, f.handler, f.test)
		})
	}
}

func TestFailures(t *testing.T) {
	if os.Getenv(failing) != "" {
		t.Skip("has started this process")
	}
	output := rerun(t, "^TestFailing$")
	for _, f := range failures {
		start := "=== RUN   TestFailing/" + strings.ReplaceAll(f.name, " ", "_") + "\n"
		_, log, found := strings.Cut(output, start)
		if !found {
			t.Fatalf("%s: was not run:\n%s", f.name, output)
		}
		log, _, _ = strings.Cut(log, "=== RUN")
		if !strings.Contains(log, f.want) {
			t.Errorf("%s: failed with\n%s\nwant %s", f.name, log, f.want)
		}
		// The failure must be reported at a line of the test, not of the driver.
		place := `^    failures_test\.go:\d+: pondtest: `
		if strings.HasPrefix(f.name, "invalid: ") {
			place = `^    [a-z]+\.go:\d+: pondtest: `
		}
		if !regexp.MustCompile(place).MatchString(log) {
			t.Errorf("%s: the failure is reported at the wrong line:\n%s", f.name, log)
		}
	}
	if passed := regexp.MustCompile(`--- PASS: .*`).FindAllString(output, -1); len(passed) > 0 {
		t.Errorf("these did not fail: %q", passed)
	}
}

func TestLeakedGoroutine(t *testing.T) {
	if os.Getenv(failing) == "" {
		if output := rerun(t, "^TestLeakedGoroutine$"); !strings.Contains(output, "blocked goroutines remain") {
			t.Errorf("a goroutine remained, but the output is:\n%s", output)
		}
		return
	}
	h := http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		go func() { select {} }()
	})
	pondtest.Run(t, h, func(_ *testing.T, d *pondtest.Driver) { d.Declined(pondtest.WebSocket, "/") })
}

// rerun runs tests of this program that must fail, and returns their output.
func rerun(t *testing.T, tests string) string {
	t.Helper()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), program, "-test.run="+tests, "-test.v", "-test.timeout=1m")
	cmd.Env = append(os.Environ(), failing+"=1")
	output, err := cmd.CombinedOutput()
	if err == nil {
		t.Fatalf("%s passed:\n%s", tests, output)
	}
	return string(output)
}

// raw responds to every request with fixed bytes, in which {accept} is replaced by
// the Sec-WebSocket-Accept value. It closes the connection when the client does, or
// at once.
func raw(response string, hang bool) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, buf, err := http.NewResponseController(w).Hijack()
		if err != nil {
			panic(err)
		}
		defer conn.Close()
		accept := "Sec-WebSocket-Accept: " + ws.AcceptKey(r.Header.Get("Sec-WebSocket-Key")) + "\r\n"
		io.WriteString(conn, strings.ReplaceAll(response, "{accept}", accept))
		if hang {
			io.Copy(io.Discard, buf)
		}
	})
}

// rawSocket accepts a WebSocket handshake, and then sends hello and data.
func rawSocket(then []byte) http.Handler {
	greeting := ws.AppendFrame(nil, ws.Text, false, []byte(hello))
	return raw(switching+"{accept}\r\n"+string(append(greeting, then...)), true)
}

// rawStream responds with an event stream that ends after the data.
func rawStream(data string) http.Handler { return raw(streaming+data, false) }

const (
	switching = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
	streaming = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
)
