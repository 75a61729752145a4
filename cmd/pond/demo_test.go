package main

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
)

func TestDemoOnAUsedPort(t *testing.T) {
	taken, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()

	var stdout, stderr strings.Builder
	code := run(t.Context(), []string{"demo", "-addr", taken.Addr().String()}, &stdout, &stderr)
	if code != 1 || stdout.Len() > 0 {
		t.Errorf("exit code %d, stdout %q", code, stdout.String())
	}
	message, rest, _ := strings.Cut(stderr.String(), "\n")
	if !strings.Contains(message, "address already in use (try -addr 127.0.0.1:0)") || rest != "" {
		t.Errorf("stderr: %q", stderr.String())
	}
}

// TestDemoServesItsPage is the only test of the demo that uses a network. The others use
// package pondtest.
func TestDemoServesItsPage(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	url, exit := startDemo(t, ctx)

	for path, contentType := range map[string]string{
		"/":            "text/html; charset=utf-8",
		"/app.js":      "text/javascript; charset=utf-8",
		"/pond.js":     "text/javascript; charset=utf-8",
		"/style.css":   "text/css; charset=utf-8",
		"/icon.svg":    "image/svg+xml",
		"/nowhere.txt": "text/plain; charset=utf-8",
	} {
		status, header, body := get(t, url+path)
		if missing := path == "/nowhere.txt"; (status == http.StatusNotFound) != missing || (status == http.StatusOK) == missing {
			t.Errorf("%s: status %d", path, status)
		}
		for key, want := range map[string]string{
			"Content-Type":            contentType,
			"Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'",
			"X-Content-Type-Options":  "nosniff",
		} {
			if got := header.Get(key); !strings.HasPrefix(got, want) {
				t.Errorf("%s: %s: %q, want %q", path, key, got, want)
			}
		}
		if strings.Contains(body, "style=\"") || strings.Contains(body, "<script>") || strings.Contains(body, "onclick=\"") {
			t.Errorf("%s has inline code or style, which its policy forbids", path)
		}
	}

	stop()
	if code := <-exit; code != 0 {
		t.Errorf("exit code %d", code)
	}
}

// startDemo runs the demo on a free port until ctx is done. It returns the URL, and a
// channel for the exit code.
func startDemo(t *testing.T, ctx context.Context) (url string, exit <-chan int) {
	t.Helper()
	out, stdout := io.Pipe()
	code := make(chan int, 1)
	go func() {
		defer stdout.Close()
		code <- run(ctx, []string{"demo", "-addr", "127.0.0.1:0"}, stdout, t.Output())
	}()
	line, err := bufio.NewReader(out).ReadString('\n')
	url, ok := strings.CutPrefix(line, "pond demo: ")
	url, ok2 := strings.CutSuffix(url, " (Ctrl+C stops)\n")
	if err != nil || !ok || !ok2 {
		t.Fatalf("first line: %q, %v", line, err)
	}
	return url, code
}

func get(t *testing.T, url string) (status int, header http.Header, body string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, resp.Header, string(text)
}

func TestVisitable(t *testing.T) {
	for addr, want := range map[string]string{
		"127.0.0.1:8080":   "127.0.0.1:8080",
		"192.168.1.4:8080": "192.168.1.4:8080",
		"0.0.0.0:8080":     "localhost:8080",
		"[::]:8080":        "localhost:8080",
		"[::1]:8080":       "[::1]:8080",
	} {
		tcp, err := net.ResolveTCPAddr("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		if got := visitable(tcp); got != want {
			t.Errorf("%s: %s, want %s", addr, got, want)
		}
	}
}
