package transport

import "strconv"

// Number gives f a position in a log: clients that resume by the id field of an
// event stream see it there. It is called before the frame is sent.
func (f *Frame) Number(epoch string, offset uint64) { f.epoch, f.offset = epoch, offset }

// Position returns what [Frame.Number] set. The epoch is empty if it was not called.
func (f *Frame) Position() (epoch string, offset uint64) { return f.epoch, f.offset }

// Charge returns the number of bytes for which the frame counts in an outbox.
func (f *Frame) Charge() int { return f.charge }

// Text returns the frame as WebSocket text. It must not be modified. It is not
// available for lazy frames.
func (f *Frame) Text() []byte { return f.text }

// ReuseFrame returns a frame with the text of an earlier frame, as returned by
// [Frame.Text].
func ReuseFrame(event string, text []byte) *Frame {
	header := int32(2) // RFC 6455 section 5.2
	switch text[1] {
	case 126:
		header = 4
	case 127:
		header = 10
	}
	return &Frame{event: event, text: text, header: header, charge: len(text) - int(header) + frameCost}
}

// NewMark returns a frame without bytes for one connection. After the frames that
// were queued before it are written, the writer calls reached instead of writing the
// mark. No lock is held during the call.
func NewMark(reached func()) *Frame {
	return &Frame{reached: reached, charge: frameCost}
}

// withoutID returns the encoding that e is without its id field.
func (e encoding) withoutID() encoding {
	if e >= sseNamedID && e < encodings {
		return e - sseNamedID + sseNamed
	}
	return e
}

// appendID appends the id field of an event.
func (f *Frame) appendID(dst []byte) []byte {
	dst = append(append(dst, "id: "...), f.epoch...)
	return append(strconv.AppendUint(append(dst, '.'), f.offset, 10), '\n')
}

// sizeID returns the number of bytes that appendID appends.
func (f *Frame) sizeID() int {
	size := len("id: ") + len(f.epoch) + len(".0\n")
	for n := f.offset; n >= 10; n /= 10 {
		size++
	}
	return size
}
