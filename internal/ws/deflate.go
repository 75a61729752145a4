package ws

import (
	"compress/flate"
	"sync"
)

// tailSize is the length of 00 00 ff ff, which ends every flush and which RFC 7692
// section 7.2.1 omits.
const tailSize = 4

// AppendDeflate appends the payload of one compressed message, which consists of parts.
// It does not depend on other messages, so many connections can receive the same
// payload.
func AppendDeflate(dst []byte, parts ...[]byte) []byte {
	d := deflaters.Get().(*deflater)
	d.out = dst
	d.flate.Reset(d)
	// Only d.Write can cause errors, and it returns none.
	for _, part := range parts {
		_, _ = d.flate.Write(part)
	}
	_ = d.flate.Flush()
	dst = d.out[:len(d.out)-tailSize]
	d.out = nil
	deflaters.Put(d)
	return dst
}

// deflaters are shared by all connections, because each is as large as many thousands
// of messages.
var deflaters = sync.Pool{New: func() any {
	d := new(deflater)
	// The fastest level: for messages of a few hundred bytes, the others save little, and
	// clear half a megabyte of tables per message.
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
