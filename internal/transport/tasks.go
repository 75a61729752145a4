package transport

import (
	"context"
	"sync"
	"sync/atomic"
)

// Tasks counts the tasks that must end before a shutdown is complete. It is a
// WaitGroup whose Wait takes a context, and which may be used in one synctest bubble
// after another. The zero Tasks has no tasks.
type Tasks struct {
	n     atomic.Int64
	mu    sync.Mutex
	empty chan struct{} // closed when n is zero; nil while no goroutine waits
}

// Add adds a task.
func (t *Tasks) Add() { t.n.Add(1) }

// Done removes a task.
func (t *Tasks) Done() {
	if t.n.Add(-1) > 0 {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.empty != nil && t.n.Load() == 0 {
		close(t.empty)
		t.empty = nil
	}
}

// Wait waits until there are no tasks, or until ctx is done.
func (t *Tasks) Wait(ctx context.Context) error {
	t.mu.Lock()
	if t.n.Load() == 0 {
		t.mu.Unlock()
		return nil
	}
	if t.empty == nil {
		t.empty = make(chan struct{})
	}
	empty := t.empty
	t.mu.Unlock()
	select {
	case <-empty:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
