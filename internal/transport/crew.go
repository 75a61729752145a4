package transport

import "sync"

// A crew has the goroutines that handle what the connections of a shard have read.
// Handling runs deep, and a goroutine whose stack has grown is worth keeping:
// growing one costs more than decoding a message. So goroutines that wait for a
// client stay shallow and hand on what they read; those that handle it are few.
// They wait for more only while there are connections.
type crew struct {
	mu    sync.Mutex // guards the following fields; no other lock is taken with it held
	conns int
	idle  []*worker
}

// maxIdle is how many workers of a shard wait for work. More exist when handlers
// take their time; those end when they are done.
const maxIdle = 8

// A worker handles one piece at a time.
type worker struct {
	shard *shard
	next  chan piece // a zero piece ends the worker
}

// A piece is what one read has brought.
type piece struct {
	conn *Conn
	data []byte
	buf  *[]byte // where data lies, if that is to be used again
}

// hand has p handled. It does not wait.
func (s *shard) hand(p piece) {
	s.crew.mu.Lock()
	last := len(s.crew.idle) - 1
	if last < 0 {
		s.crew.mu.Unlock()
		s.hire(p)
		return
	}
	w := s.crew.idle[last]
	s.crew.idle = s.crew.idle[:last]
	s.crew.mu.Unlock()
	w.next <- p // has room: nobody else has w
}

// hire starts a worker. It is apart from hand so that the stack of whoever hands
// on has no room for it.
//
//go:noinline
func (s *shard) hire(p piece) {
	s.hub.tasks.Add()
	w := &worker{shard: s, next: make(chan piece, 1)}
	go w.work(p)
}

func (w *worker) work(p piece) {
	defer w.shard.hub.tasks.Done() // also if a handler ends the goroutine
	for p.conn != nil {
		p.conn.handle(p)
		if !w.rest() {
			return
		}
		p = <-w.next
	}
}

// rest makes w wait for the next piece, unless enough others do already.
func (w *worker) rest() bool {
	c := &w.shard.crew
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conns == 0 || len(c.idle) >= maxIdle {
		return false
	}
	c.idle = append(c.idle, w)
	return true
}

// count notes that a connection has come, or gone. With the last one go the idle
// workers.
func (c *crew) count(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conns += n; c.conns > 0 {
		return
	}
	for _, w := range c.idle {
		w.next <- piece{} // has room
	}
	c.idle = nil
}
