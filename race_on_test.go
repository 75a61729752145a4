//go:build race

package pond_test

// slowdown divides the size of tests whose point is their size: the race detector
// finds in a tenth of the messages what it finds in all of them.
const slowdown = 10
