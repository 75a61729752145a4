package wire

import (
	"bytes"
	"strconv"
	"unicode/utf8"
)

// A scanner checks JSON texts of RFC 8259. It uses no recursion and small stack frames,
// so that no input grows the small stack of a read loop.
type scanner struct {
	data     []byte
	pos      int
	spaces   int // white space outside strings before pos
	maxDepth int
	fault    fault // why the byte at pos was rejected
}

type fault uint8

const (
	syntaxFault fault = iota
	utf8Fault
	depthFault
)

// problem describes the fault for the sender of the data.
func (s *scanner) problem() string {
	offset := " at offset " + strconv.Itoa(s.pos)
	switch {
	case s.fault == depthFault:
		return "JSON nested deeper than " + strconv.Itoa(s.maxDepth) + " levels" + offset
	case s.fault == utf8Fault:
		return "invalid UTF-8" + offset
	case s.pos == len(s.data):
		return "unexpected end of JSON"
	}
	r, _ := utf8.DecodeRune(s.data[s.pos:])
	return "unexpected " + strconv.QuoteRune(r) + " in JSON" + offset
}

// peek returns the next byte. At the end it returns 0, which is also invalid outside of
// strings.
func (s *scanner) peek() byte {
	if s.pos < len(s.data) {
		return s.data[s.pos]
	}
	return 0
}

// take consumes the next byte if it is c.
func (s *scanner) take(c byte) bool {
	if s.peek() != c {
		return false
	}
	s.pos++
	return true
}

// space consumes white space.
func (s *scanner) space() {
	for s.pos < len(s.data) && isSpace(s.data[s.pos]) {
		s.pos++
		s.spaces++
	}
}

func isSpace(c byte) bool { return c == ' ' || c == '\n' || c == '\t' || c == '\r' }

// done reports whether only white space remains.
func (s *scanner) done() bool {
	s.space()
	return s.pos == len(s.data)
}

// value consumes a value and the white space before it. If the value is an object and m
// is not nil, m records the positions of its members.
func (s *scanner) value(m *members) bool {
	var inline [16]byte
	open := inline[:0] // the closing brackets that must follow
	for {
		s.space()
		if n := len(open); n > 0 && open[n-1] == '}' && !s.key(m, n) {
			return false
		}
		if c := s.peek(); c == '{' || c == '[' {
			if len(open) >= s.maxDepth {
				s.fault = depthFault
				return false
			}
			open = append(open, c+2) // in ASCII, '}' is '{'+2 and ']' is '['+2
			s.pos++
			s.space()
			if s.peek() != c+2 {
				continue
			}
		} else if !s.scalar(c) {
			return false
		}
		// A value ends here, or an empty container ends next.
		for {
			n := len(open)
			if n == 0 {
				return true
			}
			if n == 1 && m != nil {
				m.end(s.pos, s.spaces)
			}
			s.space()
			if !s.take(open[n-1]) {
				break
			}
			open = open[:n-1]
		}
		if !s.take(',') {
			return false
		}
	}
}

// key consumes the name of a member, the colon after it, and white space.
func (s *scanner) key(m *members, depth int) bool {
	start := s.pos
	if !s.text() {
		return false
	}
	name := s.data[start:s.pos]
	s.space()
	if !s.take(':') {
		return false
	}
	s.space()
	if depth == 1 && m != nil {
		m.begin(name, s.pos, s.spaces)
	}
	return true
}

// scalar consumes a value that starts with c and is not a container.
func (s *scanner) scalar(c byte) bool {
	switch c {
	case '"':
		return s.text()
	case 't':
		return s.literal("true")
	case 'f':
		return s.literal("false")
	case 'n':
		return s.literal("null")
	}
	return s.number()
}

func (s *scanner) literal(word string) bool {
	for i := range len(word) {
		if !s.take(word[i]) {
			return false
		}
	}
	return true
}

func (s *scanner) number() bool {
	s.take('-')
	if !s.take('0') && !s.digits() {
		return false
	}
	if s.take('.') && !s.digits() {
		return false
	}
	if c := s.peek(); c == 'e' || c == 'E' {
		s.pos++
		if !s.take('+') {
			s.take('-')
		}
		return s.digits()
	}
	return true
}

// digits consumes one or more digits.
func (s *scanner) digits() bool {
	start := s.pos
	for c := s.peek(); '0' <= c && c <= '9'; c = s.peek() {
		s.pos++
	}
	return s.pos > start
}

// text consumes a string.
func (s *scanner) text() bool {
	if !s.take('"') {
		return false
	}
	for {
		for s.pos < len(s.data) && plain[s.data[s.pos]] {
			s.pos++
		}
		switch c := s.peek(); {
		case c == '"':
			s.pos++
			return true
		case c == '\\':
			s.pos++
			if !s.escape() {
				return false
			}
		case c < utf8.RuneSelf: // a control character, or the end
			return false
		default:
			r, size := utf8.DecodeRune(s.data[s.pos:])
			if r == utf8.RuneError && size == 1 {
				s.fault = utf8Fault
				return false
			}
			s.pos += size
		}
	}
}

// escape consumes an escape sequence after its backslash.
func (s *scanner) escape() bool {
	if s.take('u') {
		for range 4 {
			if !isHex(s.peek()) {
				return false
			}
			s.pos++
		}
		return true
	}
	if s.pos == len(s.data) || bytes.IndexByte([]byte(`"\/bfnrt`), s.data[s.pos]) < 0 {
		return false
	}
	s.pos++
	return true
}

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c|0x20 && c|0x20 <= 'f'
}
