// Package descriptors asks the system how many files a process may have open.
package descriptors

import "math"

// Limit returns the number of file descriptors that the process may have
// (RLIMIT_NOFILE), or 0 if that is unknown or unlimited. Systems without a limit
// report a number that is too large for one.
func Limit() int {
	if n := limit(); n <= math.MaxInt32 {
		return int(n)
	}
	return 0
}
