package failures_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pondsocket/pond/internal/faultproxy"
	"github.com/pondsocket/pond/internal/testserver"
	"github.com/redis/rueidis"
)

// timeout is for everything that must happen.
const timeout = 60 * time.Second

// eventually waits until a condition holds, and returns how long that took.
func eventually(t testing.TB, what string, ok func() error) time.Duration {
	t.Helper()
	began := time.Now()
	for {
		err := ok()
		if err == nil {
			return time.Since(began)
		}
		if time.Since(began) > timeout {
			t.Fatalf("%s: not within %v: %v", what, timeout, err)
		}
		<-time.After(20 * time.Millisecond)
	}
}

// startRedis starts a Redis server with these arguments.
func startRedis(t testing.TB, args ...string) *testserver.Server {
	t.Helper()
	s := testserver.NewRedis(t, args...)
	s.Start()
	return s
}

// inMemory are the arguments of a Redis that stores nothing on disk.
var inMemory = []string{"--save", "", "--appendonly", "no", "--repl-diskless-sync-delay", "0"}

// startNATS starts a NATS server.
func startNATS(t testing.TB) *testserver.Server {
	t.Helper()
	s := testserver.NewNATS(t)
	s.Start()
	return s
}

// command runs a Redis command.
func command(t testing.TB, s *testserver.Server, args ...string) rueidis.RedisMessage {
	t.Helper()
	client, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{s.Addr}, DisableCache: true, ForceSingleClient: true})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	m, err := client.Do(ctx, client.B().Arbitrary(args...).Build()).ToMessage()
	if err != nil {
		t.Fatalf("%s: %v", strings.Join(args, " "), err)
	}
	return m
}

// expectInfo returns an error unless the information about a Redis server contains a
// text. A server that is promoted closes its connections.
func expectInfo(s *testserver.Server, section, want string) error {
	conn, err := net.Dial("tcp", s.Addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(timeout))
	var size int
	if _, err := fmt.Fprintf(conn, "INFO %s\r\n", section); err != nil {
		return err
	}
	r := bufio.NewReader(conn)
	if _, err := fmt.Fscanf(r, "$%d\r\n", &size); err != nil {
		return err
	}
	text := make([]byte, size)
	_, err = io.ReadFull(r, text)
	if err == nil && !strings.Contains(string(text), want) {
		err = fmt.Errorf("%s", text)
	}
	return err
}

// A node is a process of the cluster.
type node struct {
	*testserver.Server
	number  int
	proxy   *faultproxy.Proxy // between the node and its broker; nil if there is none
	network *network          // the same
	killed  bool

	output io.Closer
	reader sync.WaitGroup

	mu      sync.Mutex // guards the following field
	records []record
}

// startNode starts a node.
func startNode(t testing.TB, number int, b brokerOf, nodeTimeout time.Duration) *node {
	t.Helper()
	n := &node{number: number, proxy: b.proxy, network: b.network}
	addr, log := testserver.FreeAddr(t), filepath.Join(t.TempDir(), "log")
	if b.network != nil {
		addr = strings.Replace(addr, "127.0.0.1", b.network.node, 1)
	}
	cfg, err := json.Marshal(nodeConfig{Addr: addr, Broker: b.url, Timeout: nodeTimeout})
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	args := []string{nodeArgument, string(cfg)}
	if b.network != nil {
		program, args = "nsenter", append([]string{"--net=" + b.network.namespace(), program}, args...)
	}
	n.Server = testserver.New(t, addr, program, args, log, func(addr string) error {
		_, err := get("http://" + addr + "/health")
		return err
	})
	stderr, err := os.Create(log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stderr.Close() })
	stdout, write := io.Pipe()
	n.output = write
	n.Output(write, stderr)
	n.reader.Go(func() {
		for lines := bufio.NewScanner(stdout); lines.Scan(); {
			var r record
			if json.Unmarshal(lines.Bytes(), &r) != nil {
				continue // the last line of a killed process
			}
			n.mu.Lock()
			n.records = append(n.records, r)
			n.mu.Unlock()
		}
	})
	t.Cleanup(func() {
		n.Kill()
		n.readAll()
		if text, _ := os.ReadFile(log); t.Failed() {
			t.Logf("log of node %d:\n%s", number, text)
		}
	})
	n.Start()
	return n
}

// readAll waits until everything is recorded that the process reported before its end.
func (n *node) readAll() {
	n.output.Close()
	n.reader.Wait()
}

func get(url string) (body []byte, err error) {
	client := http.Client{Timeout: timeout}
	response, err := client.Get(url)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	body, err = io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", response.Status, body)
	}
	return body, err
}

// known returns what the node knows of the members of a channel.
func (n *node) known(channel string) (all map[string]knownUser, err error) {
	body, err := get("http://" + n.Addr + "/known?channel=" + url.QueryEscape(channel))
	if err != nil {
		return nil, err
	}
	return all, json.Unmarshal(body, &all)
}

// all returns the records of a kind, in order.
func (n *node) all(what string) (list []record) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, r := range n.records {
		if r.What == what {
			list = append(list, r)
		}
	}
	return list
}

// sum returns the sum of the numbers in the records of a kind.
func (n *node) sum(what string) (sum int) {
	for _, r := range n.all(what) {
		sum += r.N
	}
	return sum
}
