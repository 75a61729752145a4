//go:build !386

package transport

import (
	"errors"
	"io"
	"net"
	"sync"
	"syscall"
	"unsafe"

	"github.com/pondsocket/pond/internal/ws"
)

// This file is the raw path for TCP connections: reads that hold no buffer while
// they wait, and writes that never wait. Everything else takes the general path
// through net.Conn, and so does 386, where package syscall lacks recv and send: they
// take a shorter way through the kernel than read and write do.

// rawConn returns the descriptor's door if conn is a plain TCP connection.
func rawConn(conn net.Conn) syscall.RawConn {
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		return nil
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return nil
	}
	return raw
}

// A rawReader is the state of a connection that is read on the raw path.
type rawReader struct {
	buf *[]byte // has the n bytes that have been read last
	n   int
	err error
	try func(fd uintptr) bool // the method value of read, made once

	// decoding is held by whoever has bytes that come next: it goes with them to
	// the worker that decodes them. It guards the decoder and the following field.
	decoding sync.Mutex
	over     bool // what comes now is of no interest any more
}

// readRaw is the connection's goroutine on the raw path. It stays as shallow as it
// is: what it reads is handled by a worker. It waits for that outside of raw.Read,
// for whose return whoever closes the connection waits.
func (c *Conn) readRaw() {
	defer c.hub.tasks.Done()
	r := new(rawReader)
	r.try = r.read
	c.reader = r
	if len(c.early) > 0 {
		r.decoding.Lock()
		c.shard.hand(piece{conn: c, data: c.early})
		c.early = nil
	}
	for {
		err := c.raw.Read(r.try)
		if err == nil {
			err = r.err
		}
		r.decoding.Lock() // what came before is decoded
		if err != nil {
			r.decoding.Unlock()
			c.hangUp(err)
			return
		}
		c.shard.hand(piece{c, (*r.buf)[:r.n], r.buf})
	}
}

// read reads once without waiting. It reports false to be called again when there
// is something to read. One that went on as long as there is could not be stopped:
// raw.Read looks for a deadline, and for the end of the connection, in between.
func (r *rawReader) read(fd uintptr) bool {
	r.buf = readBuffers.Get().(*[]byte)
	for {
		n, errno := rawRead(fd, *r.buf)
		switch {
		case errno == syscall.EINTR:
			continue
		case errno == 0 && n > 0:
			r.n = n
			return true
		case errno == 0:
			r.err = io.EOF
		case errno != syscall.EAGAIN:
			r.err = errno
		}
		readBuffers.Put(r.buf)
		r.buf = nil
		return r.err != nil
	}
}

// rawRead reads once. The system calls here are raw ones, because they never block:
// the scheduler need not prepare for that.
func rawRead(fd uintptr, b []byte) (int, syscall.Errno) {
	n, _, errno := syscall.RawSyscall6(syscall.SYS_RECVFROM, fd,
		uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)), //nolint:gosec // the slice outlives the call
		syscall.MSG_DONTWAIT, 0, 0)
	return int(n), errno
}

// handle decodes a piece, lets the next one follow, and handles what it has brought.
func (c *Conn) handle(p piece) {
	r := c.reader
	if !r.over {
		if err := c.received(p.data); err != nil {
			r.over = true
			c.reject(err)
		}
	}
	if p.buf != nil {
		readBuffers.Put(p.buf)
	}
	r.decoding.Unlock()
	c.recv.Proceed(c)
}

// reject ends a connection whose client has said goodbye or broken the rules. The
// rest that it sends is read until it closes its side, but not looked at.
func (c *Conn) reject(err error) {
	if broken, ok := errors.AsType[*ws.CloseError](err); ok {
		c.refuse(broken)
		return
	}
	c.hangUp(err)
}

// A rawWriter is the state of one write. Its method value is made once.
type rawWriter struct {
	b   []byte
	n   int
	err error
	try func(fd uintptr) bool
}

var rawWriters = sync.Pool{New: func() any {
	w := new(rawWriter)
	w.try = w.write
	return w
}}

// tryWrite writes what the socket takes at once. Less than len(b) is no error.
func (c *Conn) tryWrite(b []byte) (int, error) {
	w := rawWriters.Get().(*rawWriter)
	w.b, w.n, w.err = b, 0, nil
	err := c.raw.Write(w.try)
	if err == nil {
		err = w.err
	}
	n := w.n
	w.b = nil
	rawWriters.Put(w)
	return n, err
}

// write always reports true: it does not wait.
func (w *rawWriter) write(fd uintptr) bool {
	for w.n < len(w.b) {
		rest := w.b[w.n:]
		n, _, errno := syscall.RawSyscall6(syscall.SYS_SENDTO, fd,
			uintptr(unsafe.Pointer(unsafe.SliceData(rest))), uintptr(len(rest)), //nolint:gosec // the slice outlives the call
			syscall.MSG_DONTWAIT|syscall.MSG_NOSIGNAL, 0, 0)
		switch errno {
		case 0:
			w.n += int(n)
		case syscall.EINTR:
		case syscall.EAGAIN:
			return true
		default:
			w.err = errno
			return true
		}
	}
	return true
}
