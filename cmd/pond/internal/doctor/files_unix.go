//go:build unix

package doctor

import (
	"math"
	"syscall"
)

// openFiles returns the limit of open files. The Go runtime raised it to the hard limit,
// as it does in a server.
func openFiles() (int, bool) {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return 0, false
	}
	return int(min(uint64(limit.Cur), math.MaxInt32)), true //nolint:unconvert // signed on FreeBSD
}
