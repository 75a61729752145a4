package pond

import (
	"sync"
	"time"

	"github.com/pondsocket/pond/internal/wire"
)

// An inbox runs the tasks of one client one at a time, in order, on a goroutine that
// exists only while there are tasks. Often it is the goroutine that decoded the message.
// The leave handlers of memberships that ended run before any other task.
type inbox struct {
	conn *conn

	mu      sync.Mutex // guards the following fields
	first   *task
	last    *task
	waiting int           // messages of the client
	bytes   int           // of these
	running bool          // a goroutine runs tasks
	vacant  chan struct{} // closed when a message fits again; nil while no goroutine waits for that
	closed  bool          // further messages are not accepted, because they would not be handled
}

// A task is a unit of work for a client.
type task struct {
	next    *task
	kind    taskKind
	msg     wire.Message  // of taskMessage and taskJoin
	decided chan<- *Error // of taskJoin: receives the rejection, or nil; nil if the client is answered itself
}

type taskKind uint8

const (
	taskMessage   taskKind = iota // a message of the client
	taskJoin                      // the URL of the client joins a channel
	taskDeparture                 // a membership ended; see conn.departed
	taskShutdown                  // the endpoint shuts down
	taskEnd                       // the connection ended
)

// departureTask is the task to run the next leave handler. It is not in any queue.
var departureTask = &task{kind: taskDeparture}

// push appends a task that must run, and starts the inbox.
func (in *inbox) push(t *task) {
	in.mu.Lock()
	in.append(t)
	if t.kind == taskShutdown || t.kind == taskEnd {
		in.closed = true
		if in.vacant != nil {
			close(in.vacant)
			in.vacant = nil
		}
	}
	in.mu.Unlock()
	in.start()
}

// offer appends n linked messages with a total of size bytes, if the inbox has room for
// one message of that size. All of them are from one request, so their bytes are
// limited like those of one message. If ok, the caller must ensure that they are
// handled.
func (in *inbox) offer(first *task, n, size int) (ok, closed bool) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.closed || in.full(size) {
		return false, in.closed
	}
	in.waiting += n
	in.bytes += size
	in.append(first)
	return true, false
}

// wait waits until linked messages fit into the inbox, and appends them. closed reports
// that they would not be handled, because the client left or is about to leave. If
// neither result is true, the timeout ended the wait.
func (in *inbox) wait(first *task, timeout <-chan time.Time) (ok, closed bool) {
	n, size := 0, 0
	for t := first; t != nil; t = t.next {
		n++
		size += t.size()
	}
	for {
		ok, closed := in.offer(first, n, size)
		if ok || closed {
			return ok, closed
		}
		in.start() // the messages in the inbox may be from the same read
		select {
		case <-in.vacancy(size):
		case <-timeout:
			return false, false
		}
	}
}

// size returns the approximate size of a message in bytes. It includes the names, whose
// length the sender chooses.
func (t *task) size() int {
	return len(t.msg.Event) + len(t.msg.Channel) + len(t.msg.RequestID) + len(t.msg.Payload)
}

// full reports whether a message of size bytes must wait. All waiting messages together
// are limited to the size of one message, so that a client with a slow handler does not
// use much memory.
func (in *inbox) full(size int) bool {
	cfg := &in.conn.endpoint.cfg
	return in.waiting >= cfg.inbox || in.waiting > 0 && in.bytes+size > cfg.maxMessage
}

// vacancy returns a channel that is closed when there is room for size more bytes.
func (in *inbox) vacancy(size int) <-chan struct{} {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.vacant == nil {
		in.vacant = make(chan struct{})
	}
	vacant := in.vacant
	if in.closed || !in.full(size) {
		close(vacant)
		in.vacant = nil
	}
	return vacant
}

func (in *inbox) append(t *task) {
	if in.first == nil {
		in.first = t
	} else {
		in.last.next = t
	}
	for in.last = t; in.last.next != nil; {
		in.last = in.last.next
	}
}

// claim makes the caller the goroutine that runs tasks. It returns false if there are
// none, or if another goroutine runs them.
func (in *inbox) claim() bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.running || in.first == nil && in.conn.departing.Load() == 0 {
		return false
	}
	in.running = true
	in.conn.endpoint.tasks.Add()
	return true
}

// start runs the tasks on a new goroutine, if there are any.
func (in *inbox) start() {
	if in.claim() {
		go in.run()
	}
}

// runInline runs the tasks on the caller's goroutine.
func (in *inbox) runInline() {
	if in.claim() {
		in.run()
	}
}

// run runs tasks until the inbox is empty.
func (in *inbox) run() {
	var t *task
	defer func() {
		if t == nil {
			in.conn.endpoint.tasks.Done()
			return
		}
		// A handler ended the goroutine. Its event already failed. A task that ends several
		// memberships runs again for the remaining ones.
		if t.kind == taskShutdown || t.kind == taskEnd {
			in.prepend(t)
		}
		go in.run()
	}()
	for {
		if t = in.take(); t == nil {
			return
		}
		in.conn.run(t)
	}
}

// take returns the next task. If there is none, the caller does not run tasks any more.
func (in *inbox) take() *task {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.conn.departing.Load() > 0 {
		return departureTask
	}
	t := in.first
	if t == nil {
		in.running = false
		return nil
	}
	if in.first = t.next; in.first == nil {
		in.last = nil // so that an idle client does not keep its last message
	}
	t.next = nil // so that a context that a handler stored does not keep later tasks
	if t.kind == taskMessage {
		in.waiting--
		in.bytes -= t.size()
		if in.vacant != nil {
			close(in.vacant)
			in.vacant = nil
		}
	}
	return t
}

// prepend puts back a task that take returned.
func (in *inbox) prepend(t *task) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if t.kind == taskMessage {
		in.waiting++
		in.bytes += t.size()
	}
	t.next = in.first
	in.first = t
	if t.next == nil {
		in.last = t
	}
}
