package ws

import "unicode/utf8"

// utf8Prefix reports whether p can be the beginning of UTF-8 text, and how many
// bytes at its end are a rune of which more has to come.
func utf8Prefix(p []byte) (incomplete int, ok bool) {
	for n := 1; n <= min(utf8.UTFMax-1, len(p)); n++ {
		start := len(p) - n
		if !utf8.RuneStart(p[start]) {
			continue
		}
		// FullRune calls a rune that nothing could complete full, so that it
		// is refused now and not when the rest of it arrives.
		if !utf8.FullRune(p[start:]) {
			return n, utf8.Valid(p[:start])
		}
		break
	}
	return 0, utf8.Valid(p)
}
