package natsbroker_test

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// A server is a nats-server of a test, on a loopback port of its own.
type server struct {
	t    testing.TB
	addr string
	dir  string
	args []string

	mu  sync.Mutex
	cmd *exec.Cmd
}

// startServer starts a server, which ends with the test.
func startServer(t testing.TB, args ...string) *server {
	t.Helper()
	s := &server{t: t, addr: freeAddr(t), dir: t.TempDir(), args: args}
	s.start()
	t.Cleanup(s.kill)
	return s
}

// freeAddr returns a loopback address where nobody listens.
func freeAddr(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// start starts the process and waits until it answers.
func (s *server) start() {
	s.t.Helper()
	path, err := exec.LookPath("nats-server")
	if err != nil {
		path = "/usr/sbin/nats-server" // not in everybody's path
	}
	_, port, _ := net.SplitHostPort(s.addr)
	log := filepath.Join(s.dir, "log")
	cmd := exec.Command(path, append([]string{"--addr", "127.0.0.1", "--port", port, "--log", log}, s.args...)...)
	if err := cmd.Start(); err != nil {
		s.t.Fatalf("these tests need nats-server: apt-get install nats-server: %v", err)
	}
	s.mu.Lock()
	s.cmd = cmd
	s.mu.Unlock()
	deadline := time.Now().Add(20 * time.Second)
	for {
		if err := greeting(s.addr); err == nil {
			return
		} else if time.Now().After(deadline) {
			text, _ := os.ReadFile(log)
			s.t.Fatalf("nats-server does not answer: %v\n%s", err, text)
		}
		<-time.After(5 * time.Millisecond)
	}
}

// greeting asks whether a server works.
func greeting(addr string) error {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err == nil && !strings.HasPrefix(line, "INFO ") {
		err = fmt.Errorf("greeting %q", line)
	}
	return err
}

// kill ends the process at once.
func (s *server) kill() {
	s.mu.Lock()
	cmd := s.cmd
	s.cmd = nil
	s.mu.Unlock()
	if cmd != nil {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
}

// restart kills the server and starts it again.
func (s *server) restart() {
	s.t.Helper()
	s.kill()
	s.start()
}

// stop lets the process do nothing until resume is called.
func (s *server) stop() (resume func()) {
	s.mu.Lock()
	pid := s.cmd.Process.Pid
	s.mu.Unlock()
	_ = syscall.Kill(pid, syscall.SIGSTOP)
	var status syscall.WaitStatus
	if _, err := syscall.Wait4(pid, &status, syscall.WUNTRACED, nil); err != nil || !status.Stopped() { // it takes a moment
		s.t.Errorf("the server does not stop: %v", err)
	}
	return func() { _ = syscall.Kill(pid, syscall.SIGCONT) }
}
