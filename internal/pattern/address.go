package pattern

import (
	"encoding/hex"
	"net/url"
	"strings"
)

// SplitAddress splits an address, such as "/chat/1?limit=5", into the path for patterns
// and the raw query, without the '?'.
func SplitAddress(address string) (path, rawQuery string) {
	path, rawQuery, _ = strings.Cut(address, "?")
	return path, rawQuery
}

// ParseQuery parses a query as browsers do, which never fails: unlike [url.ParseQuery],
// it treats ';' as an ordinary character and keeps invalid percent sequences unchanged.
// Bytes that are not UTF-8 become U+FFFD. All values of a key are kept, in order. It
// returns nil if there are none.
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

// formText decodes the name or the value of a pair.
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
