package cluster

import (
	"sync"
	"time"
)

// Clocks are the clocks of the other nodes, each of which begins when its node is created. A
// node cannot know how long a message took, but how much longer than the fastest recent one.
// So it can tell, with the error of that one's time, when something happened on another node.
// The zero value is ready for use. Its methods are safe for concurrent use.
type Clocks struct {
	mu    sync.Mutex // guards the following field
	nodes map[string]ahead
}

// An ahead is how far the clock of this node is ahead of the one of another node, including
// the time of the fastest message since the start of a period, and before.
type ahead struct {
	least, before time.Duration
	start         time.Duration
}

// Clocks are compared for one or two periods, because they drift.
const (
	clockPeriod = 5 * time.Minute
	maxClocks   = 1 << 12 // nodes, beyond which all are forgotten
)

// Local returns the time of this node's clock at which the clock of another node showed
// stamp, given that a message with that time arrives now. It is not later than now. The time
// is now if the message is the first one of the node.
func (c *Clocks) Local(node string, stamp, now time.Duration) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	difference := now - stamp
	a, ok := c.nodes[node]
	switch {
	case !ok:
		a = ahead{difference, difference, now}
	case now-a.start >= clockPeriod:
		a = ahead{difference, a.least, now}
	default:
		a.least = min(a.least, difference)
	}
	if c.nodes == nil || !ok && len(c.nodes) >= maxClocks {
		c.nodes = map[string]ahead{}
	}
	c.nodes[node] = a
	return stamp + min(a.least, a.before)
}
