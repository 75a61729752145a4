// Package descriptors returns the maximum number of open files of the process.
package descriptors

import "math"

// Limit returns the maximum number of file descriptors of the process (RLIMIT_NOFILE),
// or 0 if it is unknown or unlimited. Systems report a very large number if there is no
// limit.
func Limit() int {
	if n := limit(); n <= math.MaxInt32 {
		return int(n)
	}
	return 0
}
