// Package cluster_test checks clusters: random histories of several nodes, with faults of
// the broker and of nodes, are played in virtual time. What clients received, and what nodes
// show, is compared with what happened. README.md lists the rules, and the faults of a
// server that break them.
package cluster_test

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestMain(m *testing.M) {
	_ = flag.Set("rapid.checks", checks)
	os.Exit(m.Run())
}

// Without faults, each message reaches exactly the members that it is for, at once.
func TestWithoutFaults(t *testing.T) { check(t, false, calm) }

// The same with histories that the broker keeps.
func TestLogWithoutFaults(t *testing.T) { check(t, true, calm) }

// With faults, what is lost is counted, and nodes agree soon after the last one.
func TestFaults(t *testing.T) { check(t, false, calm, faults) }

// With faults and a log, no client misses a message without knowing.
func TestLogFaults(t *testing.T) { check(t, true, calm, faults, logFaults) }

// check plays random histories. rapid shrinks a history that fails, if it fails with the
// same text each time. But nodes use random delays, so a history may fail only often. It is
// therefore played several times after the first failure, and the text has no details.
func check(t *testing.T, logged bool, sets ...[]feature) {
	attempts := 1
	rapid.Check(t, func(r *rapid.T) {
		kinds := slices.Clone(always)
		for _, f := range slices.Concat(sets...) {
			if rapid.Bool().Draw(r, f.name) {
				kinds = append(kinds, f.kinds...)
			}
		}
		h := history{
			nodes:   rapid.IntRange(2, maxNodes).Draw(r, "nodes"),
			timeout: rapid.SampledFrom([]time.Duration{2 * time.Second, 20 * time.Second, 90 * time.Second}).Draw(r, "node timeout"),
			logged:  logged,
			kept:    all,
		}
		if logged {
			h.kept = rapid.SampledFrom([]int{all, all, 20, 5}).Draw(r, "messages in the log")
			h.sparse = rapid.Bool().Draw(r, "sparse offsets")
		}
		h.steps = rapid.SliceOfN(steps(kinds), 40, 150).Draw(r, "steps")
		h.rest = rapid.SampledFrom([]time.Duration{0, 0, h.timeout * 5 / 4, 3 * h.timeout}).Draw(r, "rest")
		h.mute = len(sets) > 1 && rapid.Bool().Draw(r, "mute")
		for range attempts {
			if err := play(t, h); err != nil {
				if attempts == 1 {
					t.Log("the first failure:", err)
				}
				attempts = 5
				r.Log(err)
				r.Fatal("the history broke a rule")
			}
		}
	})
}

// A history is what happens to a cluster.
type history struct {
	nodes   int
	timeout time.Duration // after which a silent node is dead
	logged  bool          // the broker keeps the histories of channels
	kept    int           // messages in the log
	sparse  bool          // the offsets in the log are not consecutive
	steps   []step
	rest    time.Duration // before the last faults end
	mute    bool          // in the end, a node seems to be dead for a while
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
	persons  = 3
	all      = 10000 // messages in a log that never drops one
)

// always is what may happen in all histories. Actions that are named several times happen
// more often.
var always = []string{
	"join", "join", "join", "join", "leave", "close", "reset",
	"burst", "burst", "burst", "burst", "say", "others", "others", "wait", "rest",
}

// A feature is a set of actions that happen in about half of the histories. So rare actions
// occur in many combinations, and one that weakens a check does not do so in all histories.
type feature struct {
	name  string
	kinds []string
}

var (
	calm = []feature{
		{"users", []string{"users", "people"}},
		{"application", []string{"channel", "publish", "publish"}},
		{"evictions", []string{"evict", "evict", "evict", "evict person"}},
		{"ends of channels", []string{"destroy", "destroy"}},
		{"disconnections", []string{"disconnect", "disconnect person"}},
		{"state", []string{"track", "track", "update", "untrack", "assign"}},
		{"stops", []string{"stop", "start", "start"}},
	}
	faults = []feature{
		{"bursts", []string{"burst", "burst", "burst", "others"}},
		{"crashes", []string{"crash", "start"}},
		{"cuts", []string{"cut", "cut", "connect", "connect"}},
		{"partitions", []string{"partition", "partition", "heal", "heal"}},
		{"pauses", []string{"pause", "resume", "resume"}},
		{"faults of the bus", []string{"faults", "faults", "faults", "faults", "repair"}},
		{"silent losses", []string{"silence", "repair"}},
		{"lost responses", []string{"unconfirmed", "unconfirmed", "unconfirmed"}},
	}
	logFaults = []feature{
		{"lost logs", []string{"lose"}},
		{"recoveries", []string{"reset", "reset", "join", "join", "burst", "others"}},
	}
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
