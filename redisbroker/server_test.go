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

// A proxy stands between one node and a server.
type proxy struct {
	t testing.TB
	l net.Listener

	mu      sync.Mutex
	target  string
	conns   map[net.Conn]bool // both sides; true: it is for subscriptions
	down    bool
	stalled chan struct{} // nil: not stalled
	lose    string        // the response to a request that contains it
}

// startProxy starts a proxy to a server, which ends with the test.
func startProxy(t testing.TB, target string) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{t: t, l: l, target: target, conns: map[net.Conn]bool{}}
	done := make(chan struct{})
	go func() {
		defer close(done)
		p.serve()
	}()
	t.Cleanup(func() {
		l.Close()
		p.resume()
		p.reset()
		<-done
	})
	return p
}

func (p *proxy) addr() string { return p.l.Addr().String() }

func (p *proxy) serve() {
	var wg sync.WaitGroup
	defer wg.Wait()
	for {
		client, err := p.l.Accept()
		if err != nil {
			return
		}
		wg.Go(func() { p.handle(client) })
	}
}

func (p *proxy) handle(client net.Conn) {
	defer client.Close()
	p.mu.Lock()
	target, down := p.target, p.down
	p.mu.Unlock()
	if down {
		return
	}
	server, err := net.Dial("tcp", target)
	if err != nil {
		return
	}
	defer server.Close()
	p.mu.Lock()
	if p.down {
		p.mu.Unlock()
		return
	}
	p.conns[client], p.conns[server] = false, false
	p.mu.Unlock()
	var once sync.Once
	end := func() {
		once.Do(func() {
			client.Close()
			server.Close()
			p.mu.Lock()
			delete(p.conns, client)
			delete(p.conns, server)
			p.mu.Unlock()
		})
	}
	var lost sync.Map // has an entry when the next response is to be lost
	var wg sync.WaitGroup
	wg.Go(func() {
		defer end()
		p.copy(server, client, func(data []byte) bool {
			p.mu.Lock()
			defer p.mu.Unlock()
			if strings.Contains(string(data), "\r\nSUBSCRIBE\r\n") {
				p.conns[client], p.conns[server] = true, true
			}
			if p.lose != "" && strings.Contains(string(data), p.lose) {
				p.lose = ""
				lost.Store("next", true)
			}
			return true
		})
	})
	wg.Go(func() {
		defer end()
		p.copy(client, server, func([]byte) bool {
			_, lose := lost.Load("next")
			return !lose
		})
	})
	wg.Wait()
}

// copy copies until pass returns false.
func (p *proxy) copy(dst, src net.Conn, pass func(data []byte) bool) {
	buf := make([]byte, 64<<10)
	for {
		n, err := src.Read(buf)
		p.mu.Lock()
		stalled := p.stalled
		p.mu.Unlock()
		if stalled != nil {
			<-stalled
		}
		if n > 0 && !pass(buf[:n]) {
			return
		}
		if _, werr := dst.Write(buf[:n]); err != nil || werr != nil {
			return
		}
	}
}

// reset breaks all connections.
func (p *proxy) reset() { p.resetIf(func(bool) bool { return true }) }

func (p *proxy) resetIf(match func(subscriptions bool) bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c, subscriptions := range p.conns {
		if !match(subscriptions) {
			continue
		}
		if tcp, ok := c.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0)
		}
		c.Close()
	}
}

// sever breaks all connections and accepts no others.
func (p *proxy) sever() {
	p.mu.Lock()
	p.down = true
	p.mu.Unlock()
	p.reset()
}

func (p *proxy) restore() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.down = false
}

// stall keeps the connections, and lets nothing through.
func (p *proxy) stall() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stalled = make(chan struct{})
}

func (p *proxy) resume() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stalled != nil {
		close(p.stalled)
		p.stalled = nil
	}
}

// loseResponse breaks the connection in place of the response to the next request that
// contains a text.
func (p *proxy) loseResponse(text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lose = text
}

// redirect lets new connections go to another server, and breaks the others.
func (p *proxy) redirect(target string) {
	p.mu.Lock()
	p.target = target
	p.mu.Unlock()
	p.reset()
}

// redirectCommands is redirect for all connections but those for subscriptions.
func (p *proxy) redirectCommands(target string) {
	p.mu.Lock()
	p.target = target
	p.mu.Unlock()
	p.resetIf(func(subscriptions bool) bool { return !subscriptions })
}

// port returns the port of an address.
func port(addr string) string {
	_, p, _ := net.SplitHostPort(addr)
	if _, err := strconv.Atoi(p); err != nil {
		panic(err)
	}
	return p
}
