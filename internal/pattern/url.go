package pattern

import (
	"net/url"
	"slices"
	"strings"
)

// CompilePath compiles a pattern of request paths. Its texts are parts of a URL:
// they match every path that RFC 3986 section 6.2.2 calls equivalent, provided
// that the path comes from [RequestPath].
//
// So "/größe", "/gr%C3%B6%C3%9Fe" and "/gr%c3%b6%c3%9fe" are the same pattern, and
// "/socket" matches "/s%6Fcket". But "%2F" is not "/", because a path with another
// separator is a different path.
func CompilePath(s string) (*Pattern, error) {
	p, err := Compile(s)
	if err != nil {
		return nil, err
	}
	p.literal = normalize(p.literal)
	for _, segments := range [][]segment{p.head, p.tail} {
		for i := range segments {
			segments[i].text = normalize(segments[i].text)
		}
	}
	return p, nil
}

// HasParams reports whether the pattern has parameters or a wildcard.
func (p *Pattern) HasParams() bool { return p.values > 0 }

// Equal reports whether both patterns match the same paths with the same parameters,
// even if they are written differently.
func (p *Pattern) Equal(other *Pattern) bool {
	return p.literal == other.literal && p.wild == other.wild && slices.Equal(p.head, other.head) && slices.Equal(p.tail, other.tail)
}

// RequestPath returns the path of u for a pattern from [CompilePath]: as the client
// sent it, but in the normalized form of equivalent paths. Percent sequences have
// upper-case digits, those of unreserved characters are decoded, and characters that a
// path cannot contain are encoded. Dot segments stay.
func RequestPath(u *url.URL) string {
	// EscapedPath encodes the decoded path, in which "%2F" became "/", if the client
	// sent a character that it should have encoded. Browsers do not encode '|'.
	if sent, err := url.PathUnescape(u.RawPath); err == nil && u.RawPath != "" && sent == u.Path {
		return normalize(u.RawPath)
	}
	return normalize(u.EscapedPath())
}

// normalize converts a path to the form of [RequestPath]. It returns path itself if it
// has this form.
func normalize(path string) string {
	special := 0
	for i := range len(path) {
		if !pathByte(path[i]) {
			special++
		}
	}
	if special == 0 {
		return path
	}
	var b strings.Builder
	b.Grow(len(path) + len("%FF")*special - special)
	for i := 0; i < len(path); i++ {
		c := path[i]
		encoded := c == '%' && i+2 < len(path) && isHex(path[i+1]) && isHex(path[i+2])
		if encoded {
			c = unhex(path[i+1])<<4 | unhex(path[i+2])
			i += 2
		}
		if unreserved(c) || !encoded && pathByte(c) {
			b.WriteByte(c)
		} else {
			b.Write([]byte{'%', upperHex[c>>4], upperHex[c&0xF]})
		}
	}
	return b.String()
}

// unreserved reports whether c means the same with and without percent-encoding
// (RFC 3986 section 2.3).
func unreserved(c byte) bool { return isLetter(c) || isDigit(c) || strings.IndexByte("-.~", c) >= 0 }

// pathByte reports whether c stands for itself in a path (RFC 3986 section 3.3).
func pathByte(c byte) bool { return unreserved(c) || strings.IndexByte("/!$&'()*+,;=:@", c) >= 0 }

const upperHex = "0123456789ABCDEF"

func isHex(c byte) bool { return isDigit(c) || 'a' <= c|0x20 && c|0x20 <= 'f' }

func unhex(c byte) byte {
	if isDigit(c) {
		return c - '0'
	}
	return (c | 0x20) - 'a' + 10
}
