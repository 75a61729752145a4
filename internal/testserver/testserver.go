//go:build unix

// Package testserver runs the servers that tests need, such as redis-server and
// nats-server, as processes on loopback ports.
package testserver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"
)

// startTimeout limits the time until a server answers.
const startTimeout = time.Minute

// A Server is a process that listens on its own address. All methods except Kill and
// Restart must be called by the goroutine of the test.
type Server struct {
	Addr string

	t       testing.TB
	program string
	args    []string
	ready   func(addr string) error
	log     string // a file whose contents explain a failure
	stdout  io.Writer
	stderr  io.Writer

	mu     sync.Mutex
	cmd    *exec.Cmd
	exited chan struct{} // closed when cmd ended
	err    error         // of cmd, once exited is closed
}

// New returns a server that is not started yet. It ends with the test. The server answers
// if ready returns nil.
func New(t testing.TB, addr, program string, args []string, log string, ready func(addr string) error) *Server {
	s := &Server{Addr: addr, t: t, program: program, args: args, ready: ready, log: log}
	t.Cleanup(s.Kill)
	return s
}

// Output sets the writers for the output of the process. The default is none.
func (s *Server) Output(stdout, stderr io.Writer) { s.stdout, s.stderr = stdout, stderr }

// FreeAddr returns a loopback address where no program listens. Its port is outside the
// range for outgoing connections, so it stays free while a server is restarted.
func FreeAddr(t testing.TB) string {
	t.Helper()
	const first, count = 15000, 15000
	for range 1000 {
		addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(first+rand.N(count)))
		l, err := net.Listen("tcp", addr)
		if err == nil {
			l.Close()
			return addr
		}
	}
	t.Fatal("no free port")
	return ""
}

// Start starts the process and waits until it answers.
func (s *Server) Start() {
	s.t.Helper()
	deadline := time.Now().Add(startTimeout)
	exited := s.spawn()
	for {
		err := s.ready(s.Addr)
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			log, _ := os.ReadFile(s.log)
			s.t.Fatalf("%s does not answer: %v\n%s", s.program, err, log)
		}
		select {
		case <-exited: // another program used the port for a short time
			exited = s.spawn()
		default:
		}
		<-time.After(5 * time.Millisecond)
	}
}

// spawn starts the process. The channel is closed when it ended.
func (s *Server) spawn() (exited chan struct{}) {
	s.t.Helper()
	cmd := exec.Command(s.program, s.args...)
	cmd.Stdout, cmd.Stderr = s.stdout, s.stderr
	endWithTest(cmd)
	if err := cmd.Start(); err != nil {
		s.t.Fatalf("this test needs the program: %v", err)
	}
	exited = make(chan struct{})
	go func() {
		err := cmd.Wait()
		s.mu.Lock()
		s.err = err
		s.mu.Unlock()
		close(exited)
	}()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cmd, s.exited = cmd, exited
	return exited
}

// Kill ends the process immediately, if there is one.
func (s *Server) Kill() {
	s.mu.Lock()
	cmd, exited := s.cmd, s.exited
	s.cmd = nil
	s.mu.Unlock()
	if cmd != nil {
		_ = cmd.Process.Kill()
		<-exited
	}
}

// Terminate ends the process with SIGTERM, and returns an error unless its status is 0.
func (s *Server) Terminate(ctx context.Context) error {
	s.mu.Lock()
	cmd, exited := s.cmd, s.exited
	s.mu.Unlock()
	if cmd == nil {
		return errors.New("the process was killed")
	}
	_ = cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-exited:
	case <-ctx.Done():
		return fmt.Errorf("%s does not end after SIGTERM: %w", s.program, ctx.Err())
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// Restart kills the process and starts it again.
func (s *Server) Restart() {
	s.t.Helper()
	s.Kill()
	s.Start()
}

// Stop stops the process until resume is called.
func (s *Server) Stop() (resume func()) {
	s.t.Helper()
	s.mu.Lock()
	pid := s.cmd.Process.Pid
	s.mu.Unlock()
	_ = syscall.Kill(pid, syscall.SIGSTOP)
	var status syscall.WaitStatus
	if _, err := syscall.Wait4(pid, &status, syscall.WUNTRACED, nil); err != nil || !status.Stopped() { // stopping takes a short time
		s.t.Errorf("%s does not stop: %v", s.program, err)
	}
	return func() { _ = syscall.Kill(pid, syscall.SIGCONT) }
}
