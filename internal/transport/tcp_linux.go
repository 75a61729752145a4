package transport

import (
	"net"
	"syscall"
	"unsafe"
)

// tcpNotSentLowAt is TCP_NOTSENT_LOWAT of tcp(7), which package syscall lacks.
const tcpNotSentLowAt = 25

// limitUnsent limits the bytes in conn's socket that were not sent to the client's host,
// because its window is full: a write waits while there are more. It is best effort: by
// default, there may be some megabytes.
func limitUnsent(conn net.Conn, bytes int) {
	tcp := tcpConn(conn)
	if tcp == nil {
		return
	}
	if raw, err := tcp.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) {
			_ = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, tcpNotSentLowAt, bytes)
		})
	}
}

// unlimitUnsent ends the effect of limitUnsent.
func unlimitUnsent(conn net.Conn) { limitUnsent(conn, 0) }

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
