package load

import (
	"bytes"
	"errors"
)

var errChunk = errors.New("the server sent a chunk that RFC 9112 does not allow")

// A chunks decodes a chunked body (RFC 9112 section 7.1) that arrives in pieces.
type chunks struct {
	left int  // missing bytes of the current chunk
	end  bool // the line end after a chunk is missing
	last bool // the last chunk arrived
}

// decode decodes b[done:] to b[done:end] in place. It returns the rest, an incomplete
// line that the caller must put in front of the next data.
func (c *chunks) decode(b []byte, done int) (end int, rest []byte, err error) {
	rest = b[done:]
	for !c.last {
		if c.left > 0 {
			n := copy(b[done:], rest[:min(c.left, len(rest))])
			done, rest, c.left = done+n, rest[n:], c.left-n
			if c.left > 0 {
				return done, nil, nil
			}
			c.end = true
		}
		if c.end {
			if len(rest) < 2 {
				return done, rest, nil
			}
			if rest[0] != '\r' || rest[1] != '\n' {
				return done, nil, errChunk
			}
			rest, c.end = rest[2:], false
		}
		line := bytes.IndexByte(rest, '\n')
		if line < 0 {
			if len(rest) > 256 {
				return done, nil, errChunk
			}
			return done, rest, nil
		}
		size, ok := parseHex(rest[:line])
		if !ok {
			return done, nil, errChunk
		}
		rest, c.left, c.last = rest[line+1:], size, size == 0
	}
	return done, nil, nil
}

// chunkedSize returns the size of a chunked body without trailers at the start of b,
// or 0 if the body is incomplete.
func chunkedSize(b []byte) (n int, err error) {
	for {
		line := bytes.IndexByte(b[n:], '\n')
		if line < 0 {
			return 0, nil
		}
		size, ok := parseHex(b[n:][:line])
		if !ok {
			return 0, errChunk
		}
		n += line + 1 + size + 2
		switch {
		case n > len(b):
			return 0, nil
		case string(b[n-2:n]) != "\r\n":
			return 0, errChunk
		case size == 0:
			return n, nil
		}
	}
}

// parseHex parses the size in the first line of a chunk.
func parseHex(line []byte) (size int, ok bool) {
	for i, b := range line {
		switch {
		case b >= '0' && b <= '9':
			size = size<<4 | int(b-'0')
		case b|0x20 >= 'a' && b|0x20 <= 'f':
			size = size<<4 | int(b|0x20-'a'+10)
		case b == '\r' || b == ';':
			return size, i > 0
		default:
			return 0, false
		}
		if size > maxMessage {
			return 0, false
		}
	}
	return 0, false
}

// nextEvent parses the server-sent event at the start of b and returns its size n, or
// 0 if the event is incomplete. The data is nil if there is none, as in comments.
// Lines must end with LF or CRLF.
func nextEvent(b []byte) (data []byte, n int) {
	joined := false
	for rest := b; ; {
		end := bytes.IndexByte(rest, '\n')
		if end < 0 {
			return nil, 0
		}
		line := rest[:end]
		rest = rest[end+1:]
		if end > 0 && line[end-1] == '\r' {
			line = line[:end-1]
		}
		if len(line) == 0 {
			return data, len(b) - len(rest)
		}
		if len(line) < 5 || string(line[:5]) != "data:" {
			continue
		}
		value := line[5:]
		if len(value) > 0 && value[0] == ' ' {
			value = value[1:]
		}
		switch {
		case data == nil:
			data = value
		case !joined:
			data, joined = bytes.Join([][]byte{data, value}, []byte("\n")), true
		default:
			data = append(append(data, '\n'), value...)
		}
	}
}
