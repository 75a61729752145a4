package wire

import (
	"bytes"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// plain contains the ASCII characters that need no escape in a JSON string.
var plain = func() (table [256]bool) {
	for c := byte(' '); c < utf8.RuneSelf; c++ {
		table[c] = c != '"' && c != '\\'
	}
	return table
}()

// AppendString appends s as a JSON string. Control characters, U+2028 and U+2029
// are escaped. Bytes that are not UTF-8 become U+FFFD.
func AppendString(dst []byte, s string) []byte {
	dst = append(dst, '"')
	start := 0 // of the part that is not appended yet
	for i := 0; i < len(s); {
		if plain[s[i]] {
			i++
			continue
		}
		r, size := utf8.DecodeRuneInString(s[i:])
		if size > 1 && r != '\u2028' && r != '\u2029' {
			i += size
			continue
		}
		dst = append(dst, s[start:i]...)
		dst = appendEscape(dst, r)
		i += size
		start = i
	}
	dst = append(dst, s[start:]...)
	return append(dst, '"')
}

// appendEscape appends a character that needs an escape.
func appendEscape(dst []byte, r rune) []byte {
	const hex = "0123456789abcdef"
	switch r {
	case '"', '\\':
		return append(dst, '\\', byte(r))
	case '\n':
		return append(dst, '\\', 'n')
	case '\r':
		return append(dst, '\\', 'r')
	case '\t':
		return append(dst, '\\', 't')
	case utf8.RuneError:
		return append(dst, "\uFFFD"...)
	}
	return append(dst, '\\', 'u', hex[r>>12], hex[r>>8&0xF], hex[r>>4&0xF], hex[r&0xF])
}

// writeText writes the string that the valid JSON string raw encodes, which is never
// longer than raw. Lone surrogates become U+FFFD.
func writeText(b *strings.Builder, raw []byte) {
	raw = raw[1 : len(raw)-1]
	for {
		i := bytes.IndexByte(raw, '\\')
		if i < 0 {
			b.Write(raw)
			return
		}
		b.Write(raw[:i])
		r := rune(raw[i+1])
		raw = raw[i+2:]
		switch r {
		case 'b':
			r = '\b'
		case 'f':
			r = '\f'
		case 'n':
			r = '\n'
		case 'r':
			r = '\r'
		case 't':
			r = '\t'
		case 'u':
			r, raw = codePoint(raw)
		}
		b.WriteRune(r)
	}
}

// hasLoneSurrogate reports whether the valid JSON string raw has an escaped lone
// surrogate.
func hasLoneSurrogate(raw []byte) bool {
	for {
		i := bytes.IndexByte(raw, '\\')
		if i < 0 {
			return false
		}
		escaped := raw[i+1]
		raw = raw[i+2:]
		if escaped != 'u' {
			continue
		}
		unit := codeUnit(raw)
		var r rune
		if r, raw = codePoint(raw); r == utf8.RuneError && utf16.IsSurrogate(unit) {
			return true
		}
	}
}

// codePoint returns the character whose escape has the four hexadecimal digits at the
// start of raw, and the rest of raw.
func codePoint(raw []byte) (r rune, rest []byte) {
	r, rest = codeUnit(raw), raw[4:]
	if !utf16.IsSurrogate(r) {
		return r, rest
	}
	if !bytes.HasPrefix(rest, []byte(`\u`)) {
		return utf8.RuneError, rest
	}
	r = utf16.DecodeRune(r, codeUnit(rest[2:]))
	if r == utf8.RuneError {
		return r, rest // the second escape is a separate character
	}
	return r, rest[6:]
}

// codeUnit returns the value of the four hexadecimal digits at the start of raw.
func codeUnit(raw []byte) (unit rune) {
	for _, c := range raw[:4] {
		digit := c - '0'
		if c > '9' {
			digit = (c | 0x20) - 'a' + 10
		}
		unit = unit<<4 | rune(digit)
	}
	return unit
}
