package failures_test

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/pondsocket/pond/internal/testserver"
)

// private is set in the environment of a test that runs in its own network namespace. Its
// value is empty there, or the reason why there is none.
const private = "POND_TEST_NAMESPACE"

// enterNamespace runs the test again in a network namespace of its own, as root of a user
// namespace, if the system allows this. There, rules about addresses come before those of
// the machine itself, so that packets can be dropped.
func enterNamespace() error {
	if _, tried := os.LookupEnv(private); tried {
		return nil
	}
	const script = `ip link set lo up && ip rule add pref 10 lookup local && ip rule del pref 0 && "$@"`
	enter := []string{"unshare", "--map-root-user", "--net", "sh", "-c", script, "sh"}
	attempt := append(enter[1:len(enter):len(enter)], "sh", "-c",
		"ip link add name pond0 type veth peer name node0 && ip rule add pref 1 to 10.99.0.2 ipproto tcp sport 1 blackhole && nsenter --version")
	if output, err := exec.Command(enter[0], attempt...).CombinedOutput(); err != nil {
		return os.Setenv(private, fmt.Sprintf("%v: %s", err, strings.TrimSpace(string(output))))
	}
	program, err := exec.LookPath(enter[0])
	if err != nil {
		return err
	}
	enter[5] = strings.Replace(script, `"$@"`, `exec "$@"`, 1)
	return syscall.Exec(program, append(enter, os.Args...), append(os.Environ(), private+"="))
}

// partitioner describes how nodes are separated from the server.
func partitioner() string {
	if reason := os.Getenv(private); reason != "" {
		return "a proxy, because there are no network namespaces: " + reason
	}
	return "rules for packets between network namespaces"
}

// A network connects the namespace of a node with that of the test.
type network struct {
	t      testing.TB
	holder int // a process in the namespace of the node
	server string
	node   string
	port   string // of the server
}

var networks atomic.Int32

// startNetwork creates a namespace for a node, and lets a Redis server listen there, too.
// Without namespaces, it returns nil.
func startNetwork(t testing.TB, s *testserver.Server) *network {
	t.Helper()
	if os.Getenv(private) != "" {
		return nil
	}
	number := networks.Add(1)
	n := &network{t: t, server: fmt.Sprintf("10.99.%d.1", number), node: fmt.Sprintf("10.99.%d.2", number)}
	_, n.port, _ = net.SplitHostPort(s.Addr)
	cmd := exec.Command("unshare", "--net", "sh", "-c", "read line") // until the end of the test
	stdin, err := cmd.StdinPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stdin.Close()
		_ = cmd.Wait() // read fails
	})
	n.holder = cmd.Process.Pid
	own, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the namespace of the node", func() error {
		if ns, err := os.Readlink(n.namespace()); err != nil || ns == own {
			return fmt.Errorf("%s: %w", ns, err)
		}
		return nil
	})
	near, far := fmt.Sprint("pond", number), fmt.Sprint("node", number)
	run(t, "ip", "link", "add", "name", near, "type", "veth", "peer", "name", far, "netns", fmt.Sprint(n.holder))
	run(t, "ip", "addr", "add", n.server+"/24", "dev", near)
	run(t, "ip", "link", "set", near, "up")
	for _, args := range [][]string{
		{"link", "set", "lo", "up"}, {"addr", "add", n.node + "/24", "dev", far}, {"link", "set", far, "up"},
	} {
		run(t, "nsenter", append([]string{"--net=" + n.namespace(), "ip"}, args...)...)
	}
	command(t, s, "CONFIG", "SET", "bind", "127.0.0.1 "+n.server)
	command(t, s, "CONFIG", "SET", "protected-mode", "no")
	return n
}

func (n *network) namespace() string { return fmt.Sprintf("/proc/%d/ns/net", n.holder) }

func run(t testing.TB, program string, args ...string) {
	t.Helper()
	if output, err := exec.Command(program, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %s: %v: %s", program, strings.Join(args, " "), err, output)
	}
}

// drop drops the packets between the node and the server, in one direction or both,
// without an error for either, until the returned function is called.
func (n *network) drop(requests, responses bool) (pass func()) {
	n.t.Helper()
	var rules [][]string
	if requests {
		rules = append(rules, []string{"pref", "1", "from", n.node, "ipproto", "tcp", "dport", n.port, "blackhole"})
	}
	if responses {
		rules = append(rules, []string{"pref", "1", "to", n.node, "ipproto", "tcp", "sport", n.port, "blackhole"})
	}
	for _, r := range rules {
		run(n.t, "ip", append([]string{"rule", "add"}, r...)...)
	}
	return func() {
		for _, r := range rules {
			run(n.t, "ip", append([]string{"rule", "del"}, r...)...)
		}
	}
}

// partition returns a failure in which packets between a node and the server are dropped.
func partition(name string, requests, responses bool) failure {
	return failure{name: name, partition: true, degrades: 1, lasts: long, cause: func(w *world) func() {
		n := w.nodes[0]
		if n.network == nil {
			n.proxy.Stall() // in both directions
			return n.proxy.Resume
		}
		return n.network.drop(requests, responses)
	}}
}

// A node is separated from the server, without the end of a connection.
var partitions = []failure{
	partition("partition", true, true),
	partition("partition, requests are lost", true, false),
	partition("partition, responses are lost", false, true),
}
