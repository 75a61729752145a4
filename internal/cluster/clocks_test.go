package cluster

import (
	"fmt"
	"testing"
	"time"
)

// The time of another node is known up to the time of the fastest message.
func TestClocks(t *testing.T) {
	const ahead = 100 * time.Second // the clock of this node is
	var c Clocks
	at := 10 * time.Second
	check := func(pause, took, want time.Duration) {
		t.Helper()
		at += pause
		if got := c.Local("a", at, at+ahead+took); got != at+ahead+want {
			t.Errorf("%v later than the event, want %v", got-at-ahead, want)
		}
	}
	check(0, 3*time.Second, 3*time.Second) // nothing to compare with
	check(time.Second, time.Second, time.Second)
	check(time.Second, 5*time.Second, time.Second)
	check(time.Hour, 20*time.Second, time.Second)
	check(time.Second, 2*time.Second, time.Second)
	// The clocks drift, or the other node was suspended.
	check(clockPeriod+time.Minute, 3*time.Second, 2*time.Second)
	check(clockPeriod+time.Minute, 4*time.Second, 3*time.Second)
	check(clockPeriod+time.Minute, 4*time.Second, 4*time.Second)
	check(time.Second, 0, 0)
	for i := range maxClocks {
		c.Local(fmt.Sprint(i), 0, 0)
	}
	if len(c.nodes) > maxClocks {
		t.Errorf("%d nodes", len(c.nodes))
	}
}
