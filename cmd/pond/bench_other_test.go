//go:build !linux

package main

import (
	"strings"
	"testing"
)

func TestBenchNeedsLinux(t *testing.T) {
	var stdout, stderr strings.Builder
	code := run(t.Context(), []string{"bench"}, &stdout, &stderr)
	if code != 1 || !strings.Contains(stderr.String(), "the load generator requires Linux") || stdout.Len() > 0 {
		t.Errorf("exit code %d, stdout %q, stderr %q", code, stdout.String(), stderr.String())
	}
}
