package main

import (
	"context"
	"encoding/json"
	"io"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/pondsocket/pond"
	"github.com/pondsocket/pond/cmd/pond/internal/verify"
	"github.com/pondsocket/pond/internal/load"
	"github.com/pondsocket/pond/pondclient"
)

func TestVerifyDocumentHasAllFlags(t *testing.T) {
	doc, err := os.ReadFile("../../docs/verify.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range verifyCommand.flags() {
		if !strings.Contains(string(doc), "`-"+f.Name) {
			t.Errorf("-%s is missing", f.Name)
		}
	}
}

// verifyCommandLine runs pond verify with a short duration.
func verifyCommandLine(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs strings.Builder
	code = run(t.Context(), append([]string{"verify", "-duration", "300ms", "-clients", "4", "-cut", "50ms"}, args...), &out, &errs)
	return code, out.String(), errs.String()
}

func TestVerifyItsOwnServer(t *testing.T) {
	code, stdout, stderr := verifyCommandLine(t, "-transport", "sse")
	if code != 0 {
		t.Errorf("exit code %d, stderr %q", code, stderr)
	}
	for _, want := range []string{"/chat/verify at 1 address: 4 clients and 2 publishers, 50 messages/s", "none lost silently, none duplicated, none out of order", "0 announced as lost", " SSE "} {
		if !strings.Contains(stdout, want) {
			t.Errorf("%q is missing in\n%s", want, stdout)
		}
	}
}

func TestVerifyJSON(t *testing.T) {
	code, stdout, stderr := verifyCommandLine(t, "-json", "-transport", "ws", "-cut", "0")
	var r verify.Result
	if err := json.Unmarshal([]byte(stdout), &r); code != 0 || err != nil || r.Delivered == 0 || len(r.Paths) != 1 {
		t.Errorf("exit code %d, error %v, stdout %s, stderr %s", code, err, stdout, stderr)
	}
}

func TestVerifyFindsSilentLosses(t *testing.T) {
	p := pond.New()
	e := p.Endpoint("/socket", func(ctx *pond.ConnectionContext) error { return ctx.Accept() })
	l := e.Lobby("/chat/:room", func(ctx *pond.JoinContext) error { return ctx.Accept() })
	n := 0
	l.OnMessage("message", func(ctx *pond.EventContext) error {
		if n++; n%2 == 0 { // one publisher, so one handler at a time
			return ctx.Reply("ok", nil)
		}
		return ctx.Broadcast("said", ctx.Payload())
	})
	s := httptest.NewServer(p)
	defer s.Close()
	defer func() { _ = p.Shutdown(context.Background()) }()
	code, stdout, stderr := verifyCommandLine(t, "-publishers", "1", "-cut", "0", s.URL+"/socket")
	if code != 1 || !strings.Contains(stderr, "messages were lost silently") {
		t.Errorf("exit code %d, stderr %q", code, stderr)
	}
	for _, want := range []string{" LOST SILENTLY", "lost silently: client ", "did not get message", "note: the channel has no history"} {
		if !strings.Contains(stdout, want) {
			t.Errorf("%q is missing in\n%s", want, stdout)
		}
	}
}

func TestVerifyUsage(t *testing.T) {
	for line, want := range map[string]string{
		"example.com":               "want http or https",
		"ftp://example.com":         "want http or https",
		"-clients 0":                "must be positive",
		"-rate 0":                   "must be positive",
		"-cut -1s":                  "must not be negative",
		"-transport x":              "want ws, sse or both",
		"-join 7":                   "want a JSON object",
		"-payload {}":               "{{.Text}} occurs 0 times",
		"-header x":                 "want 'Name: value'",
		"-serve :0 http://x/socket": "-serve excludes a URL",
	} {
		code, _, stderr := verifyCommandLine(t, strings.Fields(line)...)
		if code != 2 || !strings.Contains(stderr, want) {
			t.Errorf("%s: exit code %d, stderr %q", line, code, stderr)
		}
	}
}

func TestVerifyServes(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	out, stdout := io.Pipe()
	exit := make(chan int, 1)
	go func() {
		defer stdout.Close()
		exit <- run(ctx, []string{"verify", "-serve", "127.0.0.1:0"}, stdout, t.Output())
	}()
	line := make([]byte, 200)
	n, err := out.Read(line)
	if err != nil {
		t.Fatal(err)
	}
	url := strings.Fields(string(line[:n]))[2]
	code, text, stderr := verifyCommandLine(t, "-transport", "sse", url, url)
	if code != 0 {
		t.Errorf("exit code %d, stdout %s, stderr %s", code, text, stderr)
	}
	stop()
	if code := <-exit; code != 0 {
		t.Errorf("exit code %d", code)
	}
}

func TestVerifyWaits(t *testing.T) {
	in, enter := io.Pipe()
	v := &verification{stdin: in}
	pressed := v.enter()
	select {
	case <-pressed:
		t.Error("before Enter")
	default:
	}
	_, _ = enter.Write([]byte("\n"))
	<-pressed

	var text strings.Builder
	m := &verifyMeter{w: &text, live: true, wait: true, total: 6, duration: time.Second}
	m.show(verify.Progress{Phase: verify.Connecting, Clients: 3})
	m.show(verify.Progress{Phase: verify.Publishing, Elapsed: 500 * time.Millisecond, Published: 25, Delivered: 1500, Connected: 5, Cuts: 1})
	m.show(verify.Progress{Phase: verify.Waiting, Elapsed: time.Minute, Lost: 2})
	m.clear()
	for _, want := range []string{
		"connect   3 of 6 clients", "publish   [##########..........]    0.5 s  25 published, 1,500 deliveries, 5 of 6 connected, 1 cut, 0 lost silently",
		"wait       60.0 s", "2 lost silently  [restart servers now; Enter ends]",
	} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("%q is missing in %q", want, text.String())
		}
	}
}

func TestVerifiedText(t *testing.T) {
	got := verifiedText(&verify.Result{
		Channel: "/chat/1", Clients: 20, Publishers: 1, Elapsed: 30 * time.Second, Rate: 2.5,
		Published: 1500, Confirmed: 1490, Rejected: 2, Unknown: 7, Unconfirmed: 1,
		Count: verify.Count{Delivered: 30000, Recovered: 12, Announced: 3, Lost: 2, Duplicated: 1, Disordered: 4},
		Cuts:  1, Reconnects: 2, Gaps: map[string]int64{"overflow": 1, "epoch": 2}, Removed: 1, History: true,
		Paths: []verify.Path{
			{URL: "http://one/socket", Transport: pondclient.WebSocket, Clients: 11},
			{URL: "http://two/socket", Transport: pondclient.SSE, Clients: 10, Reconnects: 2},
		},
		Latency:   &load.Latency{P50: time.Millisecond, P99: 2 * time.Millisecond, Max: 3 * time.Millisecond},
		Recovery:  &load.Latency{P50: time.Second, P99: 2 * time.Second, Max: 3 * time.Second},
		Examples:  []string{"client 1 did not get message 7 of publisher 0"},
		Rejection: "429 too many messages",
	})
	const want = `/chat/1 at 2 addresses: 20 clients and 1 publisher, 2.5 messages/s for 30.0 s

  published   1,500 messages: 1,490 confirmed, 7 with an unknown outcome, 2 rejected or not sent, 1 RECEIVED BY NO CLIENT
  deliveries  30,000 live, 12 recovered, 3 announced as lost
  verified    2 LOST SILENTLY, 1 DUPLICATED, 4 OUT OF ORDER
  connections 1 cut by verify, 2 reconnects
  gaps        1 overflow, 2 epoch
  latency     p50 1.00 ms, p99 2.00 ms, max 3.00 ms, from sending to each live delivery
  recovery    p50 1.00 s, p99 2.00 s, max 3.00 s, from a lost connection to the missed messages or a gap

  address            transport  clients  reconnects  live  recovered  announced  silent  duplicated  disordered
  http://one/socket  WebSocket       11           0     0          0          0       0           0           0
  http://two/socket  SSE             10           2     0          0          0       0           0           0

lost silently: client 1 did not get message 7 of publisher 0
note: one of the rejections: 429 too many messages
note: the server removed 1 client from the channel
note: verify itself did not keep up; use a lower -rate or fewer -clients
`
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}
