package wire

import (
	"bytes"
	"strconv"
	"strings"
)

// Limits are the limits of one message. A limit of zero bytes means no limit.
type Limits struct {
	Depth     int // levels of nested arrays and objects, including the message
	Event     int // bytes of the name of a broadcast's event; those of other messages are ignored
	RequestID int // bytes of the request ID
}

// A Limit names one of [Limits].
type Limit uint8

// The limits.
const (
	NoLimit Limit = iota
	DepthLimit
	EventLimit
	RequestIDLimit
)

// A DecodeError is the reason why a client's message was rejected. Its names are those
// of the message, or empty if they could not be decoded or are not well-formed Unicode.
type DecodeError struct {
	Message   string // may be sent to the client
	RequestID string
	Channel   string
	Limit     Limit // the limit that the message exceeds, if any
}

// Error returns the message.
func (e *DecodeError) Error() string { return e.Message }

// Decode parses one message of a client. It must be valid UTF-8 and strict JSON
// within the limits. Names of members are case-sensitive. If several members have
// the same name, the last one counts. Unknown members are skipped, and a payload that
// is null or missing is the empty object. All other members of a [Ping] are skipped.
//
// Names must be well-formed Unicode: a name with a lone surrogate has no UTF-8
// form, and two such names would become the same Go string.
//
// The message does not share memory with data. The error is a [*DecodeError].
func Decode(data []byte, limits Limits) (msg Message, err error) {
	var d decoder
	d.data, d.maxDepth = data, limits.Depth
	if !d.value(&d.members) || !d.done() {
		problem := d.problem()
		if d.fault == depthFault {
			d.limit = DepthLimit
		}
		return msg, d.refuse(problem)
	}
	if problem := d.check(&limits); problem != "" {
		return msg, d.refuse(problem)
	}
	d.fill(&msg)
	return msg, nil
}

// A decoder decodes one message.
type decoder struct {
	scanner
	members members
	limit   Limit // the exceeded limit
	join    *Join // the extensions that a join requests, if any
}

// raw returns the raw value of a member, or nothing if it is missing.
func (d *decoder) raw(m member) []byte {
	v := d.members.values[m]
	return d.data[v.start:v.end]
}

// clientAction returns the action, or "" if it is not an action of clients.
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

// check returns a description of the first fault of the message, or "". The texts and
// their order are those of the JavaScript server, with these exceptions: the payload
// may be null or missing, arrays and null are called by their names, and there are
// additional checks of names.
func (d *decoder) check(limits *Limits) string {
	if whole := bytes.TrimLeft(d.data, " \t\r\n"); !isObject(whole) {
		return "clientMessage: Expected object, got " + kindOf(whole)
	}
	a := d.clientAction()
	if a == Ping {
		return ""
	}
	for m := event; m <= lastRequired; m++ {
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
	return d.checkNames(a, limits)
}

// checkNames makes the checks of names that the JavaScript server does not make.
func (d *decoder) checkNames(a Action, limits *Limits) string {
	for m := event; m <= channel; m++ {
		if hasLoneSurrogate(d.raw(m)) {
			return memberNames[m] + ": Expected well-formed Unicode, got a lone surrogate"
		}
	}
	switch {
	case a == Broadcast && d.exceeds(event, limits.Event):
		d.limit = EventLimit
		return tooLong(event, limits.Event)
	case d.exceeds(requestID, limits.RequestID):
		d.limit = RequestIDLimit
		return tooLong(requestID, limits.RequestID)
	case a == JoinChannel && (len(d.raw(want)) > 0 || len(d.raw(from)) > 0):
		return d.checkJoin()
	}
	return ""
}

// exceeds reports whether a name has more bytes than a limit allows.
func (d *decoder) exceeds(m member, limit int) bool {
	raw := d.raw(m)
	// A decoded string is never longer than the encoded one.
	return limit > 0 && len(raw)-len(`""`) > limit && len(unquote(raw)) > limit
}

func tooLong(m member, limit int) string {
	return memberNames[m] + ": Expected at most " + strconv.Itoa(limit) + " bytes"
}

// fill sets msg to the scanned and checked message. It gets a pointer because copies of
// msg would need too much of the stack.
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
	msg.Join = d.join
}

// refuse returns the error for an invalid message.
func (d *decoder) refuse(problem string) error {
	return &DecodeError{Message: problem, RequestID: d.name(requestID), Channel: d.name(channel), Limit: d.limit}
}

// name returns a name for an answer, or "" if the name is missing or must not be sent
// back.
func (d *decoder) name(m member) string {
	raw := d.raw(m)
	if !isString(raw) || hasLoneSurrogate(raw) {
		return ""
	}
	return string(unquote(raw))
}

// unquote returns the string that the JSON string raw encodes. If raw has no escapes,
// the result is a part of raw.
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
	case isString(raw) && !hasLoneSurrogate(raw):
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

// kindOf is like typeOf, but distinguishes arrays and null from objects.
func kindOf(raw []byte) string {
	switch raw[0] {
	case '[':
		return "array"
	case 'n':
		return "null"
	}
	return typeOf(raw)
}

func isString(raw []byte) bool { return len(raw) > 0 && raw[0] == '"' }

func isObject(raw []byte) bool { return len(raw) > 0 && raw[0] == '{' }

func isNull(raw []byte) bool { return len(raw) > 0 && raw[0] == 'n' }
