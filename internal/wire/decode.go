package wire

import (
	"bytes"
	"strings"
)

// A DecodeError says why a message of a client was refused.
type DecodeError struct {
	Message   string // what the client may be told
	RequestID string // of the message, as far as it could be read
	Channel   string // of the message, as far as it could be read
	TooDeep   bool   // it may have been well-formed, but was nested too deep
}

// Error returns the message.
func (e *DecodeError) Error() string { return e.Message }

// Decode parses one message of a client. It must be valid UTF-8 and strict JSON;
// its containers, and it is the first of them, nest maxDepth levels at most.
// Names of members are case-sensitive, the last of several members of one name
// counts, unknown members are skipped, and a payload that is null or missing is
// the empty object. Of a [Ping] all other members are skipped.
//
// The message does not share memory with data. The error is a [*DecodeError].
func Decode(data []byte, maxDepth int) (msg Message, err error) {
	var d decoder
	d.data, d.maxDepth = data, maxDepth
	if !d.value(&d.members) || !d.done() {
		return msg, d.refuse(d.problem())
	}
	if problem := d.check(); problem != "" {
		return msg, d.refuse(problem)
	}
	d.fill(&msg)
	return msg, nil
}

// A decoder reads one message.
type decoder struct {
	scanner
	members members
}

// raw returns the raw value of a member, or nothing if it is missing.
func (d *decoder) raw(m member) []byte {
	v := d.members.values[m]
	return d.data[v.start:v.end]
}

// clientAction returns the action, or "" if clients have no such action.
func (d *decoder) clientAction() Action {
	raw := d.raw(action)
	if !isString(raw) {
		return ""
	}
	switch name := unquote(raw); string(name) {
	case string(JoinChannel):
		return JoinChannel
	case string(LeaveChannel):
		return LeaveChannel
	case string(Broadcast):
		return Broadcast
	case string(Ping):
		return Ping
	}
	return ""
}

// check returns what is wrong with the message, or "", in the words and in the
// order of the JavaScript server, but lets the payload be null or missing.
func (d *decoder) check() string {
	if whole := bytes.TrimLeft(d.data, " \t\r\n"); !isObject(whole) {
		return "clientMessage: Expected object, got " + typeOf(whole)
	}
	a := d.clientAction()
	if a == Ping {
		return ""
	}
	for m := event; m <= lastMember; m++ {
		if len(d.raw(m)) == 0 && m != payload {
			return memberNames[m] + ": Missing required field"
		}
	}
	for m := event; m <= channel; m++ {
		if raw := d.raw(m); !isString(raw) {
			return memberNames[m] + ": Expected string, got " + typeOf(raw)
		}
	}
	if raw := d.raw(payload); len(raw) > 0 && !isObject(raw) && !isNull(raw) {
		return "payload: Expected record with string keys, got " + typeOf(raw)
	}
	if a == "" {
		return "action: Expected one of [JOIN_CHANNEL, LEAVE_CHANNEL, BROADCAST], got " + show(d.raw(action))
	}
	return ""
}

// fill sets msg to the message that was scanned and checked. It gets a pointer
// because copies of msg would take too much of the stack.
func (d *decoder) fill(msg *Message) {
	msg.Action = d.clientAction()
	msg.Payload = emptyObject
	if msg.Action == Ping {
		return
	}
	if raw := d.raw(payload); isObject(raw) {
		msg.Payload = compact(raw, d.members.spaces)
	}
	var b strings.Builder
	b.Grow(len(d.raw(event)) + len(d.raw(channel)) + len(d.raw(requestID)) - len(`""""""`))
	writeText(&b, d.raw(event))
	i := b.Len()
	writeText(&b, d.raw(channel))
	j := b.Len()
	writeText(&b, d.raw(requestID))
	text := b.String()
	msg.Event, msg.Channel, msg.RequestID = text[:i], text[i:j], text[j:]
}

// refuse returns the error about a message with a problem.
func (d *decoder) refuse(problem string) error {
	err := &DecodeError{Message: problem, TooDeep: d.fault == depthFault}
	if raw := d.raw(requestID); isString(raw) {
		err.RequestID = string(unquote(raw))
	}
	if raw := d.raw(channel); isString(raw) {
		err.Channel = string(unquote(raw))
	}
	return err
}

// unquote returns what the JSON string raw stands for. Unless there are escapes
// in it, that is a part of raw.
func unquote(raw []byte) []byte {
	if bytes.IndexByte(raw, '\\') >= 0 {
		return unescape(raw)
	}
	return raw[1 : len(raw)-1]
}

func unescape(raw []byte) []byte {
	var b strings.Builder
	writeText(&b, raw)
	return []byte(b.String())
}

// show returns a raw value for an error message, or its type if it is not short.
func show(raw []byte) string {
	switch {
	case len(raw) > 64 || raw[0] == '{' || raw[0] == '[':
		return typeOf(raw)
	case isString(raw):
		return string(AppendString(nil, string(unquote(raw))))
	}
	return string(raw)
}

// typeOf returns the type of a raw value, as typeof of JavaScript does.
func typeOf(raw []byte) string {
	switch raw[0] {
	case '"':
		return "string"
	case '{', '[', 'n':
		return "object"
	case 't', 'f':
		return "boolean"
	}
	return "number"
}

func isString(raw []byte) bool { return len(raw) > 0 && raw[0] == '"' }

func isObject(raw []byte) bool { return len(raw) > 0 && raw[0] == '{' }

func isNull(raw []byte) bool { return len(raw) > 0 && raw[0] == 'n' }
