//go:build !linux || 386

package transport

import (
	"errors"
	"net"
	"syscall"
	"time"
)

type rawReader struct{}

func (c *Conn) handle(readChunk) {}

// rawConn returns nil: all connections are read and written through net.Conn here.
func rawConn(net.Conn) syscall.RawConn { return nil }

func (c *Conn) readRaw() {}

func (c *Conn) tryWrite([]byte) (int, error) { return 0, errors.ErrUnsupported }

// vanished returns false: on this system, only the kernel can detect this.
func vanished(net.Conn, time.Duration) bool { return false }
