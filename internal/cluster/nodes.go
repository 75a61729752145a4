package cluster

import (
	"sync"
	"time"
)

// Nodes are the other nodes of a cluster. A node is dead when nothing was received from
// it for too long. The methods are safe for concurrent use.
type Nodes struct {
	timeout time.Duration

	mu   sync.Mutex // guards the following fields
	seen map[string]nodeState
	dead map[string]time.Time // when a node was found to be dead, for a while
}

type nodeState struct {
	at   time.Time // when its timeout began
	seen time.Time // when a message of it arrived
	ours bool      // it sends pond's extensions
}

// Limits of the table. Some servers are a separate node for each of their channels.
const (
	maxNodes    = 1 << 16
	rememberFor = 10 // timeouts, after which a dead node is forgotten
)

// NewNodes returns an empty table. Nodes are dead when they send nothing for the
// timeout.
func NewNodes(timeout time.Duration) *Nodes {
	return &Nodes{timeout: timeout, seen: map[string]nodeState{}, dead: map[string]time.Time{}}
}

// Seen records that a message of a node arrived. known is false if there are too many
// nodes. returned reports that the node was dead.
func (n *Nodes) Seen(node string, ours bool, now time.Time) (known, returned bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	old, ok := n.seen[node]
	if !ok && len(n.seen) >= maxNodes {
		return false, false
	}
	n.seen[node] = nodeState{now, now, ours || old.ours}
	if _, returned = n.dead[node]; returned {
		delete(n.dead, node)
	}
	return true, returned
}

// SeenSince reports whether a message of a node arrived after a time.
func (n *Nodes) SeenSince(node string, t time.Time) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.seen[node].seen.After(t)
}

// Ours reports whether a node sends pond's extensions.
func (n *Nodes) Ours(node string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.seen[node].ours
}

// Sweep removes the nodes that are dead, and returns them.
func (n *Nodes) Sweep(now time.Time) (dead []string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for node, state := range n.seen {
		if now.Sub(state.at) >= n.timeout {
			delete(n.seen, node)
			n.dead[node] = now
			dead = append(dead, node)
		}
	}
	for node, at := range n.dead {
		if now.Sub(at) >= rememberFor*n.timeout || len(n.dead) > maxNodes {
			delete(n.dead, node)
		}
	}
	return dead
}

// Hold restarts the timeouts of all nodes: nothing could be received from them until
// now.
func (n *Nodes) Hold(now time.Time) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for node, state := range n.seen {
		state.at = now
		n.seen[node] = state
	}
}

// Len returns the number of other nodes that are alive.
func (n *Nodes) Len() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.seen)
}
