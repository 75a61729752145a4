//go:build race

package cluster_test

// checks is lower with the race detector, which makes histories five times as slow.
const checks = "30"
