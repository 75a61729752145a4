package transport

import (
	"io"
	"net"
	"sync"
	"syscall"
	"unsafe"
)

// This file is the raw path for TCP connections: reads that hold no buffer while
// they wait, and writes that never wait. Everything else takes the general path
// through net.Conn.

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

// A rawReader is the state of a waiting read.
type rawReader struct {
	buf *[]byte
	n   int
	err error
	try func(fd uintptr) bool // the method value of read, made once
}

// readRaw waits until something comes, and handles it. An event stream expects
// nothing, so it goes on to wait. What has been read is handled outside of
// raw.Read: closing a connection waits for that to return.
func (c *Conn) readRaw() error {
	r := c.reader
	if r == nil {
		r = new(rawReader)
		r.try = r.read
		c.reader = r
	}
	for {
		if err := c.raw.Read(r.try); err != nil {
			return err
		}
		if r.err != nil {
			return r.err
		}
		if c.WebSocket() {
			break
		}
	}
	err := c.received((*r.buf)[:r.n])
	r.release()
	return err
}

// read reads without waiting, and reports false to be called again when there is
// something to read.
func (r *rawReader) read(fd uintptr) bool {
	if r.buf == nil {
		r.buf = readBuffers.Get().(*[]byte)
	}
	for {
		n, err := syscall.Read(int(fd), *r.buf)
		switch {
		case err == syscall.EINTR:
			continue
		case err == syscall.EAGAIN:
			r.release()
			return false
		case err != nil:
			r.err = err
		case n == 0:
			r.err = io.EOF
		}
		if r.err != nil {
			r.release()
		}
		r.n = n
		return true
	}
}

func (r *rawReader) release() {
	if r.buf != nil {
		readBuffers.Put(r.buf)
		r.buf = nil
	}
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

// write always reports true: it does not wait. The system call is a raw one,
// because it never blocks: the scheduler need not prepare for that.
func (w *rawWriter) write(fd uintptr) bool {
	for w.n < len(w.b) {
		rest := w.b[w.n:]
		n, _, errno := syscall.RawSyscall(syscall.SYS_WRITE, fd,
			uintptr(unsafe.Pointer(unsafe.SliceData(rest))), uintptr(len(rest))) //nolint:gosec // the slice outlives the call
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
