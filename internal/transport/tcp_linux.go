package transport

import (
	"net"
	"syscall"
	"unsafe"
)

// unacknowledged returns the number of bytes in the send buffer of conn's socket: those
// that the client's host has not acknowledged. It is unknown if there is no socket.
func unacknowledged(conn net.Conn) (n int, known bool) {
	tcp := tcpConn(conn)
	if tcp == nil {
		return 0, false
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return 0, false
	}
	var size int32
	err = raw.Control(func(fd uintptr) {
		_, _, errno := syscall.Syscall(syscall.SYS_IOCTL, fd, syscall.TIOCOUTQ, uintptr(unsafe.Pointer(&size))) //nolint:gosec // see ioctl(2)
		known = errno == 0
	})
	return int(size), known && err == nil
}
