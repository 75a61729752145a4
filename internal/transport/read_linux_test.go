//go:build linux && !386

package transport_test

import (
	"sync/atomic"
	"testing"
)

// A goroutine that reads from a client that sends continuously checks for the end
// between two reads. Otherwise the client could prevent the closing of its connection,
// and block a shard's worker that waits for it.
func TestFloodIsReadInPieces(t *testing.T) {
	const pieces = 20
	s := serve(t, testConfig())
	s.reads = new(atomic.Int64)
	_, stream := openStream(t, s, "HTTP/1.1", "")
	p := receive(t, s.conns)
	if _, err := stream.Write(make([]byte, pieces*(8<<10))); err != nil {
		t.Fatal(err)
	}
	stream.Close()
	receive(t, p.closed)
	if n := s.reads.Load(); n < pieces {
		t.Errorf("%d pieces have been read without looking up but %d times", pieces, n)
	}
}
