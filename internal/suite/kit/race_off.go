//go:build !race

package kit

// Slowdown divides the size of tests that are large on purpose. For the race detector,
// a tenth of the messages is sufficient.
const Slowdown = 1
