package cluster

import "slices"

// An Away is the message that an identity left a node while others had it.
type Away struct {
	Others []string // the nodes that had it, as far as the node knew
	Waits  bool     // the node may run the handler for the last leave
}

// Aways are these messages, by node, also of this node. If an identity leaves several
// nodes at the same time, each of them expects another one to run the handler for its last
// leave.
type Aways map[string]Away

// Mine reports whether a node, whose ID is the argument, must run the handler, given that
// the identity is on no node any more. It is the node with the smallest ID among those that
// the identity left last: no other node knew that it had left when it left that one. All
// nodes with the same messages come to the same result.
func (x Aways) Mine(id string) bool {
	for node, away := range x {
		if node < id && away.Waits && x.last(node) {
			return false
		}
	}
	return x.last(id)
}

// last reports whether all other nodes expected the identity to be on a node when it left
// them.
func (x Aways) last(node string) bool {
	for other, away := range x {
		if other != node && !slices.Contains(away.Others, node) {
			return false
		}
	}
	return true
}
