package main

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/pondsocket/pond"
	"github.com/pondsocket/pond/cmd/pond/internal/doctor"
)

// serveDemo serves the demo's chat until the test ends.
func serveDemo(t *testing.T) (url string) {
	t.Helper()
	p := pond.New(pond.WithLogger(slog.New(slog.NewTextHandler(t.Output(), nil))))
	srv := httptest.NewServer(demoHandler(p))
	t.Cleanup(func() {
		if err := p.Shutdown(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
		srv.Close()
	})
	return srv.URL
}

func TestDoctorFindsNothing(t *testing.T) {
	url := strings.Replace(serveDemo(t), "http", "ws", 1) + "/socket"
	var stdout, stderr strings.Builder
	code := run(t.Context(), []string{
		"doctor", url, "-channel", "/chat/lounge", "-join", `{"name": "Doctor"}`, "-timeout=1m", "-idle=0",
	}, &stdout, &stderr)
	if code != 0 || stderr.Len() > 0 {
		t.Errorf("exit code %d, stderr %q", code, stderr.String())
	}
	for _, want := range []string{"ok       websocket ", "ok       event stream ", "ok       channel ", "0 problems, 0 warnings\n"} {
		if !strings.Contains(stdout.String(), "\n"+want) {
			t.Errorf("no line %q in\n%s", want, stdout.String())
		}
	}
}

func TestDoctorFindsAProblem(t *testing.T) {
	srv := httptest.NewServer(http.NotFoundHandler())
	defer srv.Close()
	var stdout, stderr strings.Builder
	code := run(t.Context(), []string{"doctor", "-json", "-timeout=1m", srv.URL + "/socket?token=secret"}, &stdout, &stderr)
	if code != 1 || !strings.HasPrefix(stderr.String(), "pond doctor: 1 problem, 1 warning; see https://") {
		t.Errorf("exit code %d, stderr %q", code, stderr.String())
	}
	var d diagnosis
	if err := json.Unmarshal([]byte(stdout.String()), &d); err != nil {
		t.Fatal(err)
	}
	if d.URL != srv.URL+"/socket" || d.Problems != 1 || d.Findings[2].Check != "websocket" || d.Findings[2].Severity != doctor.Problem {
		t.Errorf("%+v", d)
	}
}

func TestDoctorAuthenticates(t *testing.T) {
	var missing []string
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "secret" || r.Header.Get("X-Tenant") != "a" || r.URL.RawQuery != "name=ann" {
			missing = append(missing, r.Method+" "+r.URL.String())
		}
		http.Error(w, "gone", http.StatusBadGateway)
	}))
	run(t.Context(), strings.Fields("doctor -header Authorization:secret -header X-Tenant:a "+srv.URL+"/?name=ann"), t.Output(), t.Output())
	srv.Close() // waits for its requests
	if len(missing) > 0 {
		t.Errorf("without header or query: %q", missing)
	}
}

func TestDoctorChecksTheCertificate(t *testing.T) {
	srv := httptest.NewTLSServer(http.NotFoundHandler()) // self-signed certificate
	srv.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	defer srv.Close()
	for _, tt := range []struct{ args, want string }{
		{"", "problem  tls                 tls: failed to verify certificate"},
		{"-insecure", "warning  tls                 TLS 1.3, the certificate is not checked"},
	} {
		var stdout strings.Builder
		if code := run(t.Context(), strings.Fields("doctor "+srv.URL+" "+tt.args), &stdout, t.Output()); code != 1 {
			t.Errorf("%q: exit code %d", tt.args, code)
		}
		if !strings.Contains(stdout.String(), tt.want) {
			t.Errorf("%q: no %q in\n%s", tt.args, tt.want, stdout.String())
		}
	}
}

func TestDoctorIsInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		cancel()
		<-r.Context().Done()
	}))
	defer srv.Close()
	var stdout, stderr strings.Builder
	code := run(ctx, []string{"doctor", srv.URL, "-timeout=1m"}, &stdout, &stderr)
	if code != 1 || stderr.String() != "pond doctor: interrupted\n" || stdout.Len() > 0 {
		t.Errorf("exit code %d, stderr %q, stdout %q: an interrupted check must not report anything", code, stderr.String(), stdout.String())
	}
}

func TestCountDown(t *testing.T) {
	var screen strings.Builder
	show := countDown(&screen)
	show(2 * time.Second)
	if !strings.HasSuffix(screen.String(), "another 2 s") { // of idle time
		t.Errorf("%q", screen.String())
	}
	show(0)
	if !strings.HasSuffix(screen.String(), "\r\x1b[K") {
		t.Errorf("the line is not erased: %q", screen.String())
	}
}
