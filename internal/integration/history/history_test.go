// Package history_test checks recovery with a model: random histories of a channel
// that keeps its messages, played against the server in virtual time.
package history_test

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
		steps := rapid.SliceOfN(stepGen, 15, 80).Draw(r, "steps")
		if err := play(t, steps); err != nil {
			r.Fatal(err)
		}
	})
}

// A step is one action. The number of its client is used modulo the number of clients.
type step struct {
	what   string
	client int
	n      int   // number of messages, number of seconds, or start position
	except []int // clients
	large  bool  // the messages are
}

func (s step) String() string {
	return fmt.Sprintf("%s c%d n=%d except=%v large=%v", s.what, s.client, s.n, s.except, s.large)
}

const clients = 4

var stepGen = rapid.Custom(func(r *rapid.T) step {
	return step{
		what: rapid.SampledFrom([]string{
			"publish", "publish", "publish", "burst", "burst", "burst", "recover", "recover", "recover", "recover", "join", "last", "bogus", "again",
			"tell", "tell", "tell", "tell", "track", "untrack", "reset", "reset", "leave", "evict", "stall", "resume", "sleep",
			"publish", "burst", "tell", "recover", "recover", "reset", "tell", "last", "close",
			"behind", "behind", "behind", "flood", "tell", "again", "track",
		}).Draw(r, "what"),
		client: rapid.IntRange(0, clients-1).Draw(r, "client"),
		n:      rapid.IntRange(0, 70).Draw(r, "n"),
		except: rapid.SliceOfN(rapid.IntRange(0, clients-1), 0, 2).Draw(r, "except"),
		large:  rapid.Bool().Draw(r, "large"),
	}
})
