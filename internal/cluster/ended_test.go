package cluster

import (
	"encoding/binary"
	"testing"
	"time"
)

func streamNumber(n int) (stream [32]byte) {
	binary.BigEndian.PutUint64(stream[:], uint64(n))
	return stream
}

func TestEnded(t *testing.T) {
	var e Ended
	now := time.Now()
	if e.Has(streamNumber(1), now) {
		t.Error("a stream ended without a reason")
	}
	e.Add(streamNumber(1), now)
	now = now.Add(endedAge)
	e.Add(streamNumber(2), now)
	if !e.Has(streamNumber(1), now.Add(-1)) || !e.Has(streamNumber(2), now) || e.Has(streamNumber(3), now) {
		t.Error("not told apart")
	}
	if !e.Has(streamNumber(2), now.Add(endedAge)) {
		t.Error("forgotten too early")
	}
	if e.Has(streamNumber(1), now.Add(3*endedAge)) || e.Has(streamNumber(2), now.Add(3*endedAge)) || e.young != nil || e.old != nil {
		t.Error("remembered for too long")
	}
}

// The memory is limited.
func TestEndedLimit(t *testing.T) {
	var e Ended
	now := time.Now()
	for i := range 3 * endedStreams {
		e.Add(streamNumber(i), now)
		if n := len(e.young) + len(e.old); n > endedStreams {
			t.Fatalf("%d streams", n)
		}
		if early := i - endedStreams/2 + 1; early >= 0 && !e.Has(streamNumber(early), now) {
			t.Fatalf("stream %d is forgotten at %d", early, i)
		}
	}
}
