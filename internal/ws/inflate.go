package ws

import (
	"compress/flate"
	"io"
	"sync"
	"unicode/utf8"
)

const (
	// window is the maximum distance of a reference in DEFLATE.
	window = 32 << 10

	// smallOutput is the initial capacity of an inflater's buffer. A buffer whose capacity
	// exceeds largestKept is not kept for other messages.
	smallOutput = 4 << 10
	largestKept = 64 << 10
)

// ending contains the bytes that RFC 7692 section 7.2.1 omits from a message, and an
// empty last block, so that flate detects the end.
var ending = []byte{0x00, 0x00, 0xff, 0xff, 0x01, 0x00, 0x00, 0xff, 0xff}

// inflate inflates a message and passes it to sink.
func (d *Decoder) inflate(op Opcode, compressed []byte, sink Sink) error {
	inf := inflaters.Get().(*inflater)
	defer inf.release()

	data, err := inf.inflate(compressed, d.config.MaxMessage)
	if err != nil {
		return err
	}
	if op == Text && !utf8.Valid(data) {
		return notText()
	}
	return sink.Message(op, data)
}

// inflaters are shared by all connections and used for one message at a time.
var inflaters = sync.Pool{New: func() any {
	inf := &inflater{out: make([]byte, 0, smallOutput)}
	inf.flate = flate.NewReader(&inf.source)
	return inf
}}

type inflater struct {
	source source
	flate  io.Reader
	out    []byte
}

// inflate returns the inflated message, which is valid until release. The limit
// restricts CPU time and memory, even if the message inflates to more.
func (inf *inflater) inflate(compressed []byte, limit int) ([]byte, error) {
	inf.source = source{data: compressed, rest: ending}
	inf.reset(nil)
	for {
		if len(inf.out) == cap(inf.out) {
			inf.grow(limit)
		}
		n, err := inf.flate.Read(inf.out[len(inf.out):cap(inf.out)])
		inf.out = inf.out[:len(inf.out)+n]
		switch {
		case limit > 0 && len(inf.out) > limit:
			return nil, tooBig()
		case err == nil:
		case err != io.EOF:
			return nil, violation(CloseInvalidPayload, "compressed data is corrupt")
		case len(inf.source.data) == 0:
			return inf.out, nil
		default:
			// A block marked as the last may be in the middle of a message, RFC 7692 section
			// 7.2.1, and the next one may refer to the data before it.
			inf.reset(inf.out[max(0, len(inf.out)-window):])
		}
	}
}

// grow doubles the buffer. From half of the limit on, the new size is the limit plus
// one byte, which detects that the limit is exceeded. So the sum of all sizes is at
// most twice the limit.
func (inf *inflater) grow(limit int) {
	size := 2 * cap(inf.out)
	if limit > 0 && size > limit/2 {
		size = limit + 1
	}
	inf.out = append(make([]byte, 0, size), inf.out...)
}

func (inf *inflater) reset(history []byte) {
	// The error is always nil.
	_ = inf.flate.(flate.Resetter).Reset(&inf.source, history)
}

func (inf *inflater) release() {
	if cap(inf.out) > largestKept {
		inf.out = make([]byte, 0, smallOutput)
	}
	inf.out = inf.out[:0]
	inf.source = source{}
	inflaters.Put(inf)
}

// source is data followed by rest. It is an io.ByteReader, so flate does not read ahead
// with its own buffer.
type source struct {
	data, rest []byte
}

func (s *source) next() error {
	if len(s.data) == 0 {
		s.data, s.rest = s.rest, nil
	}
	if len(s.data) == 0 {
		return io.EOF
	}
	return nil
}

func (s *source) ReadByte() (byte, error) {
	if err := s.next(); err != nil {
		return 0, err
	}
	b := s.data[0]
	s.data = s.data[1:]
	return b, nil
}

func (s *source) Read(p []byte) (int, error) {
	if err := s.next(); err != nil {
		return 0, err
	}
	n := copy(p, s.data)
	s.data = s.data[n:]
	return n, nil
}
