//go:build !linux || 386

package transport

import (
	"errors"
	"net"
	"syscall"
)

type rawReader struct{}

func (c *Conn) handle(piece) {}

// rawConn returns nil: all connections take the general path here.
func rawConn(net.Conn) syscall.RawConn { return nil }

func (c *Conn) readRaw() {}

func (c *Conn) tryWrite([]byte) (int, error) { return 0, errors.ErrUnsupported }
