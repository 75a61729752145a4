package redisbroker

import (
	"bytes"
	"strconv"
	"strings"

	"github.com/pondsocket/pond"
)

// A message of the log is published with its position as the last member:
//
//	{"protocol":...,"userId":"u1","pos":"k3.17.16"}
//
// Other servers ignore it, and the broker removes it. A JSON object ends with these
// bytes only if it has such a member: in a string, the quotes would be escaped. If a
// message already has such a member, an empty one is appended.
const positionMember = `"pos":"`

// longestPosition is above the maximum size of the member: an epoch of 22 characters,
// and two numbers of 16 digits.
const longestPosition = 80

// escape returns the published form of a message that is not in the log.
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

// spliceParts returns the bytes before the position, in two parts.
func spliceParts(data []byte) (head []byte, tail string) {
	head = data[:len(data)-1]
	if isEmpty(head[1:]) {
		return head, positionMember
	}
	return head, "," + positionMember
}

// unescape returns a message without the appended position. It may modify data.
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

// splitPosition finds the member at the end of a message. It returns the index of its
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

// isEmpty reports whether an object has no members.
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
