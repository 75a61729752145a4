package pond

import (
	"sync"
	"time"
)

// A bucket is the rate limit of one connection, and ends with it: a token bucket,
// which holds burst tokens and gets perSecond new ones a second. A nil bucket
// allows everything.
type bucket struct {
	perSecond, burst float64

	mu      sync.Mutex
	tokens  float64
	last    time.Time
	refused float64 // messages refused since the last one that was allowed
}

type rateVerdict uint8

const (
	rateOK rateVerdict = iota
	rateExceeded
	rateAbuse // exceeded for as long as a whole burst
)

func newBucket(perSecond float64, burst int) *bucket {
	if perSecond <= 0 {
		return nil
	}
	return &bucket{perSecond: perSecond, burst: float64(burst), tokens: float64(burst), last: time.Now()}
}

// take takes a token for one message.
func (b *bucket) take() rateVerdict {
	if b == nil {
		return rateOK
	}
	now := time.Now()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.tokens = min(b.burst, b.tokens+now.Sub(b.last).Seconds()*b.perSecond)
	b.last = now
	if b.tokens >= 1 {
		b.tokens--
		b.refused = 0
		return rateOK
	}
	b.refused++
	if b.refused > b.burst {
		return rateAbuse
	}
	return rateExceeded
}
