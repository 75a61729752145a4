package pond

import (
	"sync"

	"github.com/pondsocket/pond/internal/wire"
)

// An inbox runs what concerns one client one at a time, in order, on a goroutine
// that exists only while there is something to run.
type inbox struct {
	conn *conn

	mu      sync.Mutex // guards the following fields
	first   *task
	last    *task
	waiting int           // messages of the client
	running bool          // somebody runs tasks
	room    chan struct{} // closed when a message fits again; nil while nobody waits for that
}

// A task is one thing to be done for a client.
type task struct {
	next   *task
	kind   taskKind
	msg    wire.Message
	member *member     // of taskLeft
	reason LeaveReason // of taskLeft
	detail string      // of taskLeft
}

type taskKind uint8

const (
	taskMessage  taskKind = iota // the client has sent something
	taskLeft                     // somebody else has ended a membership
	taskShutdown                 // the endpoint says goodbye
	taskEnd                      // the connection has ended
)

// push appends what has to be done in any case.
func (in *inbox) push(t *task) {
	in.mu.Lock()
	in.append(t)
	in.mu.Unlock()
}

// offer appends a message, unless as many as allowed are waiting.
func (in *inbox) offer(t *task) bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.waiting >= in.conn.endpoint.cfg.inbox {
		return false
	}
	in.waiting++
	in.append(t)
	return true
}

// wait appends a message, and waits until it fits.
func (in *inbox) wait(t *task) {
	for !in.offer(t) {
		in.mu.Lock()
		if in.waiting < in.conn.endpoint.cfg.inbox {
			in.mu.Unlock()
			continue
		}
		if in.room == nil {
			in.room = make(chan struct{})
		}
		room := in.room
		in.mu.Unlock()
		<-room
	}
}

func (in *inbox) append(t *task) {
	if in.first == nil {
		in.first = t
	} else {
		in.last.next = t
	}
	in.last = t
	if !in.running {
		in.running = true
		in.conn.endpoint.tasks.Add()
		go in.run()
	}
}

// run runs tasks until none is left.
func (in *inbox) run() {
	defer in.conn.endpoint.tasks.Done()
	for {
		in.mu.Lock()
		t := in.first
		if t == nil {
			in.running = false
			in.mu.Unlock()
			return
		}
		in.first = t.next
		if t.kind == taskMessage {
			in.waiting--
			if in.room != nil {
				close(in.room)
				in.room = nil
			}
		}
		in.mu.Unlock()
		in.conn.run(t)
	}
}
