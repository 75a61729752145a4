package promise_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"testing"

	"github.com/pondsocket/pond"
	"github.com/pondsocket/pond/internal/suite/kit"
)

func TestMain(m *testing.M) {
	if os.Getenv(idleServerEnv) != "" {
		serveIdle()
		return
	}
	os.Exit(m.Run())
}

// BenchmarkIdle prints the cost of a connection to an idle server: resident memory
// after a garbage collection, and goroutines. The server is a separate process with
// 10,000 clients on loopback, all in one channel. The benchmark fails if a
// connection costs more than the limit.
//
//	go test -run '^$' -bench Idle -benchtime 1x ./internal/suite/promise
func BenchmarkIdle(b *testing.B) {
	for _, kind := range []string{"websocket", "sse"} {
		b.Run(kind, func(b *testing.B) {
			for b.Loop() {
				benchmarkIdle(b, kind)
			}
		})
	}
}

func benchmarkIdle(b *testing.B, kind string) {
	const clients = 10_000
	server := startIdleServer(b)
	rss, goroutines := server.cost()
	for i := range clients {
		if kind == "sse" {
			joinOverSSE(b, server.addr, i)
		} else {
			joinOverWebSocket(b, server.addr, i)
		}
	}
	fullRSS, fullGoroutines := server.cost()
	bytes := float64(fullRSS-rss) / clients
	running := float64(fullGoroutines-goroutines) / clients
	b.ReportMetric(bytes, "RSS-B/conn")
	b.ReportMetric(running, "goroutines/conn")
	b.ReportMetric(0, "ns/op")
	if bytes > mostIdleBytes || running > mostIdleGoroutines {
		b.Errorf("an idle connection costs %.0f bytes and %.3f goroutines, want at most %d and %.3f",
			bytes, running, mostIdleBytes, mostIdleGoroutines)
	}
}

// The limits for an idle connection.
const (
	mostIdleBytes      = 6 << 10
	mostIdleGoroutines = 1.01 // the server has some goroutines of its own, and a few that wait for messages
)

// An idleServer is this test binary run as a server: see TestMain.
type idleServer struct {
	b     *testing.B
	addr  string
	stdin io.Writer
	out   *bufio.Reader
}

const idleServerEnv = "POND_IDLE_SERVER"

func startIdleServer(b *testing.B) *idleServer {
	cmd := exec.Command(os.Args[0], "-test.run=^$")
	cmd.Env = append(os.Environ(), idleServerEnv+"=1")
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		stdin.Close() // ends it
		_ = cmd.Wait()
	})
	s := &idleServer{b: b, stdin: stdin, out: bufio.NewReader(stdout)}
	s.addr = s.line()
	return s
}

func (s *idleServer) line() string {
	line, err := s.out.ReadString('\n')
	if err != nil {
		s.b.Fatal(err)
	}
	return strings.TrimSpace(line)
}

// cost returns the resident bytes and the goroutines of the server.
func (s *idleServer) cost() (rss, goroutines int) {
	fmt.Fprintln(s.stdin, "cost")
	if _, err := fmt.Sscan(s.line(), &rss, &goroutines); err != nil {
		s.b.Fatal(err)
	}
	return rss, goroutines
}

// serveIdle is the server's main function.
func serveIdle() {
	p := pond.New()
	p.Endpoint("/socket", kit.Accept).Lobby("/chat/:room", kit.Admit)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	go http.Serve(l, p) // ends with the process
	fmt.Println(l.Addr())
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		runtime.GC()
		debug.FreeOSMemory()
		statm, err := os.ReadFile("/proc/self/statm")
		if err != nil {
			panic(err)
		}
		pages, _ := strconv.Atoi(strings.Fields(string(statm))[1])
		fmt.Println(pages*os.Getpagesize(), runtime.NumGoroutine())
	}
}

func dialIdle(b *testing.B, addr, head string) (net.Conn, *bufio.Reader) {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { conn.Close() })
	if _, err := io.WriteString(conn, head); err != nil {
		b.Fatal(err)
	}
	return conn, bufio.NewReaderSize(conn, 1024)
}

// await reads until the text what arrives.
func await(b *testing.B, r *bufio.Reader, what string) string {
	var seen bytes.Buffer
	for !strings.Contains(seen.String(), what) {
		c, err := r.ReadByte()
		if err != nil {
			b.Fatalf("waiting for %s after %q: %v", what, seen.String(), err)
		}
		seen.WriteByte(c)
	}
	return seen.String()
}

func joinOverWebSocket(b *testing.B, addr string, i int) {
	conn, r := dialIdle(b, addr, "GET /socket HTTP/1.1\r\nHost: pond\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
	await(b, r, "CONNECTION")
	msg := kit.JoinMessage(i)
	head := []byte{0x81, 0x80 | byte(len(msg)), 0, 0, 0, 0}
	if len(msg) > 125 {
		head = []byte{0x81, 0x80 | 126, byte(len(msg) >> 8), byte(len(msg)), 0, 0, 0, 0}
	}
	if _, err := conn.Write(append(head, msg...)); err != nil {
		b.Fatal(err)
	}
	await(b, r, "ACKNOWLEDGE")
}

func joinOverSSE(b *testing.B, addr string, i int) {
	_, r := dialIdle(b, addr, "GET /socket HTTP/1.1\r\nHost: pond\r\nAccept: text/event-stream\r\n\r\n")
	hello := await(b, r, `"}}`)
	_, id, _ := strings.Cut(hello, `"connectionId":"`)
	id, _, _ = strings.Cut(id, `"`)
	req, err := http.NewRequest(http.MethodPost, "http://"+addr+"/socket", strings.NewReader(kit.JoinMessage(i)))
	if err != nil {
		b.Fatal(err)
	}
	req.Header.Set("X-Connection-ID", id)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		b.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusNoContent {
		b.Fatal(resp.Status)
	}
	await(b, r, "ACKNOWLEDGE")
}
