package main

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/pondsocket/pond/cmd/pond/internal/deploy"
)

func TestBenchDeploy(t *testing.T) {
	t.Parallel()
	var stdout, stderr strings.Builder
	code := run(t.Context(), []string{"bench", "-scenario", "deploy", "-clients", "40", "-rooms", "4", "-rate", "400", "-warmup", "0"}, &stdout, &stderr)
	if code != 0 {
		t.Errorf("exit code %d, stderr %q", code, stderr.String())
	}
	for _, want := range []string{"40 clients in 4 rooms get a message every 100 ms", "obey RECONNECT          ignore it", "all reconnected after ", "none               none\n"} {
		if !strings.Contains(stdout.String(), want) {
			t.Errorf("%q is missing in\n%s", want, stdout.String())
		}
	}
}

func TestBenchDeployJSON(t *testing.T) {
	t.Parallel()
	var stdout, stderr strings.Builder
	code := run(t.Context(), []string{"bench", "-scenario", "deploy", "-clients", "10", "-rate", "100", "-warmup", "0", "-transport", "sse", "-json"}, &stdout, &stderr)
	var got struct{ Runs []deploy.Result }
	if err := json.Unmarshal([]byte(stdout.String()), &got); code != 0 || err != nil || len(got.Runs) != 2 || got.Runs[0].Ignored || !got.Runs[1].Ignored || got.Runs[1].Back != 10 {
		t.Errorf("exit code %d, error %v, stdout %s", code, err, stdout.String())
	}
}

func TestBenchDeployUsage(t *testing.T) {
	for line, want := range map[string]string{
		"-size 7 -pid 1":        "-pid and -size cannot be used in deploy",
		"http://127.0.0.1:1/":   "cannot be used with a URL",
		"-clients 0":            "0 clients cannot be spread",
		"-clients 10 -rooms 11": "10 clients cannot be spread over 11 rooms",
		"-transport pigeon":     `unknown transport "pigeon"`,
		"-rate -1":              "-rate must be positive",
		"-serve 127.0.0.1:x -clients 7 -rooms 1 -size 1": "-size cannot be used",
	} {
		var stdout, stderr strings.Builder
		code := run(t.Context(), append([]string{"bench", "-scenario", "deploy"}, strings.Fields(line)...), &stdout, &stderr)
		if code != 2 || !strings.Contains(stderr.String(), want) {
			t.Errorf("%s: exit code %d, stderr %q", line, code, stderr.String())
		}
	}
	doc, err := os.ReadFile("../../docs/bench.md")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(doc), "\n| `deploy` | ") {
		t.Error("deploy is missing in docs/bench.md")
	}
}
