package transport

import "sync"

// A workerPool contains the goroutines that handle the data that the connections of a
// shard read. Handlers need a large stack, and a goroutine whose stack has grown is
// worth keeping: growing a stack costs more than decoding a message. So the goroutines
// that wait for clients keep small stacks and dispatch the data that they read to a few
// workers. Workers wait for more data only while there are connections.
type workerPool struct {
	mu    sync.Mutex // guards the following fields; no other lock is acquired while it is held
	conns int
	idle  []*worker
}

// maxIdle is the number of workers per shard that wait for work. There are more while
// handlers are slow; the additional workers end when they are done.
const maxIdle = 8

// A worker handles one readChunk at a time.
type worker struct {
	shard *shard
	next  chan readChunk // a zero readChunk ends the worker
}

// A readChunk is the data of one read.
type readChunk struct {
	conn *Conn
	data []byte
	buf  *[]byte // the buffer of data, if it goes back to the pool
}

// dispatch passes r to a worker. It does not wait.
func (s *shard) dispatch(r readChunk) {
	s.workers.mu.Lock()
	last := len(s.workers.idle) - 1
	if last < 0 {
		s.workers.mu.Unlock()
		s.addWorker(r)
		return
	}
	w := s.workers.idle[last]
	s.workers.idle = s.workers.idle[:last]
	s.workers.mu.Unlock()
	w.next <- r // does not block: only we have w
}

// addWorker starts a worker. It is not part of dispatch, so that the caller's stack
// stays small.
//
//go:noinline
func (s *shard) addWorker(r readChunk) {
	s.hub.tasks.Add()
	w := &worker{shard: s, next: make(chan readChunk, 1)}
	go w.work(r)
}

func (w *worker) work(r readChunk) {
	defer w.shard.hub.tasks.Done() // even if a handler ends the goroutine
	for r.conn != nil {
		r.conn.handle(r)
		if !w.park() {
			return
		}
		r = <-w.next
	}
}

// park adds w to the idle workers, unless there are enough of them.
func (w *worker) park() bool {
	p := &w.shard.workers
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.conns == 0 || len(p.idle) >= maxIdle {
		return false
	}
	p.idle = append(p.idle, w)
	return true
}

// count adds n to the number of connections. After the last connection, the idle
// workers end.
func (p *workerPool) count(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.conns += n; p.conns > 0 {
		return
	}
	for _, w := range p.idle {
		w.next <- readChunk{} // does not block
	}
	p.idle = nil
}
