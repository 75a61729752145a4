package pattern

import (
	"encoding/hex"
	"net/url"
	"strings"
)

// SplitAddress cuts an address, such as "/chat/1?limit=5", into the path that
// patterns match and the raw query, without the '?' between them.
func SplitAddress(address string) (path, rawQuery string) {
	path, rawQuery, _ = strings.Cut(address, "?")
	return path, rawQuery
}

// ParseQuery parses a query as browsers do, which never fails: unlike
// [url.ParseQuery] it takes ';' for an ordinary character and leaves invalid
// percent sequences as they are. Bytes that are not UTF-8 become U+FFFD. All
// values of a key are kept, in order. It returns nil if there are none.
func ParseQuery(raw string) url.Values {
	var values url.Values
	for pair := range strings.SplitSeq(raw, "&") {
		if pair == "" {
			continue
		}
		if values == nil {
			values = make(url.Values)
		}
		key, value, _ := strings.Cut(pair, "=")
		values.Add(formText(key), formText(value))
	}
	return values
}

// formText decodes one half of a pair.
func formText(s string) string {
	if strings.ContainsAny(s, "%+") {
		s = string(unescapeForm(s))
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}

func unescapeForm(s string) []byte {
	text := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c == '+':
			c = ' '
		case c == '%' && i+2 < len(s):
			var decoded [1]byte
			if _, err := hex.Decode(decoded[:], []byte(s[i+1:i+3])); err == nil {
				c = decoded[0]
				i += 2
			}
		}
		text = append(text, c)
	}
	return text
}
