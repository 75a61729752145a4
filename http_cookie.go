package pond

import (
	"net/url"
	"strings"
)

// parseCookies reads Cookie headers as the official servers do: names without a
// value are skipped, quotes belong to the value, the last of equal names counts.
func parseCookies(headers []string) map[string]string {
	cookies := map[string]string{}
	for _, header := range headers {
		for pair := range strings.SplitSeq(header, ";") {
			name, value, ok := strings.Cut(pair, "=")
			if !ok {
				continue
			}
			if decoded, err := url.PathUnescape(strings.TrimSpace(value)); err == nil {
				cookies[strings.TrimSpace(name)] = decoded
			} else {
				cookies[strings.TrimSpace(name)] = strings.TrimSpace(value)
			}
		}
	}
	return cookies
}
