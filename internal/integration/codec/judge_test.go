package codec_test

import (
	"bytes"
	"compress/flate"
	"encoding/binary"
	"fmt"
	"io"
	"unicode/utf8"

	"github.com/pondsocket/pond/internal/ws"
)

// Rules are the negotiated options of a connection, and the limits.
type rules struct {
	role      ws.Role // of the reader
	deflate   bool
	limit     int // bytes per message; 0: no limit
	fragments int // per message; 0: no limit
}

// A verdict has the events of a stream, and the close code if the stream is invalid.
type verdict struct {
	events  []string
	refused bool
	code    int // close code; 0 if the connection just ends

	// Only a judge sets these.
	why     string // the rule that was broken
	doubt   bool   // a frame or a compressed message is incomplete, so a decoder may report it earlier or later
	certain int    // number of events that every decoder must report
}

func (v verdict) String() string {
	text := fmt.Sprintf("%q", v.events)
	if v.refused {
		text += fmt.Sprintf(" and closes with %d %s", v.code, v.why)
	}
	return text
}

// A judge reads a stream frame by frame, as RFC 6455 and RFC 7692 describe it.
type judge struct {
	rules
	record
	message    []byte // so far
	op         byte   // of the message; 0: no message has started
	compressed bool
	frames     int
	began      int // number of events before the message
}

func (r rules) judge(stream []byte) verdict {
	j := judge{rules: r}
	for {
		rest, code, why := j.frame(stream)
		if why == "" {
			stream = rest
			continue
		}
		v := verdict{events: j.events, certain: len(j.events), doubt: rest == nil}
		if j.op != 0 && j.compressed {
			v.certain, v.doubt = j.began, true
		}
		if why != incomplete && why != theEnd {
			v.refused, v.code, v.why = true, code, why
		}
		return v
	}
}

// Reasons why a valid stream has no more events.
const (
	incomplete = "incomplete"
	theEnd     = "close frame"
)

// frame reads one frame and returns the bytes after it. If there are no more events,
// why is the reason; if rest is nil as well, the frame is incomplete.
func (j *judge) frame(b []byte) (rest []byte, code int, why string) {
	if len(b) == 0 {
		return b, 0, incomplete
	}
	if len(b) == 1 {
		return nil, 0, incomplete
	}
	fin, rsv1, rsv23, op := b[0]&0x80 != 0, b[0]&0x40 != 0, b[0]&0x30 != 0, b[0]&0x0f
	masked, length := b[1]&0x80 != 0, uint64(b[1]&0x7f)
	control := op >= 8
	switch {
	case op > 10 || op > 2 && op < 8:
		why = "reserved opcode"
	case masked && j.role == ws.Client:
		why = "masked by a server"
	case !masked && j.role == ws.Server:
		why = "not masked by a client"
	case rsv23 || rsv1 && (!j.deflate || control || op == 0):
		why = "reserved bit"
	case control && !fin:
		why = "fragmented control frame"
	case control && length > 125:
		why = "long control frame"
	case op == 0 && j.op == 0:
		why = "continuation without a message"
	case !control && op != 0 && j.op != 0:
		why = "message inside a message"
	}
	size := 2
	switch length {
	case 126:
		size = 4
	case 127:
		size = 10
	}
	key := size
	if masked {
		size += 4
	}
	whole := len(b) >= size
	if whole && key == 4 {
		length = uint64(binary.BigEndian.Uint16(b[2:]))
	}
	if whole && key == 10 {
		length = binary.BigEndian.Uint64(b[2:])
	}
	switch {
	case whole && why == "" && length>>63 != 0:
		why = "negative length"
	case whole && why == "long control frame" && length <= 125:
		why = "long form of a control frame"
	}
	whole = whole && uint64(len(b)-size) >= length
	if why != "" {
		return after(b, size, length, whole), ws.CloseProtocolError, why
	}
	if len(b) < size {
		return nil, 0, incomplete
	}
	payload := bytes.Clone(b[size:min(uint64(len(b)), uint64(size)+length)])
	if masked {
		for i := range payload {
			payload[i] ^= b[key+i%4]
		}
	}
	rest = after(b, size, length, whole)
	if control {
		if !whole {
			return nil, 0, incomplete
		}
		code, why = j.control(op, payload)
		return rest, code, why
	}
	if code, why = j.data(op, fin, rsv1, length, payload, whole); why == "" && !whole {
		why = incomplete
	}
	return rest, code, why
}

// after returns the bytes after a frame, or nil if the frame is incomplete.
func after(b []byte, size int, length uint64, whole bool) []byte {
	if !whole {
		return nil
	}
	return append([]byte{}, b[uint64(size)+length:]...)
}

func (j *judge) control(op byte, payload []byte) (code int, why string) {
	switch {
	case op == 9:
		j.add("ping", payload)
		return 0, ""
	case op == 10:
		j.add("pong", payload)
		return 0, ""
	case len(payload) == 0:
		j.closed(ws.CloseNoStatus, "")
		return 0, theEnd
	case len(payload) == 1:
		return ws.CloseProtocolError, "close frame with a 1-byte payload"
	}
	said, reason := int(binary.BigEndian.Uint16(payload)), payload[2:]
	switch {
	case said < 1000, said >= 1004 && said <= 1006, said >= 1015 && said < 3000, said >= 5000:
		return ws.CloseProtocolError, "close code"
	case !utf8.Valid(reason):
		return ws.CloseInvalidPayload, "close reason"
	}
	j.closed(said, string(reason))
	return 0, theEnd
}

// data handles the payload of a data frame, or the part that arrived.
func (j *judge) data(op byte, fin, rsv1 bool, length uint64, payload []byte, whole bool) (code int, why string) {
	if op != 0 {
		j.op, j.compressed, j.message, j.frames, j.began = op, rsv1, nil, 0, len(j.events)
	}
	j.frames++
	switch {
	case j.limit > 0 && uint64(len(j.message))+length > uint64(j.limit) && j.compressed:
		return ws.CloseTooBig, "size before it is inflated"
	case j.limit > 0 && uint64(len(j.message))+length > uint64(j.limit):
		return ws.CloseTooBig, "size"
	case j.fragments > 0 && j.frames > j.fragments:
		return ws.ClosePolicy, "fragments"
	}
	j.message = append(j.message, payload...)
	final := fin && whole
	text := ws.Opcode(j.op) == ws.Text
	if text && !j.compressed && !startsText(j.message, final) {
		return ws.CloseInvalidPayload, "text"
	}
	if !final {
		return 0, ""
	}
	message := j.message
	if j.compressed {
		var ok bool
		message, ok = inflate(j.message)
		switch {
		case j.limit > 0 && len(message) > j.limit:
			return ws.CloseTooBig, "size"
		case !ok:
			return ws.CloseInvalidPayload, "compressed data"
		case text && !utf8.Valid(message):
			return ws.CloseInvalidPayload, "text"
		}
	}
	j.add(names[ws.Opcode(j.op)], message)
	j.op = 0
	return 0, ""
}

// startsText reports whether a text can start with b or, if all is set, whether b is a text.
func startsText(b []byte, all bool) bool {
	for len(b) > 0 {
		r, n := utf8.DecodeRune(b)
		if r == utf8.RuneError && n == 1 {
			return !all && !utf8.FullRune(b)
		}
		b = b[n:]
	}
	return true
}

// inflate adds the bytes that a sender omits (RFC 7692 section 7.2.2) and an empty last
// block. b may continue after a last block. If b is corrupt, inflate returns the data
// before the corruption.
func inflate(b []byte) (data []byte, ok bool) {
	const ending = "\x00\x00\xff\xff\x01\x00\x00\xff\xff"
	rest := bytes.NewReader(append(bytes.Clone(b), ending...))
	for {
		more, err := io.ReadAll(flate.NewReaderDict(rest, data))
		data = append(data, more...)
		if left := rest.Len(); err != nil || left == 0 || left == len(ending) {
			return data, err == nil
		}
	}
}
