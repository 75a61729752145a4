package load

import (
	"errors"
	"fmt"
	"runtime"
	"sync"
	"syscall"
	"time"
)

// A loop is one thread and the connections that it serves. Its fields belong to
// that thread, but for those below mu.
type loop struct {
	*engine

	epoll int
	pipe  [2]int
	conns []*conn // by descriptor
	age   int32   // of the newest connection: an event may be for one that has gone
	ready []syscall.EpollEvent

	buf      []byte // what is being read
	text     []byte // a message that is being put together
	body     []byte
	events   []Event
	outgoing Outgoing
	dirty    []*conn // have something to write

	clients    []*client
	waiting    []*client // to be connected
	connecting int
	posters    []*poster // carry what event streams cannot

	now        int64 // when the last read returned
	longestGap int64
	over       bool

	counters counters
	latency  histogram
	sendLag  histogram
	pacer    pacer
	turn     int // of the client that asks for the next echo
	lists    [64]listed

	mu        sync.Mutex
	commands  []func()
	returns   []*publisher // may publish again
	published counters     // a copy for other threads
	woken     bool
}

// counters are what a loop counts, from the beginning.
type counters struct {
	Messages, Deliveries, Duplicated, Reordered, Stray int64
	BytesIn                                            int64
	Joined, Joins, Refused, Closed, Failed             int64
	Present                                            int64 // clients with a connection, joined or not
	StalledClosed                                      int64
	Complete                                           int64 // lists of members
	Reason                                             string
}

func (c *counters) add(o counters) {
	c.Messages += o.Messages
	c.Deliveries += o.Deliveries
	c.Duplicated += o.Duplicated
	c.Reordered += o.Reordered
	c.Stray += o.Stray
	c.BytesIn += o.BytesIn
	c.Joined += o.Joined
	c.Joins += o.Joins
	c.Present += o.Present
	c.Refused += o.Refused
	c.Closed += o.Closed
	c.Failed += o.Failed
	c.StalledClosed += o.StalledClosed
	c.Complete += o.Complete
	if c.Reason == "" {
		c.Reason = o.Reason
	}
}

// blame keeps the first reason for a fault.
func (c *counters) blame(reason string) {
	if c.Reason == "" {
		c.Reason = reason
	}
}

func newLoop(e *engine) (*loop, error) {
	epoll, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
	if err != nil {
		return nil, err
	}
	l := &loop{
		engine: e,
		epoll:  epoll,
		ready:  make([]syscall.EpollEvent, 128),
		buf:    make([]byte, 128<<10),
	}
	if err := syscall.Pipe2(l.pipe[:], syscall.O_NONBLOCK|syscall.O_CLOEXEC); err != nil {
		return nil, errors.Join(err, syscall.Close(epoll))
	}
	return l, l.watch(syscall.EPOLL_CTL_ADD, l.pipe[0], 0, syscall.EPOLLIN)
}

func (l *loop) watch(op, fd int, age int32, events uint32) error {
	return syscall.EpollCtl(l.epoll, op, fd, &syscall.EpollEvent{
		Events: events, Fd: int32(fd), Pad: age, //nolint:gosec // descriptors are small
	})
}

// do has f run by the loop.
func (l *loop) do(f func()) {
	l.mu.Lock()
	l.commands = append(l.commands, f)
	l.wakeLocked()
	l.mu.Unlock()
}

// call has f run by the loop, and waits for it.
func (l *loop) call(f func()) {
	done := make(chan struct{})
	l.do(func() { f(); close(done) })
	<-done
}

func (l *loop) wakeLocked() {
	if !l.woken {
		l.woken = true
		_, _ = syscall.Write(l.pipe[1], []byte{0}) // a pipe with room
	}
}

// run serves until a command sets over.
func (l *loop) run() {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer l.free()
	for {
		l.obey()
		if l.over {
			return
		}
		l.advance()
		wait := l.pace()
		l.flush()
		n := l.wait(wait)
		for _, ev := range l.ready[:n] {
			if int(ev.Fd) == l.pipe[0] {
				var b [16]byte
				_, _ = syscall.Read(l.pipe[0], b[:]) // it was readable
				continue
			}
			if c := l.conns[ev.Fd]; c != nil && c.age == ev.Pad {
				l.serve(c, ev.Events)
				l.flush()
			}
		}
	}
}

func (l *loop) free() {
	for _, c := range l.conns {
		if c != nil {
			_ = syscall.Close(c.fd)
		}
	}
	for _, fd := range []int{l.epoll, l.pipe[0], l.pipe[1]} {
		_ = syscall.Close(fd)
	}
}

// obey does what other threads want, and shows them the counters: before, since
// they may read them as soon as a command has run, and after, since nothing else
// may happen before the loop waits.
func (l *loop) obey() {
	l.mu.Lock()
	commands, returns := l.commands, l.returns
	l.commands, l.returns = nil, nil
	l.woken = false
	l.published = l.counters
	l.mu.Unlock()
	if commands == nil && returns == nil {
		return
	}
	for _, f := range commands {
		f()
	}
	for _, p := range returns {
		l.again(p)
	}
	l.mu.Lock()
	l.published = l.counters
	l.mu.Unlock()
}

// wait waits for events: for ever if d is negative. Epoll counts in milliseconds,
// so shorter times are left to select, which can wait for an epoll as well.
func (l *loop) wait(d time.Duration) int {
	ms := -1
	if d >= 0 {
		ms = int(d / time.Millisecond)
		if d%time.Millisecond != 0 && l.epoll < 1024 {
			var set syscall.FdSet
			set.Bits[l.epoll/64] |= 1 << (l.epoll % 64)
			timeout := syscall.NsecToTimeval(int64(d))
			_, _ = syscall.Select(l.epoll+1, &set, nil, nil, &timeout) // epoll says what there is
			ms = 0
		}
	}
	n, err := syscall.EpollWait(l.epoll, l.ready, ms)
	if err != nil && !errors.Is(err, syscall.EINTR) {
		l.counters.blame("epoll: " + err.Error())
	}
	return max(0, n)
}

// serve handles what happened to a connection.
func (l *loop) serve(c *conn, events uint32) {
	if c.dialing {
		value, err := syscall.GetsockoptInt(c.fd, syscall.SOL_SOCKET, syscall.SO_ERROR)
		if err == nil && value != 0 {
			err = syscall.Errno(value)
		}
		if err != nil {
			l.lose(c, fmt.Errorf("connect: %w", err))
			return
		}
		c.dialing = false
		l.soil(c)
	}
	if events&syscall.EPOLLOUT != 0 {
		l.soil(c)
	}
	if events&(syscall.EPOLLIN|syscall.EPOLLHUP|syscall.EPOLLERR) != 0 {
		l.read(c)
	}
}
