//go:build unix

package main

import (
	"bufio"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/pondsocket/pond/examples/internal/hosttest"
)

// On SIGTERM, the clients are notified and the program exits with status 0. Clients that
// reconnect reach the next program at the same address.
func TestProcess(t *testing.T) {
	program := filepath.Join(t.TempDir(), "nethttp")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", program, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	addr, stop := start(t, program, "127.0.0.1:0")
	to := hosttest.Target{URL: "http://" + addr + "/api/socket"}
	hosttest.Goodbye(t, to, stop)
	_, stop = start(t, program, addr)
	hosttest.Chat(t, to)
	stop()
}

// start runs the program and returns its address.
func start(t *testing.T, program, addr string) (listens string, stop func()) {
	cmd := exec.CommandContext(t.Context(), program, "-addr", addr)
	log, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(log)
	if !lines.Scan() {
		t.Fatalf("no output from the program: %v", cmd.Wait())
	}
	_, listens, ok := strings.Cut(lines.Text(), "listening on ")
	if !ok {
		t.Fatalf("output of the program: %q", lines.Text())
	}
	return listens, func() {
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Error(err)
		}
		for lines.Scan() {
			if !strings.Contains(lines.Text(), " INFO ") {
				t.Errorf("output of the program: %q", lines.Text())
			}
		}
		if err := cmd.Wait(); err != nil {
			t.Errorf("the program exited with %v", err)
		}
	}
}
