package cluster

import (
	"context"
	"sync"
)

// A Queue hands values to a function, one at a time and in their order, on a goroutine
// that exists only while there are some. It is limited: a value that does not fit is
// dropped together with all queued values, and one value that stands for them replaces
// them.
type Queue[T any] struct {
	run   func(T)
	lost  func() T // makes the value that stands for dropped ones
	limit int      // bytes

	mu      sync.Mutex // guards the following fields
	values  []queued[T]
	bytes   int
	running bool
	closed  bool
	idle    chan struct{} // closed when the goroutine ends; nil while no goroutine waits
}

type queued[T any] struct {
	value T
	size  int
}

// Init sets up the queue. lost makes the value that stands for dropped ones.
func (q *Queue[T]) Init(limit int, run func(T), lost func() T) {
	q.limit, q.run, q.lost = limit, run, lost
}

// Push queues a value of the given size in bytes. Values without a size are never
// dropped.
func (q *Queue[T]) Push(value T, size int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return
	}
	if size > 0 && q.bytes+size > q.limit && q.bytes > 0 {
		kept := q.values[:0]
		for _, v := range q.values {
			if v.size == 0 {
				kept = append(kept, v)
			}
		}
		clear(q.values[len(kept):])
		q.values, q.bytes = append(kept, queued[T]{q.lost(), 0}), 0
	} else {
		q.values = append(q.values, queued[T]{value, size})
		q.bytes += size
	}
	if !q.running {
		q.running = true
		go q.drain()
	}
}

func (q *Queue[T]) drain() {
	idle := false
	defer func() {
		if !idle { // the function ended the goroutine; the other values do not suffer
			go q.drain()
		}
	}()
	for {
		q.mu.Lock()
		if len(q.values) == 0 || q.closed {
			q.running, idle = false, true
			q.values, q.bytes = nil, 0
			if q.idle != nil {
				close(q.idle)
				q.idle = nil
			}
			q.mu.Unlock()
			return
		}
		v := q.values[0]
		q.values[0] = queued[T]{}
		q.values = q.values[1:]
		q.bytes -= v.size
		q.mu.Unlock()
		q.run(v.value)
	}
}

// Stop drops all queued values. Later ones are dropped, too. The function may still be
// running.
func (q *Queue[T]) Stop() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	q.values, q.bytes = nil, 0
}

// Close is Stop, and waits until the function returns or ctx is done. It must not be called
// by the function.
func (q *Queue[T]) Close(ctx context.Context) error {
	q.Stop()
	q.mu.Lock()
	if !q.running {
		q.mu.Unlock()
		return nil
	}
	if q.idle == nil {
		q.idle = make(chan struct{})
	}
	idle := q.idle
	q.mu.Unlock()
	select {
	case <-idle:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
