// Package dialect implements the protocols of the servers that are compared with pond, for
// the clients of package load.
package dialect

import (
	"bytes"
	"strconv"

	"github.com/pondsocket/pond/internal/load"
)

// room returns the name of a client's channel, for all servers. Channels for clients that
// recover have a history.
func room(c *load.Client) string {
	if c.Recover {
		return "/log/" + strconv.Itoa(c.Room)
	}
	return "/chat/" + strconv.Itoa(c.Room)
}

// appendPayload appends the object that clients publish.
func appendPayload(dst, body []byte) []byte {
	dst = append(dst, `{"text":"`...)
	dst = append(dst, body...)
	return append(dst, `"}`...)
}

// textOf returns the string after prefix, up to the closing quotation mark. The strings
// contain no escapes.
func textOf(message []byte, prefix string) string {
	_, rest, _ := bytes.Cut(message, []byte(prefix))
	text, _, _ := bytes.Cut(rest, []byte(`"`))
	return string(text)
}
