//go:build unix

package pond

import "syscall"

// maxDescriptors returns how many file descriptors the process may have, or 0 if
// that is unknown or unlimited.
func maxDescriptors() uint64 {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return 0
	}
	n := uint64(limit.Cur) //nolint:unconvert // it is an int64 on some systems
	if n > maxKnownDescriptors {
		return 0
	}
	return n
}
