// Package dialect has the protocols of pond's peers, for the clients of package
// load.
package dialect

import (
	"bytes"
	"strconv"

	"github.com/pondsocket/pond/internal/load"
)

// room is the name of a client's channel, for all peers.
func room(c *load.Client) string { return "/chat/" + strconv.Itoa(c.Room) }

// appendPayload appends the object that clients publish.
func appendPayload(dst, body []byte) []byte {
	dst = append(dst, `{"text":"`...)
	dst = append(dst, body...)
	return append(dst, `"}`...)
}

// textOf returns the string that follows prefix, up to its quote. There are no
// escapes in what it is used for.
func textOf(message []byte, prefix string) string {
	_, rest, _ := bytes.Cut(message, []byte(prefix))
	text, _, _ := bytes.Cut(rest, []byte(`"`))
	return string(text)
}
