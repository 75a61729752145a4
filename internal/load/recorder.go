package load

import (
	"sync"
	"time"
)

// A Recorder collects durations. Its methods are safe for concurrent use.
type Recorder struct {
	mu   sync.Mutex // guards the following field
	hist *histogram
}

// Record adds one duration.
func (r *Recorder) Record(d time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.hist == nil {
		r.hist = new(histogram)
	}
	r.hist.record(int64(d))
}

// Latency returns the distribution, or nil if nothing was recorded.
func (r *Recorder) Latency() *Latency {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.hist == nil {
		return nil
	}
	return r.hist.latency()
}

// Append appends the payload of one message of a client, with a text.
func (p Payload) Append(dst []byte, client, room int, text string) []byte {
	return p.append(dst, &Client{Number: client, Room: room}, []byte(text))
}
