//go:build !race && !stress

package kit

// Race reports whether the race detector is enabled.
const Race = false

// Slowdown divides the size of tests that are large on purpose. With "-tags stress", which
// "make stress" uses, they have their full size.
const Slowdown = 5
