//go:build race

package ws_test

// The race detector makes a sync.Pool forget at random, so that what is pooled
// is allocated again.
const raceEnabled = true
