//go:build race && stress

package kit

// Race reports whether the race detector is enabled.
const Race = true

// Slowdown divides the size of tests that are large on purpose.
const Slowdown = 1
