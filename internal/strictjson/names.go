package strictjson

import (
	"bytes"
	"strconv"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// A nameSet contains the names of one object. Small sets allocate nothing.
type nameSet struct {
	few  [12][]byte
	n    int
	many map[string]struct{} // all of them, once there are more than few
}

// add adds a name, and reports whether it is new.
func (s *nameSet) add(name []byte) bool {
	if s.many == nil {
		for _, other := range s.few[:s.n] {
			if bytes.Equal(other, name) {
				return false
			}
		}
		if s.n < len(s.few) {
			s.few[s.n] = name
			s.n++
			return true
		}
		s.many = make(map[string]struct{}, 2*len(s.few))
		for _, other := range s.few {
			s.many[string(other)] = struct{}{}
		}
	}
	before := len(s.many)
	s.many[string(name)] = struct{}{}
	return len(s.many) > before
}

// quote returns a name for an error message.
func quote(name []byte) string {
	const limit = 64
	if len(name) > limit {
		return strconv.Quote(string(bytes.ToValidUTF8(name[:limit], nil))) + "..."
	}
	return strconv.Quote(string(name))
}

// unquote returns the string that a JSON string encodes. If raw has no escapes, the
// result is a part of raw.
func unquote(raw []byte) []byte {
	if len(raw) < len(`""`) {
		return nil
	}
	raw = raw[1 : len(raw)-1]
	i := bytes.IndexByte(raw, '\\')
	if i < 0 {
		return raw
	}
	text := append(make([]byte, 0, len(raw)), raw[:i]...)
	for raw = raw[i:]; len(raw) > 0; {
		if raw[0] != '\\' || len(raw) < 2 {
			text = append(text, raw[0])
			raw = raw[1:]
			continue
		}
		c := raw[1]
		rest := raw[2:]
		switch c {
		case 'b':
			c = '\b'
		case 'f':
			c = '\f'
		case 'n':
			c = '\n'
		case 'r':
			c = '\r'
		case 't':
			c = '\t'
		case 'u':
			var r rune
			r, _, raw = codePoint(raw)
			text = utf8.AppendRune(text, r)
			continue
		}
		text = append(text, c)
		raw = rest
	}
	return text
}

// hasLoneSurrogate reports whether a JSON string has an escaped lone surrogate.
func hasLoneSurrogate(raw []byte) bool {
	for {
		i := bytes.IndexByte(raw, '\\')
		if i < 0 || i+1 >= len(raw) {
			return false
		}
		if raw = raw[i:]; raw[1] != 'u' {
			raw = raw[2:]
			continue
		}
		var lone bool
		if _, lone, raw = codePoint(raw); lone {
			return true
		}
	}
}

// codePoint reads the escape at the start of raw, and a second one if both are one
// character.
func codePoint(raw []byte) (r rune, lone bool, rest []byte) {
	unit, rest := codeUnit(raw)
	if !utf16.IsSurrogate(unit) {
		return unit, false, rest
	}
	if second, after := codeUnit(rest); utf16.IsSurrogate(second) {
		if r := utf16.DecodeRune(unit, second); r != utf8.RuneError {
			return r, false, after
		}
	}
	return utf8.RuneError, true, rest
}

// codeUnit reads one escape. It returns 0 if there is none.
func codeUnit(raw []byte) (unit rune, rest []byte) {
	const size = len(`\uFFFF`)
	if len(raw) < size || raw[0] != '\\' || raw[1] != 'u' {
		return 0, raw[min(len(raw), 2):]
	}
	n, err := strconv.ParseUint(string(raw[2:size]), 16, 16)
	if err != nil {
		return 0, raw[2:]
	}
	return rune(n), raw[size:]
}

// foldName returns the same result for names that encoding/json treats as equal if case
// is ignored: it replaces each character with the smallest equal one (Unicode simple
// folding).
func foldName(name []byte) []byte {
	var room [48]byte // on the caller's stack, because this is inlined
	return appendFolded(room[:0], name)
}

func appendFolded(folded, name []byte) []byte {
	for len(name) > 0 {
		r, size := rune(name[0]), 1
		switch {
		case 'a' <= r && r <= 'z':
			r -= 'a' - 'A'
		case r >= utf8.RuneSelf:
			r, size = utf8.DecodeRune(name)
			r = smallestFold(r)
		}
		folded = utf8.AppendRune(folded, r)
		name = name[size:]
	}
	return folded
}

func smallestFold(r rune) rune {
	smallest := r
	for next := unicode.SimpleFold(r); next != r; next = unicode.SimpleFold(next) {
		smallest = min(smallest, next)
	}
	return smallest
}
