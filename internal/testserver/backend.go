//go:build unix

package testserver

import (
	"bufio"
	"fmt"
	"net"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/pondsocket/pond/internal/faultproxy"
)

// NewRedis returns a redis-server, or a Sentinel, that is not started yet. Its directory
// is temporary.
func NewRedis(t testing.TB, args ...string) *Server {
	t.Helper()
	program, err := exec.LookPath("redis-server")
	if err != nil {
		t.Fatal("this test needs redis-server: apt-get install redis-server")
	}
	addr, dir := FreeAddr(t), t.TempDir()
	_, port, _ := net.SplitHostPort(addr)
	log := filepath.Join(dir, "log")
	args = append(slices.Clip(args), "--port", port, "--bind", "127.0.0.1", "--dir", dir, "--logfile", log)
	return New(t, addr, program, args, log, func(addr string) error {
		return converse(addr, "PING\r\n", "+PONG", "-NOAUTH")
	})
}

// NewNATS returns a nats-server that is not started yet.
func NewNATS(t testing.TB, args ...string) *Server {
	t.Helper()
	program, err := exec.LookPath("nats-server")
	if err != nil {
		program = "/usr/sbin/nats-server" // the folder is often not in PATH
	}
	addr := FreeAddr(t)
	_, port, _ := net.SplitHostPort(addr)
	log := filepath.Join(t.TempDir(), "log")
	args = append([]string{"--addr", "127.0.0.1", "--port", port, "--log", log}, args...)
	return New(t, addr, program, args, log, func(addr string) error {
		return converse(addr, "", "INFO ")
	})
}

// StartProxy starts a proxy to a server, which ends with the test.
func StartProxy(t testing.TB, target string) *faultproxy.Proxy {
	t.Helper()
	p, err := faultproxy.Start(target)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

// converse sends a request to a server, and returns an error unless its response begins
// with one of want.
func converse(addr, request string, want ...string) error {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	if _, err := conn.Write([]byte(request)); err != nil {
		return err
	}
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil {
		return err
	}
	for _, w := range want {
		if strings.HasPrefix(line, w) {
			return nil
		}
	}
	return fmt.Errorf("response %q", line)
}
