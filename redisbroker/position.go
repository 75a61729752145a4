package redisbroker

import (
	"bytes"
	"strconv"
	"strings"

	"github.com/pondsocket/pond"
)

// A message that is in the log is published with its position as the last member:
//
//	{"protocol":...,"userId":"u1","pos":"k3.17.16"}
//
// Other servers ignore it, and the broker removes it. The end of a JSON object has
// these bytes only if it has such a member: within a text, the quotes would be escaped.
// A message that has the member already gets an empty one behind it.
const positionMember = `"pos":"`

// longestPosition is more than the member can take: an epoch of 22 characters, and two
// numbers of 16 digits.
const longestPosition = 80

// escape returns a message that is not in the log as it is published.
func escape(data []byte) []byte {
	if _, _, ok := splitPosition(data); !ok {
		return data
	}
	return splice(data, "")
}

// splice appends a position to a message.
func splice(data []byte, position string) []byte {
	head, tail := spliceParts(data)
	return append(append(append(make([]byte, 0, len(head)+len(tail)+len(position)+2), head...), tail...), position+`"}`...)
}

// spliceParts returns what comes before the position, in two parts.
func spliceParts(data []byte) (head []byte, tail string) {
	head = data[:len(data)-1]
	if isEmpty(head[1:]) {
		return head, positionMember
	}
	return head, "," + positionMember
}

// unescape returns a message without the position that was appended to it. It may
// change data.
func unescape(data []byte) (message []byte, pos pond.Position, prev uint64) {
	cut, text, ok := splitPosition(data)
	if !ok {
		return data, pos, 0
	}
	pos, prev, ok = parsePosition(text)
	if !ok && text != "" {
		return data, pos, 0
	}
	data[cut] = '}'
	return data[: cut+1 : cut+1], pos, prev
}

// splitPosition finds the member at the end of a message: where it begins, with its
// comma, and its text.
func splitPosition(data []byte) (cut int, text string, ok bool) {
	body, ok := bytes.CutSuffix(data, []byte(`"}`))
	if !ok {
		return 0, "", false
	}
	start := max(0, len(body)-longestPosition)
	i := bytes.LastIndex(body[start:], []byte(positionMember))
	if i < 0 {
		return 0, "", false
	}
	i += start
	text = string(body[i+len(positionMember):])
	switch {
	case i > 0 && data[i-1] == ',':
		cut = i - 1
	case i > 0 && data[0] == '{' && isEmpty(data[1:i]):
		cut = i
	default:
		return 0, "", false
	}
	return cut, text, !strings.ContainsAny(text, `"\`)
}

// isEmpty reports whether there are no members between the braces of an object.
func isEmpty(body []byte) bool { return len(bytes.Trim(body, " \t\r\n")) == 0 }

func parsePosition(text string) (pos pond.Position, prev uint64, ok bool) {
	epoch, rest, ok := strings.Cut(text, ".")
	first, second, ok2 := strings.Cut(rest, ".")
	offset, err := strconv.ParseUint(first, 10, 53)
	prev, err2 := strconv.ParseUint(second, 10, 53)
	if !ok || !ok2 || epoch == "" || err != nil || err2 != nil {
		return pos, 0, false
	}
	return pond.Position{Epoch: epoch, Offset: offset}, prev, true
}
