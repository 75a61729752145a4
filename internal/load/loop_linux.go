package load

import (
	"errors"
	"fmt"
	"runtime"
	"sync"
	"syscall"
	"time"
)

// A loop is one thread and the connections that it serves. The thread owns the fields,
// except those below mu.
type loop struct {
	*engine

	epoll int
	pipe  [2]int
	conns []*conn // by descriptor
	age   int32   // of the newest connection, to ignore events of closed connections
	ready []syscall.EpollEvent

	buf      []byte // for reading
	text     []byte // for building a message
	body     []byte
	events   []Event
	outgoing Outgoing
	dirty    []*conn // have data to write

	clients    []*client
	waiting    []*client // not connected yet
	connecting int
	posters    []*poster // send the messages of SSE clients

	now        int64 // time of the last read
	longestGap int64
	over       bool

	counters counters
	latency  histogram
	sendLag  histogram
	caughtUp histogram
	upToDate histogram
	pacer    pacer
	resetter resetter
	turn     int // index of the client that sends the next echo request
	lists    [64]listed

	mu        sync.Mutex
	commands  []func()
	returns   []*publisher // have a completed message
	published counters     // a copy for other threads
	woken     bool
}

// counters are the counters of a loop since the start.
type counters struct {
	Messages, Deliveries, Duplicated, Reordered, Misdelivered int64
	BytesIn                                                   int64
	Joined, Joins, Rejected, Closed, Failed                   int64
	Present                                                   int64 // clients with a connection
	StalledClosed                                             int64
	Complete                                                  int64 // complete lists of members
	Recovering                                                int64 // clients that were reset and are not caught up
	Reconnects, Replayed, Unrecovered, Holes                  int64
	Lagging                                                   int64 // members that read again and lack the newest message
	Resumed, Outdated, Skipped, Behind                        int64 // see the type Catchup
	Reason                                                    string
}

func (c *counters) add(o counters) {
	c.Messages += o.Messages
	c.Deliveries += o.Deliveries
	c.Duplicated += o.Duplicated
	c.Reordered += o.Reordered
	c.Misdelivered += o.Misdelivered
	c.BytesIn += o.BytesIn
	c.Joined += o.Joined
	c.Joins += o.Joins
	c.Present += o.Present
	c.Rejected += o.Rejected
	c.Closed += o.Closed
	c.Failed += o.Failed
	c.StalledClosed += o.StalledClosed
	c.Complete += o.Complete
	c.Recovering += o.Recovering
	c.Reconnects += o.Reconnects
	c.Replayed += o.Replayed
	c.Unrecovered += o.Unrecovered
	c.Holes += o.Holes
	c.Lagging += o.Lagging
	c.Resumed += o.Resumed
	c.Outdated += o.Outdated
	c.Skipped += o.Skipped
	c.Behind += o.Behind
	if c.Reason == "" {
		c.Reason = o.Reason
	}
}

// setReason sets the reason, unless there is one.
func (c *counters) setReason(reason string) {
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

// do runs f in the loop.
func (l *loop) do(f func()) {
	l.mu.Lock()
	l.commands = append(l.commands, f)
	l.wakeLocked()
	l.mu.Unlock()
}

// call runs f in the loop and waits for it.
func (l *loop) call(f func()) {
	done := make(chan struct{})
	l.do(func() { f(); close(done) })
	<-done
}

func (l *loop) wakeLocked() {
	if !l.woken {
		l.woken = true
		_, _ = syscall.Write(l.pipe[1], []byte{0}) // the pipe is never full
	}
}

// run serves the connections until a command sets over.
func (l *loop) run() {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer l.free()
	for {
		l.runCommands()
		if l.over {
			return
		}
		reset := l.disturb()
		l.advance()
		wait := soonest(l.pace(), reset)
		l.flush()
		n := l.wait(wait)
		for _, ev := range l.ready[:n] {
			if int(ev.Fd) == l.pipe[0] {
				var b [16]byte
				_, _ = syscall.Read(l.pipe[0], b[:]) // only wakes the loop
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

// runCommands runs the commands of other threads, and copies the counters for them. It
// copies before the commands, because a caller may read the counters when its command
// returns, and after them, because the loop may wait next.
func (l *loop) runCommands() {
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

// wait waits for events for d, or without a limit if d is negative. The unit of
// epoll_wait is a millisecond, so select, which can also wait for an epoll descriptor,
// handles shorter times.
func (l *loop) wait(d time.Duration) int {
	ms := -1
	if d >= 0 {
		ms = int(d / time.Millisecond)
		if d%time.Millisecond != 0 && l.epoll < 1024 {
			var set syscall.FdSet
			set.Bits[l.epoll/64] |= 1 << (l.epoll % 64)
			timeout := syscall.NsecToTimeval(int64(d))
			_, _ = syscall.Select(l.epoll+1, &set, nil, nil, &timeout) // epoll_wait returns the events
			ms = 0
		}
	}
	n, err := syscall.EpollWait(l.epoll, l.ready, ms)
	if err != nil && !errors.Is(err, syscall.EINTR) {
		l.counters.setReason("epoll: " + err.Error())
	}
	return max(0, n)
}

// serve handles the events of a connection.
func (l *loop) serve(c *conn, events uint32) {
	if c.dialing {
		value, err := syscall.GetsockoptInt(c.fd, syscall.SOL_SOCKET, syscall.SO_ERROR)
		if err == nil && value != 0 {
			err = syscall.Errno(value)
		}
		if err != nil {
			l.closeConn(c, fmt.Errorf("connect: %w", err))
			return
		}
		c.dialing = false
		l.markDirty(c)
	}
	if events&syscall.EPOLLOUT != 0 {
		l.markDirty(c)
	}
	if events&(syscall.EPOLLIN|syscall.EPOLLHUP|syscall.EPOLLERR) != 0 {
		l.read(c)
	}
}
