// Package failures_test checks clusters whose nodes and servers fail. Each node is a
// process, and Redis and NATS are real servers. Clients record everything that they
// receive. While messages are sent, one thing fails: a node, the connection of a node, or
// the server. Then the recordings are compared with what nodes accepted and with the logs.
//
// The rules are in rules_test.go. "make -C conformance failures" runs the tests.
package failures_test

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"
	"sync"
	"testing"
)

// nodeArgument is the first argument of the process of a node.
const nodeArgument = "node"

var (
	strict = flag.Bool("strict", false, "fail if a result takes longer than the documented limits, which a busy machine may exceed")
	rounds = flag.Int("rounds", 1, "how often each failure is repeated")
)

// results are the lines of the table that is printed in the end.
var results struct {
	sync.Mutex

	lines []string
}

func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == nodeArgument {
		if err := runNode(os.Args[2], os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	if err := enterNamespace(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	// Failures mostly wait, so some run at a time, even on few cores. With the race
	// detector, the end of a process would take a second.
	_ = errors.Join(flag.Set("test.parallel", "4"), os.Setenv("GORACE", "atexit_sleep_ms=10"))
	code := m.Run()
	slices.Sort(results.lines)
	if len(results.lines) > 0 {
		fmt.Printf("%-42s %8s %10s %8s %8s %6s %5s\n", "after the failure, in seconds:", "rosters", "positions", "silent", "missing", "missed", "lost")
	}
	for _, line := range results.lines {
		fmt.Println(line)
	}
	fmt.Println("partitions by", partitioner())
	os.Exit(code)
}
