package natsbroker_test

import (
	"bufio"
	"fmt"
	"net"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pondsocket/pond/internal/testserver"
)

// startServer starts a nats-server, which ends with the test.
func startServer(t testing.TB, args ...string) *testserver.Server {
	t.Helper()
	s := newServer(t, args...)
	s.Start()
	return s
}

// newServer returns a server that is not started yet.
func newServer(t testing.TB, args ...string) *testserver.Server {
	t.Helper()
	program, err := exec.LookPath("nats-server")
	if err != nil {
		program = "/usr/sbin/nats-server" // the folder is often not in PATH
	}
	addr := testserver.FreeAddr(t)
	_, port, _ := net.SplitHostPort(addr)
	log := filepath.Join(t.TempDir(), "log")
	args = append([]string{"--addr", "127.0.0.1", "--port", port, "--log", log}, args...)
	return testserver.New(t, addr, program, args, log, func(addr string) error {
		_, err := greeting(addr)
		return err
	})
}

// greeting checks whether a server works. It returns the server's description of
// itself.
func greeting(addr string) (info string, err error) {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	info, err = bufio.NewReader(conn).ReadString('\n')
	if err == nil && !strings.HasPrefix(info, "INFO ") {
		err = fmt.Errorf("greeting %q", info)
	}
	return info, err
}
