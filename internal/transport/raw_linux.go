//go:build !386

package transport

import (
	"errors"
	"io"
	"net"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"github.com/pondsocket/pond/internal/ws"
)

// This file has direct reads and writes on the sockets of plain TCP connections:
// reads that hold no buffer while they wait, and writes that never wait. All other
// connections are read and written through net.Conn. So are those on 386, where
// package syscall lacks recv and send, which cost the kernel less than read and
// write.

// rawConn returns access to the descriptor of conn if it is a plain TCP connection.
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

// A rawReader is the state of direct reads from a connection.
type rawReader struct {
	buf *[]byte // has the n bytes of the last read
	n   int
	err error
	try func(fd uintptr) bool // the method value of read, created once

	// decoding is held by the goroutine that has the next bytes to be decoded: first
	// the one that reads them, then the worker that decodes them. It guards the decoder
	// and the following field.
	decoding sync.Mutex
	over     bool // no more data must be read
}

// readRaw is the goroutine that reads directly from the socket. Its stack stays
// small because a worker handles the data. readRaw waits for the worker outside
// raw.Read, because closing the connection waits until raw.Read returns.
func (c *Conn) readRaw() {
	defer c.hub.tasks.Done()
	r := new(rawReader)
	r.try = r.read
	c.reader = r
	if len(c.buffered) > 0 {
		r.decoding.Lock()
		c.shard.dispatch(readChunk{conn: c, data: c.buffered})
		c.buffered = nil
	}
	for {
		err := c.raw.Read(r.try)
		if err == nil {
			err = r.err
		}
		r.decoding.Lock() // waits until the previous bytes are decoded
		if err != nil || r.over {
			if err == nil {
				readBuffers.Put(r.buf)
			}
			r.decoding.Unlock()
			c.readEnded(err)
			return
		}
		c.shard.dispatch(readChunk{c, (*r.buf)[:r.n], r.buf})
	}
}

// read reads once without waiting. It returns false to be called again when data
// arrives. It does not read in a loop, because raw.Read checks for a deadline and for
// the end of the connection only between two calls.
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

// rawRead reads once. The system calls here never block, so they are raw ones: the
// scheduler need not prepare for a blocked thread.
func rawRead(fd uintptr, b []byte) (int, syscall.Errno) {
	n, _, errno := syscall.RawSyscall6(syscall.SYS_RECVFROM, fd,
		uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)), //nolint:gosec // the slice outlives the call
		syscall.MSG_DONTWAIT, 0, 0)
	return int(n), errno
}

// handle decodes the data of one read, permits decoding of the next, and processes
// the messages.
func (c *Conn) handle(read readChunk) {
	r := c.reader
	if err := c.received(read.data); err != nil {
		if broken, ok := errors.AsType[*ws.CloseError](err); ok {
			c.reject(broken)
		} else {
			r.over = true
			c.readEnded(err)
		}
	}
	if read.buf != nil {
		readBuffers.Put(read.buf)
	}
	r.decoding.Unlock()
	c.recv.Process(c)
}

// A rawWriter is the state of one direct write. Its method value is made once.
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

// tryWrite writes the part of b that the socket accepts immediately, which may be
// nothing.
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

// minRetransmits is the number of retransmissions without an acknowledgement, about
// two seconds, from which a client may have vanished.
const minRetransmits = 3

// vanished reports whether the client's host has not acknowledged anything for limit,
// although data was sent and retransmitted. TCP_USER_TIMEOUT is not suitable: it also
// closes connections of clients that only stop reading, although their hosts answer.
func vanished(conn net.Conn, limit time.Duration) bool {
	tcp := tcpConn(conn)
	if tcp == nil {
		return false
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return false
	}
	var info syscall.TCPInfo
	size := uint32(unsafe.Sizeof(info))
	var errno syscall.Errno
	err = raw.Control(func(fd uintptr) {
		_, _, errno = syscall.Syscall6(syscall.SYS_GETSOCKOPT, fd, syscall.IPPROTO_TCP, syscall.TCP_INFO,
			uintptr(unsafe.Pointer(&info)), uintptr(unsafe.Pointer(&size)), 0) //nolint:gosec // see tcp(7)
	})
	if err != nil || errno != 0 {
		return false
	}
	silent := time.Duration(info.Last_ack_recv)*time.Millisecond >= limit
	return silent && (info.Retransmits >= minRetransmits || info.Probes >= minRetransmits)
}
