package pondclient

import (
	"math/rand/v2"
	"time"
)

// A backoff chooses the delay before each attempt to connect. It belongs to one
// goroutine.
type backoff struct {
	first, most time.Duration
	failures    int // since the last healthy connection
}

// next returns a random delay, whose range doubles with each failure. If the server
// advised a delay, next adds up to half of it.
func (b *backoff) next(advice time.Duration) time.Duration {
	span := b.most
	if b.first <= b.most>>b.failures {
		span = b.first << b.failures
	}
	b.failures++
	advice = min(advice, maxTime)
	if advice > 0 {
		return advice + random(max(advice/2, b.first/10))
	}
	return span/10 + random(span-span/10)
}

func (b *backoff) reset() { b.failures = 0 }

// random returns a random duration from zero up to d.
func random(d time.Duration) time.Duration {
	if d <= 0 {
		return 0
	}
	return time.Duration(rand.Int64N(int64(d))) //nolint:gosec // it spreads clients out and protects nothing
}
