package cluster

import (
	"sync"
	"time"
)

// Limits of [Ended].
const (
	endedStreams = 64 << 10
	endedAge     = 10 * time.Minute
)

// Ended contains event streams of other nodes that ended, as far as this node knows, so
// that further requests for them need no message. A stream is remembered for at least ten
// minutes, unless 32Ki others end. The zero value is ready for use, and its
// methods are safe for concurrent use.
type Ended struct {
	mu         sync.Mutex // guards the following fields
	young, old map[[32]byte]struct{}
	rotated    time.Time
}

// Add stores that a stream ended. now must not go back.
func (e *Ended) Add(stream [32]byte, now time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.rotateLocked(now)
	if e.young == nil {
		e.young = map[[32]byte]struct{}{}
		e.rotated = now
	}
	e.young[stream] = struct{}{}
	if len(e.young) >= endedStreams/2 {
		e.young, e.old, e.rotated = nil, e.young, now
	}
}

// Has reports whether a stream ended.
func (e *Ended) Has(stream [32]byte, now time.Time) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.rotateLocked(now)
	_, young := e.young[stream]
	_, old := e.old[stream]
	return young || old
}

// rotateLocked drops the streams that were added before the last rotation, if that was long
// enough ago.
func (e *Ended) rotateLocked(now time.Time) {
	for range 2 {
		if e.young == nil && e.old == nil || now.Sub(e.rotated) < endedAge {
			return
		}
		e.young, e.old, e.rotated = nil, e.young, e.rotated.Add(endedAge)
	}
}
