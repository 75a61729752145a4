package ws

import (
	"compress/flate"
	"sync"
)

// tailSize is the length of 00 00 ff ff, with which every flush ends and which
// RFC 7692 section 7.2.1 leaves out.
const tailSize = 4

// AppendDeflate appends the payload of one compressed message, which is the
// parts joined. It knows nothing of other messages, so that many connections may
// be sent the same one.
func AppendDeflate(dst []byte, parts ...[]byte) []byte {
	d := deflaters.Get().(*deflater)
	d.out = dst
	d.flate.Reset(d)
	// Errors can only come from d.Write, which has none.
	for _, part := range parts {
		_, _ = d.flate.Write(part)
	}
	_ = d.flate.Flush()
	dst = d.out[:len(d.out)-tailSize]
	d.out = nil
	deflaters.Put(d)
	return dst
}

// deflaters are shared by all connections: one of them is as big as many
// thousands of messages.
var deflaters = sync.Pool{New: func() any {
	d := new(deflater)
	// The fastest level: on messages of a few hundred bytes the others save
	// little, and clear half a megabyte of tables before each.
	d.flate, _ = flate.NewWriter(d, flate.BestSpeed)
	return d
}}

type deflater struct {
	flate *flate.Writer
	out   []byte
}

func (d *deflater) Write(p []byte) (int, error) {
	d.out = append(d.out, p...)
	return len(p), nil
}
