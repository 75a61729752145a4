package transport

import "testing"

// The counter of connections wraps around, even if an int has 32 bits.
func TestNextShardNeverEnds(t *testing.T) {
	h := NewHub(Config{})
	h.next.Store(1<<31 - 3)
	for range 8 {
		h.nextShard()
	}
}
