//go:build race

package ws_test

// With the race detector, a sync.Pool drops items at random, so they are allocated
// again.
const raceEnabled = true
