package transport

import "sync"

// chunkSize is the number of bytes that are combined into one write. A write of some
// thousand bytes costs as much as a write of a hundred, so fewer writes save time.
const chunkSize = 32 << 10

// A chunk is the data of one write.
type chunk struct {
	bytes   []byte
	written int
	pooled  *[]byte // where bytes comes from, if it goes back to the pool
	shared  bool    // bytes belongs to a combinedRun and is reused
	charge  int     // the bytes that it counts in the outbox, until next is called
}

var chunks = sync.Pool{New: func() any { b := make([]byte, 0, chunkSize); return &b }}

// newChunk returns an empty chunk to append to.
func newChunk() chunk {
	pooled := chunks.Get().(*[]byte)
	return chunk{bytes: *pooled, pooled: pooled}
}

// rest returns the bytes that are not written yet.
func (k *chunk) rest() []byte { return k.bytes[k.written:] }

// own returns a chunk with the rest of k that may be kept.
func (k *chunk) own() chunk {
	if !k.shared {
		return *k
	}
	return chunk{bytes: append([]byte(nil), k.rest()...), charge: k.charge}
}

// release releases the bytes of k.
func (k *chunk) release() {
	if k.pooled != nil && cap(k.bytes) <= 4*chunkSize {
		*k.pooled = k.bytes[:0]
		chunks.Put(k.pooled)
	}
	*k = chunk{charge: k.charge}
}
