// Package presence_test checks presence as differences with a model: random histories
// of a channel, played against the server in virtual time. At rest, the list that each
// client computes must be the server's.
package presence_test

import (
	"flag"
	"fmt"
	"os"
	"testing"

	"pgregory.net/rapid"
)

func TestMain(m *testing.M) {
	_ = flag.Set("rapid.checks", "500")
	os.Exit(m.Run())
}

// TestHistories plays random histories. rapid shrinks a history that fails.
func TestHistories(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		steps := rapid.SliceOfN(stepGen, 15, 100).Draw(r, "steps")
		if err := play(t, steps); err != nil {
			r.Fatal(err)
		}
	})
}

// A step is one action of a client.
type step struct {
	what   string
	client int
	n      int
	large  bool // the presence is
}

func (s step) String() string {
	return fmt.Sprintf("%s c%d n=%d large=%v", s.what, s.client, s.n, s.large)
}

const clients = 9

var stepGen = rapid.Custom(func(r *rapid.T) step {
	return step{
		what: rapid.SampledFrom([]string{
			"join", "join", "join", "recover", "list", "rejoin", "again", "leave", "leave", "evict", "reset",
			"track", "track", "track", "update", "update", "update", "untrack", "untrack", "flicker",
			"publish", "stall", "stall", "resume", "wait", "wait", "rest", "close",
		}).Draw(r, "what"),
		client: rapid.IntRange(0, clients-1).Draw(r, "client"),
		n:      rapid.IntRange(0, 99).Draw(r, "n"),
		large:  rapid.Bool().Draw(r, "large"),
	}
})
