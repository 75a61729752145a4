//go:build linux

package process

import (
	"strings"
	"testing"
)

func shell(script string) []string { return []string{"/bin/sh", "-c", script} }

func TestServerThatObeys(t *testing.T) {
	p, err := Start(t.Context(), shell(`echo listening 127.0.0.1:7; while read line; do echo collected; done`))
	if err != nil {
		t.Fatal(err)
	}
	if p.Addr != "127.0.0.1:7" {
		t.Errorf("it listens on %q", p.Addr)
	}
	if err := p.Collect(); err != nil {
		t.Error(err)
	}
	if cpu, err := p.CPU(); err != nil || cpu < 0 {
		t.Errorf("CPU: %v, %v", cpu, err)
	}
	if err := p.Stop(); err != nil {
		t.Error(err)
	}
	if err := p.Stop(); err != nil {
		t.Error("again:", err)
	}
	if _, err := p.CPU(); err == nil {
		t.Error("the process still runs")
	}
}

func TestServersThatFail(t *testing.T) {
	for script, want := range map[string]string{
		`echo hello`:                    `unexpected output "hello"`,
		`echo no port left >&2; exit 1`: "no port left",
	} {
		_, err := Start(t.Context(), shell(script))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", script, err, want)
		}
	}
	p, err := Start(t.Context(), shell(`echo listening 127.0.0.1:7; read line; echo out of memory >&2; exit 2`))
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Collect(); err == nil {
		t.Error("Collect returned no error")
	}
	if err := p.Stop(); err == nil || !strings.Contains(err.Error(), "out of memory") {
		t.Errorf("got %v", err)
	}
}
