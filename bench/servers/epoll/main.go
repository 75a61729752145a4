//go:build linux

// Command epoll is a lower bound: it does the minimum work of a WebSocket server with rooms.
// It uses one thread, one epoll, no net/http, and omits the checks of a real server. It
// prepares one frame for all members of a room, and makes one write per member. With -join,
// it combines all frames for a room from one round of epoll into one write per member.
package main

import (
	"flag"
	"log"
	"net"
	"os"
	"runtime"
	"syscall"

	"github.com/pondsocket/pond/bench/internal/serve"
)

var join = flag.Bool("join", false, "combine the frames of one round")

func main() {
	flag.Parse()
	if err := run(); err != nil {
		log.Fatal(err)
	}
}

func run() error {
	l, err := serve.Listen()
	if err != nil {
		return err
	}
	file, err := l.(*net.TCPListener).File()
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }() // keeps the file open until here
	s := &server{listener: int(file.Fd()), conns: map[int]*conn{}, rooms: map[string]*room{}}
	go func() {
		serve.Obey(os.Stdin, os.Stdout)
		os.Exit(0)
	}()
	runtime.LockOSThread()
	return s.loop()
}

// pending is the maximum number of queued bytes per client, as in pond.
const pending = 1 << 20

type conn struct {
	fd   int
	room *room // nil before the handshake, and for echo clients
	open bool  // after the handshake
	in   []byte
	out  []byte // data that is not written yet
}

type room struct {
	members map[*conn]struct{}
	frames  []byte // of this round
}

type server struct {
	poll     int
	listener int
	conns    map[int]*conn
	rooms    map[string]*room
	dirty    []*room // with frames
}

func (s *server) loop() (err error) {
	if s.poll, err = syscall.EpollCreate1(0); err != nil {
		return err
	}
	if err = s.watch(syscall.EPOLL_CTL_ADD, s.listener, syscall.EPOLLIN); err != nil {
		return err
	}
	if err = syscall.SetNonblock(s.listener, true); err != nil {
		return err
	}
	events := make([]syscall.EpollEvent, 256)
	for {
		n, err := syscall.EpollWait(s.poll, events, -1)
		if err != nil && err != syscall.EINTR {
			return err
		}
		for _, e := range events[:max(n, 0)] {
			s.handle(int(e.Fd), e.Events)
		}
		s.flush()
	}
}

func (s *server) handle(fd int, events uint32) {
	if fd == s.listener {
		s.accept()
		return
	}
	c := s.conns[fd]
	if c == nil {
		return // closed in this round
	}
	if events&syscall.EPOLLOUT != 0 {
		s.drain(c)
	}
	if events&^uint32(syscall.EPOLLOUT) != 0 && s.conns[fd] == c {
		s.read(c)
	}
}

func (s *server) accept() {
	for {
		fd, _, err := syscall.Accept4(s.listener, syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC)
		if err != nil {
			return
		}
		_ = syscall.SetsockoptInt(fd, syscall.IPPROTO_TCP, syscall.TCP_NODELAY, 1)
		if s.watch(syscall.EPOLL_CTL_ADD, fd, syscall.EPOLLIN) != nil {
			_ = syscall.Close(fd)
			continue
		}
		s.conns[fd] = &conn{fd: fd}
	}
}

// input is shared: there is one thread.
var input [64 << 10]byte

func (s *server) read(c *conn) {
	n, err := syscall.Read(c.fd, input[:])
	switch {
	case err == syscall.EAGAIN || err == syscall.EINTR:
		return
	case n <= 0:
		s.close(c)
		return
	}
	data := input[:n]
	if len(c.in) > 0 {
		data = append(c.in, data...)
	}
	rest, ok := s.feed(c, data)
	if !ok {
		s.close(c)
		return
	}
	c.in = append(c.in[:0], rest...)
	if len(c.in) == 0 {
		c.in = nil
	}
}

// write writes data, and queues the part that the socket does not accept.
func (s *server) write(c *conn, data []byte) {
	n := 0
	if len(c.out) == 0 {
		var err error
		n, err = syscall.Write(c.fd, data)
		if err != nil && err != syscall.EAGAIN {
			s.close(c)
			return
		}
		n = max(n, 0)
	}
	if n == len(data) {
		return
	}
	if len(c.out)+len(data)-n > pending {
		s.close(c)
		return
	}
	if len(c.out) == 0 {
		_ = s.watch(syscall.EPOLL_CTL_MOD, c.fd, syscall.EPOLLIN|syscall.EPOLLOUT)
	}
	c.out = append(c.out, data[n:]...)
}

// drain writes queued data.
func (s *server) drain(c *conn) {
	n, err := syscall.Write(c.fd, c.out)
	if err != nil && err != syscall.EAGAIN {
		s.close(c)
		return
	}
	c.out = c.out[:copy(c.out, c.out[max(n, 0):])]
	if len(c.out) == 0 {
		c.out = nil
		_ = s.watch(syscall.EPOLL_CTL_MOD, c.fd, syscall.EPOLLIN)
	}
}

func (s *server) close(c *conn) {
	delete(s.conns, c.fd)
	if c.room != nil {
		delete(c.room.members, c)
	}
	_ = syscall.Close(c.fd)
}

func (s *server) watch(op, fd int, events uint32) error {
	return syscall.EpollCtl(s.poll, op, fd, &syscall.EpollEvent{Fd: int32(fd), Events: events})
}
