package cluster

import (
	"sync"
	"time"
)

// A Requester is a node that forwards requests for a stream of this node. It numbers its
// requests.
type Requester struct {
	Node   string
	Stream [32]byte
}

// Answers are the answers to the newest request of each requester, so that a request that
// arrives again is answered in the same way, and is not handled again. They are stored for
// at least a minute. The zero value is ready for use, and its methods are safe for
// concurrent use.
type Answers[A any] struct {
	mu         sync.Mutex                // guards the following fields
	young, old map[Requester]*request[A] // old: not used since the last rotation
	rotated    time.Time
}

// A request is the newest request of a requester.
type request[A any] struct {
	number uint64
	answer *A // nil while the request is being handled
}

const answersAge = time.Minute

// Seen reports whether this request, or a later one of the same requester, arrived
// before. In the first case it returns the answer, or nil while there is none.
func (a *Answers[A]) Seen(r Requester, number uint64) (seen bool, answer *A) {
	a.mu.Lock()
	defer a.mu.Unlock()
	last := a.young[r]
	if last == nil {
		last = a.old[r]
	}
	switch {
	case last == nil, last.number < number:
		return false, nil
	case last.number > number:
		return true, nil
	}
	return true, last.answer
}

// Begin stores that a request is being handled. now must not go back.
func (a *Answers[A]) Begin(r Requester, number uint64, now time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if now.Sub(a.rotated) >= answersAge {
		a.young, a.old = map[Requester]*request[A]{}, a.young
		a.rotated = now
	}
	a.young[r] = &request[A]{number: number}
}

// Finish stores the answer to a request, unless there is a later one.
func (a *Answers[A]) Finish(r Requester, number uint64, answer *A) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, requests := range []map[Requester]*request[A]{a.young, a.old} {
		if last := requests[r]; last != nil && last.number == number {
			last.answer = answer
		}
	}
}
