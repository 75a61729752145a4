//go:build unix

package doctor

import (
	"math"
	"syscall"
)

// openFiles returns how many files a process may have open. The Go runtime has
// raised that to what is allowed, as it does in a server.
func openFiles() (int, bool) {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return 0, false
	}
	return int(min(uint64(limit.Cur), math.MaxInt32)), true //nolint:unconvert // it is signed on FreeBSD
}
