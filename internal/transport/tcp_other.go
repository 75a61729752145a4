//go:build !linux

package transport

import "net"

// unacknowledged returns the number of bytes that the client's host has not
// acknowledged. It is unknown here.
func unacknowledged(net.Conn) (n int, known bool) { return 0, false }

// limitUnsent and unlimitUnsent do nothing: not all systems have such a limit.
func limitUnsent(net.Conn, int) {}
func unlimitUnsent(net.Conn)    {}
