package ws

import "unicode/utf8"

// utf8Prefix reports whether p can be the start of UTF-8 text, and returns the number
// of bytes at its end that are an incomplete rune.
func utf8Prefix(p []byte) (incomplete int, ok bool) {
	for n := 1; n <= min(utf8.UTFMax-1, len(p)); n++ {
		start := len(p) - n
		if !utf8.RuneStart(p[start]) {
			continue
		}
		// FullRune returns true for bytes that cannot be completed to a rune, so they are
		// rejected now and not when more data arrives.
		if !utf8.FullRune(p[start:]) {
			return n, utf8.Valid(p[:start])
		}
		break
	}
	return 0, utf8.Valid(p)
}
