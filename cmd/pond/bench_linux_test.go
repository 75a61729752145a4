package main

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/pondsocket/pond"
	"github.com/pondsocket/pond/internal/load"
)

func TestBenchUsageErrors(t *testing.T) {
	for args, want := range map[string]string{
		"http://a http://b":                        "unexpected argument \"http://b\"",
		"-nonsense":                                "flag provided but not defined: -nonsense",
		"-scenario nonsense":                       "unknown scenario \"nonsense\"",
		"-transport nonsense":                      "no transport \"nonsense\"",
		"-clients 7 -rooms 2":                      "7 clients cannot be spread over 2 rooms",
		"-clients 0":                               "-clients must be positive",
		"-in-flight -1":                            "in-flight must be positive",
		"-header nonsense":                         "want 'Name: value'",
		"-pid 0":                                   "want a process ID",
		"-join [1]":                                "invalid -join \"[1]\": want a JSON object",
		"-join null":                               "invalid -join \"null\": want a JSON object",
		"-payload {}":                              "{{.Text}} occurs 0 times",
		"-channel /a%s":                            "may contain %d once",
		"-channel /a -rooms 2":                     "with 2 rooms, it must contain %d",
		"-event \"":                                "must not contain quotation marks",
		"-serve 127.0.0.1:0 http://127.0.0.1":      "-serve cannot be used with a URL",
		"https://example.com/socket":               "https://example.com/socket: TLS is not supported",
		"wss://ann:secret@example.com":             "wss://ann:xxxxx@example.com: TLS is not supported",
		"127.0.0.1:80/socket":                      "as in http://127.0.0.1:8000/socket",
		"example.com:80/socket":                    "as in http://127.0.0.1:8000/socket",
		"http:///socket":                           "no host",
		"-scenario slow -clients 5 -stalled 5":     "at most 4 clients can stall",
		"-scenario rate -rate -1 http://127.0.0.1": "must not be negative",
	} {
		t.Run(args, func(t *testing.T) {
			var stdout, stderr strings.Builder
			code := run(t.Context(), append([]string{"bench"}, strings.Fields(args)...), &stdout, &stderr)
			if code != 2 || stdout.Len() > 0 || !strings.Contains(stderr.String(), want) {
				t.Errorf("exit code %d, stdout %q, stderr %q, want %q in it", code, stdout.String(), stderr.String(), want)
			}
			if lines := strings.Split(stderr.String(), "\n"); len(lines) != 3 || lines[1] != "Run \"pond help bench\" for usage." {
				t.Errorf("stderr %q, want the error and a hint", stderr.String())
			}
		})
	}
}

// serveForBench serves the endpoints that open adds until the test ends, and returns the
// URL of /socket. It calls look with each request first.
func serveForBench(t *testing.T, open func(*pond.Pond), look func(*http.Request)) (url string) {
	t.Helper()
	p := pond.New(pond.WithLogger(slog.New(slog.DiscardHandler)))
	open(p)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		look(r)
		p.ServeHTTP(w, r)
	}))
	t.Cleanup(func() {
		srv.CloseClientConnections()
		if err := p.Shutdown(t.Context()); err != nil && t.Context().Err() == nil {
			t.Error(err)
		}
		srv.Close()
	})
	return srv.URL + "/socket"
}

func nothing(*http.Request) {}

// progress matches the lines of a meter. There are some if the machine is so busy that a short
// bench takes longer than logInterval.
var progress = regexp.MustCompile(`(?m)^[a-z ]{8}  .* (deliveries/s|clients)\n`)

// runBench runs a short bench with flags and a URL, and returns its output without progress.
func runBench(t *testing.T, flags, url string) (code int, stdout, stderr string) {
	t.Helper()
	args := append(strings.Fields("bench -clients 10 -warmup 0 -lost-after 1m "+flags), strings.Fields(url)...)
	var out, errs strings.Builder
	code = run(t.Context(), args, &out, &errs)
	return code, out.String(), progress.ReplaceAllString(errs.String(), "")
}

func TestBenchScenarios(t *testing.T) {
	t.Parallel()
	for _, s := range load.Scenarios {
		for _, tr := range []load.Transport{load.WebSocket, load.SSE} {
			t.Run(string(s)+"/"+string(tr), func(t *testing.T) {
				t.Parallel()
				url := serveForBench(t, benchEndpoint, nothing)
				code, stdout, stderr := runBench(t, "-json -messages 50 -rate 0 -scenario "+string(s)+" -transport "+string(tr), url)
				if code != 0 || stderr != "" {
					t.Fatalf("exit code %d, stderr %q", code, stderr)
				}
				var r report
				decoder := json.NewDecoder(strings.NewReader(stdout))
				decoder.DisallowUnknownFields()
				if err := decoder.Decode(&r); err != nil {
					t.Fatal(err)
				}
				talks := s != load.Idle && s != load.Presence && s != load.Churn
				if r.Scenario != s || r.Transport != tr || r.Target != url || r.Clients != 10 || r.Problem != "" || talks != (r.Messages == 50) {
					t.Errorf("%s", stdout)
				}
				if r.Server == nil || len(r.Server.PIDs) != 1 || r.Server.PIDs[0] != os.Getpid() {
					t.Errorf("server %+v", r.Server)
				}
			})
		}
	}
}

// numbers matches the numbers that tests replace before they compare output.
var numbers = regexp.MustCompile(`[0-9][0-9,.]*( (ns|µs|ms|s|B|[KM]iB)\b)?`)

func TestBenchWithoutURL(t *testing.T) {
	code, stdout, stderr := runBench(t, "-messages 50", "")
	if code != 0 || stderr != "" {
		t.Fatalf("exit code %d, stderr %q", code, stderr)
	}
	got, _, _ := strings.Cut(numbers.ReplaceAllString(stdout, "N"), "\nnote:")
	got = regexp.MustCompile("CPU N.*").ReplaceAllString(got, "CPU N")
	want := `fanout over WebSocket at http://N:N/socket, a Pond started by bench
One of N members publishes messages of N bytes, with N in flight.

  joins       N in N: N/s
  deliveries  N/s for N: N messages/s, N/s received
  latency     pN N, pN N, pN N, max N
              from when a message was sent to each delivery
  verified    N deliveries: none lost, none duplicated, none out of order, none misdelivered
  server      CPU N
              memory N before, N with clients (N each), N maximum, N after
  load        CPU N
`
	if strings.TrimSuffix(got, "\n")+"\n" != want {
		t.Errorf("prints\n%s\nof\n%s", got, stdout)
	}
}

func TestBenchFindsFaults(t *testing.T) {
	url := serveForBench(t, func(p *pond.Pond) {
		e := p.Endpoint("/socket", func(ctx *pond.ConnectionContext) error { return ctx.Accept() })
		l := e.Lobby("/room", func(ctx *pond.JoinContext) error { return ctx.Accept() })
		first := new(sync.Once)
		l.OnMessage("say", func(ctx *pond.EventContext) error {
			first.Do(func() { _ = ctx.Broadcast(ctx.Event(), ctx.Payload()) })
			return ctx.Broadcast(ctx.Event(), ctx.Payload())
		})
	}, nothing)
	flags := "-channel /room -event say -messages 20 "
	code, stdout, stderr := runBench(t, flags, url)
	if code != 1 || stderr != "pond bench: 10 duplicated\n" || !strings.Contains(stdout, "200 deliveries: none lost, 10 DUPLICATED, none out of order") {
		t.Errorf("exit code %d, stderr %q, stdout\n%s", code, stderr, stdout)
	}
}

func TestBenchFindsFaultsInJSON(t *testing.T) {
	url := serveForBench(t, func(p *pond.Pond) {
		e := p.Endpoint("/socket", func(ctx *pond.ConnectionContext) error { return ctx.Accept() })
		l := e.Lobby("/chat/:room", func(ctx *pond.JoinContext) error { return ctx.Accept() })
		l.OnMessage("ask", func(ctx *pond.EventContext) error { return pond.Errorf(http.StatusForbidden, "not that") })
	}, nothing)
	code, stdout, stderr := runBench(t, "-json -scenario echo -echo-event ask -in-flight 30 -messages 20", url)
	var r report
	if err := json.Unmarshal([]byte(stdout), &r); err != nil {
		t.Fatal(err)
	}
	if code != 1 || r.Problem != "20 rejected: rejected: HANDLER_NOT_FOUND 403 on /chat/0: not that" || stderr != "pond bench: "+r.Problem+"\n" {
		t.Errorf("exit code %d, stderr %q, problem %q", code, stderr, r.Problem)
	}
}

func TestBenchFailures(t *testing.T) {
	t.Parallel()
	url := serveForBench(t, benchEndpoint, nothing)
	for name, tt := range map[string]struct{ flags, url, want string }{
		"no server":      {"", "http://127.0.0.1:1", "cannot reach the server: dial tcp 127.0.0.1:1"},
		"no endpoint":    {"", url + "/nowhere", "only 0 of 10 clients joined: client "},
		"no such lobby":  {"-channel /nowhere -lost-after 4s", url, "only 0 of 10 clients joined: rejected: "},
		"no process":     {"-scenario idle -pid 2147483647", url, "the server's process 2147483647 does not exist"},
		"too many files": {"-clients 16000000", url, "ulimit -n"},
	} {
		t.Run(name, func(t *testing.T) {
			code, stdout, stderr := runBench(t, tt.flags, tt.url)
			if code != 1 || stdout != "" || !strings.Contains(stderr, tt.want) {
				t.Errorf("exit code %d, stdout %q, stderr %q, want %q in it", code, stdout, stderr, tt.want)
			}
		})
	}
}

// The server of an application with its own payloads, which validates them strictly.
func TestBenchWithPayload(t *testing.T) {
	url := serveForBench(t, func(p *pond.Pond) {
		e := p.Endpoint("/socket", func(ctx *pond.ConnectionContext) error { return ctx.Accept() })
		l := e.Lobby("/chat/:room", func(ctx *pond.JoinContext) error { return ctx.Accept() })
		l.OnMessage("say", func(ctx *pond.EventContext) error {
			var m struct{ Text, From string }
			d := json.NewDecoder(bytes.NewReader(ctx.Payload()))
			d.DisallowUnknownFields()
			if err := d.Decode(&m); err != nil || m.Text == "" {
				return pond.Errorf(http.StatusBadRequest, "want a text")
			}
			return ctx.Broadcast("said", map[string]any{"from": m.From, "html": "<b>" + m.Text + "</b>"})
		})
	}, nothing)
	for _, tr := range []string{"ws", "sse"} {
		code, stdout, stderr := runBench(t, `-rooms 2 -event say -payload {"text":"{{.Text}}","from":"{{.Client}}"} -messages 20 -transport `+tr, url)
		if code != 0 || !strings.Contains(stdout, "100 deliveries: none lost") {
			t.Errorf("%s: exit code %d, stdout %q, stderr %q", tr, code, stdout, stderr)
		}
		code, stdout, stderr = runBench(t, "-event say -messages 20 -transport "+tr, url)
		if code != 1 || stderr != "pond bench: 20 rejected: rejected: HANDLER_NOT_FOUND 400 on /chat/0: want a text\n" ||
			!strings.Contains(stdout, "20 REJECTED") || !strings.Contains(stdout, "use -payload") {
			t.Errorf("%s, default payload: exit code %d, stdout %q, stderr %q", tr, code, stdout, stderr)
		}
	}
}

// Host names, queries, headers and the payload of joins reach the server unchanged.
func TestBenchIdentifiesItself(t *testing.T) {
	var mu sync.Mutex
	seen := map[string]int{}
	url := serveForBench(t, func(p *pond.Pond) {
		e := p.Endpoint("/socket", func(ctx *pond.ConnectionContext) error { return ctx.Accept() })
		l := e.Lobby("/chat/:room", func(ctx *pond.JoinContext) error {
			var join struct {
				Name string `json:"name"`
			}
			if err := ctx.Bind(&join); err != nil || join.Name != "Ann" {
				return ctx.Decline(http.StatusForbidden, "who are you?")
			}
			return ctx.Accept()
		})
		l.OnMessage("message", func(ctx *pond.EventContext) error { return ctx.Broadcast(ctx.Event(), ctx.Payload()) })
	}, func(r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		host, _, _ := strings.Cut(r.Host, ":")
		seen[strings.Join([]string{r.Method, host, r.URL.String(), r.Header.Get("Authorization"), r.Header.Get("X-Tenant")}, " ")]++
	})
	url = strings.Replace(url, "127.0.0.1", "localhost", 1) + "?token=1"
	var stdout, stderr strings.Builder
	code := run(t.Context(), []string{
		"bench", "-transport", "sse", "-header", "Authorization: Bearer 2", "-header", "X-Tenant:3", "-join", `{"name":"Ann"}`,
		"-clients", "5", "-messages", "4", "-warmup", "0", "-lost-after", "1m", url,
	}, &stdout, &stderr)
	if code != 0 {
		t.Errorf("exit code %d, stderr %q", code, stderr.String())
	}
	if !strings.Contains(stdout.String(), "/socket\n") || strings.Contains(stdout.String(), "token") {
		t.Errorf("the URL is missing, or the secret is printed:\n%s", stdout.String())
	}
	mu.Lock()
	defer mu.Unlock()
	const who = " localhost /socket?token=1 Bearer 2 3"
	if len(seen) != 2 || seen["GET"+who] != 5 || seen["POST"+who] != 5+4 {
		t.Errorf("requests: %v", seen)
	}
}
