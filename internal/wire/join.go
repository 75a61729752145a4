package wire

import (
	"bytes"
	"encoding/json"
	"slices"
	"strconv"
)

// A Join is a client's request for extensions of the official protocol when it joins a
// channel.
type Join struct {
	Recover bool  // want has "recover"
	Diff    bool  // want has "diff"
	From    *From // the messages to send again; nil if none are requested
}

// A From is the start of the requested messages: after a position that the client had,
// or, if the epoch is empty, the last messages.
type From struct {
	Epoch  string
	Offset uint64
	ID     string // the user ID that the client had at the position; may be empty
	Last   int
}

// MaxOffset is the largest offset: the largest integer of JavaScript.
const MaxOffset = 1<<53 - 1

// maxEpoch is the largest size of an epoch in bytes.
const maxEpoch = 22

// maxExtension is the maximum size of "want" and of "from" in bytes. Parsed, they need
// many times as much memory.
const maxExtension = 1024

// checkJoin returns a description of the first fault in the extensions of a join, or
// "".
func (d *decoder) checkJoin() string {
	d.join = new(Join)
	for _, m := range []member{want, from} {
		if len(d.raw(m)) > maxExtension {
			return tooLong(m, maxExtension)
		}
	}
	if raw := d.raw(want); len(raw) > 0 && !d.join.parseWant(raw) {
		return "want: Expected array of strings"
	}
	if raw := d.raw(from); len(raw) > 0 {
		if d.join.From = parseFrom(raw); d.join.From == nil {
			return `from: Expected {"epoch": string, "offset": integer, "id": string} or {"last": integer}`
		}
	}
	return ""
}

// Want requests an extension. It reports false if the extension is unknown.
func (j *Join) Want(extension string) bool {
	switch extension {
	case "recover":
		j.Recover = true
	case "diff":
		j.Diff = true
	default:
		return false
	}
	return true
}

func (j *Join) parseWant(raw []byte) bool {
	var extensions []*string
	if raw[0] != '[' || json.Unmarshal(raw, &extensions) != nil || slices.Contains(extensions, nil) {
		return false
	}
	for _, extension := range extensions {
		j.Want(*extension) // a newer client may want extensions that are not known here
	}
	return true
}

// parseFrom returns nil if raw, a valid JSON value, is not a From.
func parseFrom(raw []byte) *From {
	var members map[string]json.RawMessage // not a struct, because names are case-sensitive
	if !isObject(raw) || json.Unmarshal(raw, &members) != nil {
		return nil
	}
	f := new(From)
	last, byLast := members["last"]
	epoch, byEpoch := members["epoch"]
	offset, byOffset := members["offset"]
	id, byID := members["id"]
	switch {
	case byLast && !byEpoch && !byOffset && !byID:
		n, ok := parseInteger(last)
		f.Last = int(min(n, 1<<30))
		if !ok {
			return nil
		}
		return f
	case byLast || !byEpoch || !byOffset || !isString(epoch) || byID && !isString(id):
		return nil
	}
	n, ok := parseInteger(offset)
	if !ok || len(epoch) <= len(`""`) || hasLoneSurrogate(epoch) || byID && hasLoneSurrogate(id) {
		return nil
	}
	f.Epoch, f.Offset = string(unquote(epoch)), n
	if byID {
		f.ID = string(unquote(id))
	}
	return f
}

// parseInteger parses a JSON number that is a non-negative integer of JavaScript,
// written without a fraction or an exponent.
func parseInteger(raw []byte) (uint64, bool) {
	n, err := strconv.ParseUint(string(bytes.TrimSpace(raw)), 10, 53)
	return n, err == nil && raw[0] != '+'
}

// ParsePosition parses a position in the form of the id field of event streams, such as
// "k3.12".
func ParsePosition(id string) (epoch string, offset uint64, ok bool) {
	i := len(id) - 1
	for i >= 0 && id[i] != '.' {
		i--
	}
	if i < 1 || i > maxEpoch {
		return "", 0, false
	}
	n, ok := parseInteger([]byte("0" + id[i+1:]))
	if !ok || len(id) == i+1 {
		return "", 0, false
	}
	return id[:i], n, true
}
