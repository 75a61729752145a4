//go:build !race

package pond_test

const slowdown = 1
