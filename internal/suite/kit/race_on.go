//go:build race

package kit

// Slowdown divides the size of tests that are large on purpose. The race detector
// finds with a tenth of the messages what it finds with all of them.
const Slowdown = 10
