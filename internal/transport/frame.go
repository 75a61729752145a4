package transport

import (
	"strconv"
	"strings"
	"sync/atomic"
	"weak"

	"github.com/pondsocket/pond/internal/ws"
)

// An encoding is one way to encode a frame. Receivers with the same encoding share the
// encoded bytes.
type encoding uint8

const (
	wsText encoding = iota
	wsDeflate
	sseNamed          // event: NAME, data: JSON
	sseUnnamed        // data: JSON, for browsers' EventSource
	sseNamedChunked   // the same two inside HTTP/1.1 chunks
	sseUnnamedChunked //
	sseNamedID        // the four of them with the position of numbered frames in the id field
	sseUnnamedID
	sseNamedChunkedID
	sseUnnamedChunkedID
	encodings
)

// Headroom is the free space at the start of the buffer for [NewFrame], so that the
// WebSocket header can be written directly before the document.
const Headroom = 10

// A Frame is one immutable message for any number of connections. Its encodings
// are made when the first receiver needs them, and shared by all. Frames are
// safe for concurrent use.
type Frame struct {
	event  string           // names the event in named SSE frames
	text   []byte           // as WebSocket text, header included; nil if lazy
	header int32            // its length
	raw    bool             // text is ready for its one receiver, whatever the encoding
	lazy   func() [3][]byte // the JSON document of a lazy frame
	charge int              // the bytes that the frame counts in an outbox: its size plus frameCost

	// Meta is for [Owner.Outgoing]. The creator of the frame sets it before the
	// frame is sent.
	Meta any

	epoch   string // of the log that the frame is a part of; empty unless numbered
	offset  uint64 // in the log
	reached func() // of a mark

	key *frameKey // nil if no later frame replaces this one

	forms atomic.Pointer[forms] // created on demand: most frames only have text
}

// forms are the encodings of a frame other than its text.
type forms struct {
	encoded [encodings]atomic.Pointer[[]byte]
	shared  [encodings]atomic.Pointer[weak.Pointer[[]byte]] // instead, for lazy frames
}

// frameCost is added to the bytes of a frame in limits, so that many small frames, such
// as pongs, do not use much more memory than the limit of an outbox.
const frameCost = 64

// NewFrame returns the frame of the document in buf[Headroom:]. It owns buf from
// then on. The document is one JSON text without line feeds. event names it for
// clients that read named server-sent events.
func NewFrame(event string, buf []byte) *Frame {
	doc := buf[Headroom:]
	start := Headroom - ws.HeaderSize(len(doc))
	ws.AppendHeader(buf[start:start], ws.Text, false, len(doc))
	return &Frame{event: event, text: buf[start:], header: int32(Headroom - start), charge: len(doc) + frameCost}
}

// NewLazyFrame returns a frame whose document is assembled when it is written to a
// receiver, from parts that it may share with other frames. The function parts is
// called each time, without locks, and returns slices that must not change. The frame
// does not keep them: while it is queued, it uses little more memory than charge, the
// bytes for which it counts in an outbox.
func NewLazyFrame(event string, charge int, parts func() [3][]byte) *Frame {
	return &Frame{event: event, charge: charge + frameCost, lazy: parts}
}

// rawFrame returns a frame of bytes that are written to one connection as they are.
func rawFrame(b []byte) *Frame {
	return &Frame{text: b, header: int32(len(b)), raw: true, charge: len(b) + frameCost}
}

// heartbeat keeps a connection alive: a ping, or a comment in an event stream.
var heartbeat = newHeartbeat()

func newHeartbeat() *Frame {
	f := &Frame{}
	ping := ws.AppendFrame(nil, ws.Ping, false, nil)
	comment := []byte(": keepalive\n\n")
	chunked := appendChunk(nil, comment)
	for e, b := range [encodings][]byte{ping, ping, comment, comment, chunked, chunked, comment, comment, chunked, chunked} {
		f.other().encoded[e].Store(&b)
	}
	return f
}

// other returns the frame's forms. If two goroutines create forms at the same time, all
// use the first.
func (f *Frame) other() *forms {
	if o := f.forms.Load(); o != nil {
		return o
	}
	f.forms.CompareAndSwap(nil, new(forms))
	return f.forms.Load()
}

// document returns the parts of the JSON document.
func (f *Frame) document() [3][]byte {
	if f.lazy == nil {
		return [3][]byte{f.text[f.header:]}
	}
	return f.lazy()
}

// size returns the approximate size of the frame.
func (f *Frame) size() int {
	doc := f.document()
	return len(doc[0]) + len(doc[1]) + len(doc[2])
}

// bytes returns the frame in an encoding, ready to be written.
func (f *Frame) bytes(e encoding, compressFrom int) []byte {
	if f.epoch == "" {
		e = e.withoutID()
	}
	if f.raw || f.text != nil && (e == wsText || e == wsDeflate && len(f.text)-int(f.header) < compressFrom) {
		return f.text
	}
	if f.lazy != nil {
		return f.lazyBytes(e, compressFrom)
	}
	encoded := &f.other().encoded[e]
	if b := encoded.Load(); b != nil {
		return *b
	}
	b := f.encode(nil, e, compressFrom)
	// Two receivers may encode at the same time: all use the first result.
	encoded.CompareAndSwap(nil, &b)
	return *encoded.Load()
}

// lazyBytes encodes once for many receivers. The garbage collector may free the
// result when no receiver uses it. Short frames are not cached: see [Frame.append].
func (f *Frame) lazyBytes(e encoding, compressFrom int) []byte {
	shared := &f.other().shared[e]
	if known := shared.Load(); known != nil {
		if b := known.Value(); b != nil {
			return *b
		}
	}
	b := f.encode(nil, e, compressFrom)
	known := weak.Make(&b)
	shared.Store(&known)
	return b
}

// long reports whether the frame is written by itself. Its bytes are shared, and
// combining it with other frames would copy them.
func (f *Frame) long() bool { return f.size() >= chunkSize }

// append appends the frame in an encoding to dst.
func (f *Frame) append(dst []byte, e encoding, compressFrom int) []byte {
	if f.epoch == "" {
		e = e.withoutID()
	}
	if f.lazy != nil && e != wsDeflate {
		return f.encode(dst, e, compressFrom)
	}
	return append(dst, f.bytes(e, compressFrom)...)
}

func (f *Frame) encode(dst []byte, e encoding, compressFrom int) []byte {
	doc := f.document()
	size := len(doc[0]) + len(doc[1]) + len(doc[2])
	if e == wsDeflate && size >= compressFrom {
		compressed := ws.AppendDeflate(nil, doc[:]...)
		return ws.AppendFrame(dst, ws.Text, true, compressed)
	}
	if e == wsText || e == wsDeflate {
		dst = ws.AppendHeader(dst, ws.Text, false, size)
		return append(append(append(dst, doc[0]...), doc[1]...), doc[2]...)
	}
	return f.encodeEvent(dst, e, doc)
}

// encodeEvent appends one server-sent event. The document has no line feeds, so
// it is a single data line. Line breaks in the name are replaced.
func (f *Frame) encodeEvent(dst []byte, e encoding, doc [3][]byte) []byte {
	plain := e.withoutID()
	named := plain == sseNamed || plain == sseNamedChunked
	name := f.event
	if name == "" {
		name = "message"
	}
	size := len("data: ") + len(doc[0]) + len(doc[1]) + len(doc[2]) + len("\n\n")
	if named {
		name = lineBreaks.Replace(name)
		size += len("event: ") + len(name) + len("\n")
	}
	if e != plain {
		size += f.sizeID()
	}
	chunked := plain == sseNamedChunked || plain == sseUnnamedChunked
	if chunked {
		dst = append(strconv.AppendUint(dst, uint64(size), 16), "\r\n"...)
	}
	if named {
		dst = append(append(append(dst, "event: "...), name...), '\n')
	}
	if e != plain {
		dst = f.appendID(dst)
	}
	dst = append(dst, "data: "...)
	dst = append(append(append(dst, doc[0]...), doc[1]...), doc[2]...)
	dst = append(dst, "\n\n"...)
	if chunked {
		dst = append(dst, "\r\n"...)
	}
	return dst
}

var lineBreaks = strings.NewReplacer("\r", " ", "\n", " ", "\x00", " ")

// appendChunk appends b as one chunk of an HTTP/1.1 body (RFC 9112 section 7.1).
func appendChunk(dst, b []byte) []byte {
	dst = append(strconv.AppendUint(dst, uint64(len(b)), 16), "\r\n"...)
	return append(append(dst, b...), "\r\n"...)
}

// lastChunk ends a chunked body.
const lastChunk = "0\r\n\r\n"
