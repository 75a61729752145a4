package natsbroker

import (
	"crypto/sha256"
	"encoding/base32"
	"strings"
)

// longestToken limits the length of a token. Longer texts become a hash.
const longestToken = 180

// token encodes a text as one token of a subject, without the characters that NATS uses
// as separators or wildcards. Different texts have different tokens. A long text
// becomes a hash.
func token(text string) string {
	if text == "" {
		return "="
	}
	const hex = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(text) {
		c := text[i]
		if 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '_' && i > 0 {
			b.WriteByte(c)
			continue
		}
		b.WriteByte('=')
		b.WriteByte(hex[c>>4])
		b.WriteByte(hex[c&0xF])
	}
	if b.Len() <= longestToken {
		return b.String()
	}
	sum := sha256.Sum256([]byte(text))
	return "~" + base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(sum[:])
}
