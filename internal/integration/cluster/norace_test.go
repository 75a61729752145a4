//go:build !race

package cluster_test

// checks is the number of histories of each test, unless -rapid.checks is given.
const checks = "100"
