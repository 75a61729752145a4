package redisbroker_test

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/pondsocket/pond/internal/faultproxy"
	"github.com/redis/rueidis"
)

// A server is a redis-server of a test, on a loopback port of its own.
type server struct {
	t    testing.TB
	addr string
	dir  string
	args []string

	sentinel string // the configuration of a Sentinel

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
	path, err := exec.LookPath("redis-server")
	if err != nil {
		s.t.Fatal("these tests need redis-server: apt-get install redis-server")
	}
	_, port, _ := net.SplitHostPort(s.addr)
	var args []string
	if s.sentinel != "" {
		args = append(args, s.sentinel, "--sentinel")
	}
	args = append(args,
		"--port", port, "--bind", "127.0.0.1", "--dir", s.dir, "--logfile", filepath.Join(s.dir, "log"))
	if s.sentinel == "" {
		args = append(args, "--save", "", "--appendonly", "no", "--repl-diskless-sync-delay", "0")
	}
	cmd := exec.Command(path, append(args, s.args...)...)
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.mu.Lock()
	s.cmd = cmd
	s.mu.Unlock()
	deadline := time.Now().Add(20 * time.Second)
	for {
		if err := ping(s.addr); err == nil {
			return
		} else if time.Now().After(deadline) {
			log, _ := os.ReadFile(filepath.Join(s.dir, "log"))
			s.t.Fatalf("redis-server does not answer: %v\n%s", err, log)
		}
		<-time.After(5 * time.Millisecond)
	}
}

// ping asks whether a server works.
func ping(addr string) error {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	if _, err := conn.Write([]byte("PING\r\n")); err != nil {
		return err
	}
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err == nil && !strings.HasPrefix(line, "+PONG") && !strings.HasPrefix(line, "-NOAUTH") {
		err = fmt.Errorf("answer %q", line)
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

// restart kills the server and starts it again, without its data.
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

// command runs a command with redis-cli's protocol, and fails the test on an error.
func (s *server) command(args ...string) rueidis.RedisMessage {
	s.t.Helper()
	client, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{s.addr}, DisableCache: true, ForceSingleClient: true})
	if err != nil {
		s.t.Fatal(err)
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	m, err := client.Do(ctx, client.B().Arbitrary(args...).Build()).ToMessage()
	if err != nil {
		s.t.Fatalf("%s: %v", strings.Join(args, " "), err)
	}
	return m
}

// killClients closes the connections with this name, as CLIENT KILL does. kind is
// "pubsub", "normal" or "".
func (s *server) killClients(name, kind string) {
	s.t.Helper()
	eventually(s.t, "a connection of "+name, func() bool { return s.killSome(name, kind) > 0 })
}

func (s *server) killSome(name, kind string) (killed int) {
	s.t.Helper()
	m := s.command("CLIENT", "LIST")
	list, _ := m.ToString()
	for line := range strings.Lines(list) {
		id, subscriptions, named := "", false, false
		for field := range strings.FieldsSeq(line) {
			key, value, _ := strings.Cut(field, "=")
			switch key {
			case "id":
				id = value
			case "name":
				named = value == name
			case "sub":
				subscriptions = value != "0"
			}
		}
		if named && (kind == "" || subscriptions == (kind == "pubsub")) {
			s.command("CLIENT", "KILL", "ID", id)
			killed++
		}
	}
	return killed
}

// startProxy starts a proxy to a server, which ends with the test.
func startProxy(t testing.TB, target string) *faultproxy.Proxy {
	t.Helper()
	p, err := faultproxy.Start(target)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

// port returns the port of an address.
func port(addr string) string {
	_, p, _ := net.SplitHostPort(addr)
	if _, err := strconv.Atoi(p); err != nil {
		panic(err)
	}
	return p
}
