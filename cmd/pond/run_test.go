package main

import (
	"runtime"
	"strings"
	"testing"
)

func TestRun(t *testing.T) {
	for _, tt := range []struct {
		args           string
		code           int
		stdout, stderr string // expected substrings; empty means no output
	}{
		{"", 2, "", "Usage: pond <command>"},
		{"help", 0, "  demo ", ""},
		{"-h", 0, "  demo ", ""},
		{"help demo", 0, "-addr host:port", ""},
		{"demo -h", 0, "(default \"127.0.0.1:8080\")", ""},
		{"help nonsense", 2, "", "unknown command \"nonsense\""},
		{"nonsense", 2, "", "pond: unknown command \"nonsense\"\nRun \"pond help\" for the list of commands.\n"},
		{"demo -nonsense", 2, "", "pond demo: flag provided but not defined: -nonsense\nRun \"pond help demo\" for usage.\n"},
		{"demo nonsense", 2, "", "unexpected argument \"nonsense\""},
		{"demo -addr nonsense", 1, "", "pond demo: listen tcp: address nonsense"},
		{"demo -addr 8080", 1, "", "want host:port, as in 127.0.0.1:8080"},
		{"doctor", 2, "", "pond doctor: missing argument URL\nRun \"pond help doctor\" for usage.\n"},
		{"doctor -h", 0, "Usage: pond doctor [flags] URL", ""},
		{"doctor nonsense", 2, "", "pond doctor: invalid URL \"nonsense\""},
		{"doctor 127.0.0.1:8000/socket", 2, "", "want http or https, as in https://example.com/socket"},
		{"doctor localhost:8000/socket", 2, "", "want http or https, as in https://example.com/socket"},
		{"doctor ftp://a/socket", 2, "", "invalid URL \"ftp://a/socket\""},
		{"doctor http://a -channel /chat/1 -join nonsense", 2, "", "want a JSON object"},
		{"doctor http://a -channel /chat/1 -join null", 2, "", "want a JSON object"},
		{"doctor http://a -join {}", 2, "", "-join requires -channel"},
		{"doctor http:///socket", 2, "", "no host"},
		{"doctor http://a -timeout 0s", 2, "", "-timeout must be positive"},
		{"doctor http://a http://b", 2, "", "unexpected argument \"http://b\""},
		{"doctor http://a -nonsense", 2, "", "flag provided but not defined: -nonsense"},
		{"doctor http://a -header nonsense", 2, "", "want 'Name: value'"},
		{"completion", 2, "", "missing argument bash|zsh|fish"},
		{"completion csh", 2, "", "unknown shell \"csh\": want bash|zsh|fish"},
		{"version", 0, "pond ", ""},
		{"-version", 0, "pond ", ""},
		{"--version", 0, "pond ", ""},
		{"version", 0, runtime.Version(), ""},
		{"version nonsense", 2, "", "unexpected argument \"nonsense\""},
	} {
		t.Run(tt.args, func(t *testing.T) {
			var stdout, stderr strings.Builder
			code := run(t.Context(), strings.Fields(tt.args), &stdout, &stderr)
			if code != tt.code {
				t.Errorf("exit code %d, want %d", code, tt.code)
			}
			check := func(name, got, want string) {
				if !strings.Contains(got, want) || (want == "") != (got == "") {
					t.Errorf("%s: %q, want %q in it", name, got, want)
				}
			}
			check("stdout", stdout.String(), tt.stdout)
			check("stderr", stderr.String(), tt.stderr)
		})
	}
}
