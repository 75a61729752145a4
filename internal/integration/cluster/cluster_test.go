// Package cluster_test checks clusters: random histories of several nodes, with faults of
// the broker and of nodes, are played in virtual time. What clients received, and what nodes
// show, is compared with what happened.
//
// The rules are in rules_test.go and log_test.go.
package cluster_test

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// checks is the number of histories of each test, unless -rapid.checks is given.
const checks = "100"

func TestMain(m *testing.M) {
	_ = flag.Set("rapid.checks", checks)
	os.Exit(m.Run())
}

// Without faults, each message reaches exactly the members that it is for, at once.
func TestWithoutFaults(t *testing.T) { check(t, calm, false) }

// The same with histories that the broker keeps.
func TestLogWithoutFaults(t *testing.T) { check(t, calm, true) }

// With faults, what is lost is counted, and nodes agree soon after the last one.
func TestFaults(t *testing.T) { check(t, slices.Concat(calm, faults), false) }

// With faults and a log, no client misses a message without knowing.
func TestLogFaults(t *testing.T) { check(t, slices.Concat(calm, faults, logFaults), true) }

// check plays random histories. rapid shrinks a history that fails.
func check(t *testing.T, kinds []string, logged bool) {
	step := steps(kinds)
	rapid.Check(t, func(r *rapid.T) {
		h := history{
			nodes:  rapid.IntRange(2, maxNodes).Draw(r, "nodes"),
			logged: logged,
			steps:  rapid.SliceOfN(step, 40, 150).Draw(r, "steps"),
		}
		if err := play(t, h); err != nil {
			r.Fatal(err)
		}
	})
}

// A history is what happens to a cluster.
type history struct {
	nodes  int
	logged bool // the broker keeps the histories of channels
	steps  []step
}

// A step is one action. Numbers of nodes and clients are used modulo how many there are.
type step struct {
	what   string
	node   int
	client int
	others []int // clients that are named
	n      int
}

// GoString is what rapid prints.
func (s step) GoString() string {
	return fmt.Sprintf("%s node=%d c%d others=%v n=%d", s.what, s.node, s.client, s.others, s.n)
}

const (
	maxNodes = 3
	clients  = 6
)

// What happens. What is named several times happens more often.
var (
	calm = []string{
		"join", "join", "join", "join", "join", "leave", "close", "reset",
		"burst", "burst", "burst", "burst", "say", "others", "others", "users", "users", "channel", "publish", "publish",
		"evict", "evict", "track", "track", "update", "untrack", "assign",
		"wait", "rest", "stop", "start", "start",
	}
	faults = []string{
		"crash", "start", "cut", "cut", "connect", "connect", "partition", "partition", "heal", "heal", "pause", "resume", "resume",
		"faults", "faults", "faults", "faults", "repair", "burst", "burst", "burst", "others",
	}
	logFaults = []string{"lose", "burst", "burst", "others", "reset", "reset", "join", "join"}
)

func steps(kinds []string) *rapid.Generator[step] {
	return rapid.Custom(func(r *rapid.T) step {
		return step{
			what:   rapid.SampledFrom(kinds).Draw(r, "what"),
			node:   rapid.IntRange(0, maxNodes-1).Draw(r, "node"),
			client: rapid.IntRange(0, clients-1).Draw(r, "client"),
			others: rapid.SliceOfN(rapid.IntRange(0, clients-1), 0, 3).Draw(r, "others"),
			n:      rapid.IntRange(0, 99).Draw(r, "n"),
		}
	})
}
