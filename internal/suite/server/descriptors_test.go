//go:build unix

package server_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/pondsocket/pond"
	"github.com/pondsocket/pond/internal/suite/kit"
)

// fewDescriptors is the environment variable that makes the test binary a server with this
// limit of open files.
const fewDescriptors = "POND_TEST_FEW_DESCRIPTORS"

// mounted is the environment variable that makes this server use a Pond as a handler, without
// [pond.Pond.Serve].
const mounted = "POND_TEST_MOUNTED"

func TestMain(m *testing.M) {
	if os.Getenv(fewDescriptors) == "" {
		os.Exit(m.Run())
	}
	if err := serveWithFewDescriptors(); err != nil {
		log.Fatal(err)
	}
}

// serveWithFewDescriptors serves two endpoints that share the default limit and one
// with its own, prints its address, and ends with its standard input.
func serveWithFewDescriptors() error {
	var limit syscall.Rlimit
	if _, err := fmt.Sscan(os.Getenv(fewDescriptors), &limit.Cur); err != nil {
		return err
	}
	limit.Max = limit.Cur
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		defer cancel()
		io.Copy(io.Discard, os.Stdin)
	}()
	p := pond.New(pond.WithLogger(slog.New(slog.NewTextHandler(os.Stderr, nil))))
	p.Endpoint("/a", kit.Accept)
	p.Endpoint("/b", kit.Accept)
	p.Endpoint("/own", kit.Accept, pond.WithMaxConns(2))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println(l.Addr())
	if os.Getenv(mounted) == "" {
		return p.Serve(ctx, &http.Server{}, l)
	}
	srv := &http.Server{Handler: p}
	context.AfterFunc(ctx, func() { srv.Close() })
	if err := srv.Serve(l); err != http.ErrServerClosed {
		return err
	}
	return p.Shutdown(context.Background())
}

// upgrade returns the status of a WebSocket handshake, and the connection.
func upgrade(addr, path string) (int, net.Conn, error) {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return 0, nil, err
	}
	conn.SetDeadline(time.Now().Add(kit.Patience))
	io.WriteString(conn, "GET "+path+" HTTP/1.1\r\nHost: pond\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		conn.Close()
		return 0, nil, err
	}
	return resp.StatusCode, conn, nil
}

// The default of WithMaxConns leaves descriptors for other requests; all endpoints
// share it, and it is logged. A server that runs out of descriptors anyway continues when
// some are free again.
func TestFault22_DefaultLimitIsBelowTheDescriptors(t *testing.T) {
	t.Run("Serve", func(t *testing.T) { defaultLimit(t) })
	t.Run("mounted", func(t *testing.T) { defaultLimit(t, mounted+"=1") })
}

func defaultLimit(t *testing.T, env ...string) {
	t.Helper()
	const descriptors, limit = 120, 96
	server := exec.Command(os.Args[0])
	server.Env = append(append(os.Environ(), env...), fmt.Sprintf("%s=%d", fewDescriptors, descriptors))
	stdin, _ := server.StdinPipe()
	stdout, _ := server.StdoutPipe()
	stderr, _ := server.StderrPipe()
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	lines, exhausted := make(chan []string, 1), make(chan struct{})
	go func() {
		var all []string
		var once sync.Once
		for s := bufio.NewScanner(stderr); s.Scan(); {
			all = append(all, s.Text())
			if strings.Contains(s.Text(), "too many open files") {
				once.Do(func() { close(exhausted) })
			}
		}
		lines <- all
	}()
	defer func() {
		stdin.Close()
		all := <-lines
		if err := server.Wait(); err != nil {
			t.Errorf("the server: %v\n%s", err, strings.Join(all, "\n"))
		}
		said := 0
		for _, line := range all {
			if strings.Contains(line, "level=INFO") && strings.Contains(line, "connections=96 descriptors=120") {
				said++
			}
		}
		if said != 1 {
			t.Errorf("the log names the limit %d times:\n%s", said, strings.Join(all, "\n"))
		}
	}()
	addr, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	addr = strings.TrimSpace(addr)

	var conns []net.Conn
	defer func() {
		for _, conn := range conns {
			conn.Close()
		}
	}()
	for i := range limit + 10 {
		status, conn, err := upgrade(addr, []string{"/a", "/b"}[i%2])
		if err != nil {
			t.Fatalf("connection %d: %v", i, err)
		}
		if want := map[bool]int{true: 101, false: 503}[i < limit]; status != want {
			t.Fatalf("connection %d: status %d, want %d", i, status, want)
		}
		if status != 101 {
			conn.Close()
			continue
		}
		conns = append(conns, conn)
	}
	for i, want := range []int{101, 101, 503} {
		status, conn, err := upgrade(addr, "/own")
		if err != nil || status != want {
			t.Fatalf("connection %d of the endpoint with its own limit: %d, want %d; %v", i, status, want, err)
		}
		conns = append(conns, conn)
	}

	for range descriptors { // which are more than there are left
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		conns = append(conns, conn)
	}
	select {
	case <-exhausted:
	case <-time.After(kit.Patience):
		t.Fatal("the server has enough descriptors")
	}
	for _, conn := range conns {
		conn.Close()
	}
	conns = nil
	kit.Eventually(t, "a connection after the exhaustion", func() bool {
		status, conn, err := upgrade(addr, "/a")
		if err != nil {
			t.Fatal(err)
		}
		conns = append(conns, conn)
		return status == 101
	})
}
