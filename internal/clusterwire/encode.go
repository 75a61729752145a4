package clusterwire

import (
	"bytes"
	"errors"
	"slices"
	"strconv"
	"unicode/utf8"
)

// extVersion is the version of [Ext]. A node ignores extensions of another version.
const extVersion = 1

// Append appends a message. It returns an error, and dst unchanged, for a message that
// another node could not use: if a part of the envelope or a required user is missing,
// or if a [UserMessage] has no event, sender, request ID, object as payload, or
// recipients. A JavaScript server crashes when it receives one without an event, and a
// Go server sends one without recipients to all users.
//
// JSON values must be valid and compact. Objects that are nil are empty.
func Append(dst []byte, m *Message) ([]byte, error) {
	if err := m.validate(); err != nil {
		return dst, err
	}
	dst = slices.Grow(dst, m.size())
	dst = appendSourcePrefix(dst, m.Source)
	dst = appendMember(dst, `,"type":`, string(m.Type))
	dst = appendMember(dst, `,"messageId":`, m.ID)
	dst = appendMember(dst, `,"endpointName":`, m.Endpoint)
	dst = appendMember(dst, `,"channelName":`, m.Channel)
	dst = append(dst, `,"timestamp":`...)
	dst = strconv.AppendInt(dst, m.Timestamp, 10)
	dst = m.appendBody(dst)
	dst = appendExt(dst, &m.Ext)
	return append(dst, '}'), nil
}

// size returns about the size of a message, including what [AppendSeq] adds. Most messages
// need no more.
func (m *Message) size() int {
	const names = 400 // of the members, and short values
	n := names + len(m.Source) + len(m.ID) + len(m.Endpoint) + len(m.Channel) + len(m.Event) + len(m.RequestID) + len(m.From) +
		len(m.User) + len(m.FromNode) + len(m.Reason) + len(m.Payload) + len(m.Presence) + len(m.Assigns) +
		len(m.Ext.Except) + len(m.Ext.Identities) + len(m.Ext.Key)
	for i := range m.Users {
		u := &m.Users[i]
		n += len(`{"id":"","assigns":{},"presence":{}},`) + len(u.ID) + len(u.Assigns) + len(u.Presence)
	}
	for _, id := range m.Recipients.IDs {
		n += len(id) + len(`"",`)
	}
	return n
}

// IsFrom reports whether data is a message that [Append] wrote for the source. It only
// compares the start, so that a node can skip its own messages without decoding them.
func IsFrom(data []byte, source string) bool {
	const head = `{"protocol":"pondsocket.distributed","version":1,"sourceNodeId":`
	rest, ok := bytes.CutPrefix(data, []byte(head))
	if !ok || len(rest) < len(source)+len(`"",`) {
		return false
	}
	end := len(source) + 1
	return rest[0] == '"' && string(rest[1:end]) == source && rest[end] == '"' && rest[end+1] == ','
}

// appendSourcePrefix appends the common start of all messages of a source.
func appendSourcePrefix(dst []byte, source string) []byte {
	dst = append(dst, `{"protocol":"pondsocket.distributed","version":1`...)
	return appendMember(dst, `,"sourceNodeId":`, source)
}

func (m *Message) validate() error {
	if m.ID == "" || m.Source == "" || m.Timestamp == 0 {
		return errors.New("clusterwire: a message needs an ID, a source and a timestamp")
	}
	switch m.Type {
	case StateRequest:
		return need(m.Type, m.FromNode)
	case StateResponse:
		for i := range m.Users {
			if m.Users[i].ID == "" {
				return need(m.Type, "")
			}
		}
		return nil
	case NodeHeartbeat:
		if m.Endpoint != Heartbeat || m.Channel != Heartbeat {
			return errors.New("clusterwire: a heartbeat is for the heartbeat topic only")
		}
		return need(m.Type, m.Node)
	case UserMessage:
		return m.validateUserMessage()
	case UserJoined, UserLeft, PresenceUpdate, PresenceRemoved, AssignsUpdate, EvictUser, UserRemove:
		return need(m.Type, m.User)
	case UserGetRequest:
		return need(m.Type, m.User, m.RequestID, m.FromNode)
	case UserGetResponse:
		return need(m.Type, m.User, m.RequestID)
	}
	return errors.New("clusterwire: unknown type " + strconv.Quote(string(m.Type)))
}

// need returns an error if one of the values is empty.
func need(t Type, values ...string) error {
	if slices.Contains(values, "") {
		return errors.New("clusterwire: incomplete " + string(t))
	}
	return nil
}

func (m *Message) validateUserMessage() error {
	if len(m.Payload) > 0 && !isObject(m.Payload) {
		return errors.New("clusterwire: the payload of a USER_MESSAGE must be an object")
	}
	switch m.Recipients.To {
	case AllUsers, AllExceptSender:
	case Listed:
		if len(m.Recipients.IDs) == 0 {
			return errors.New("clusterwire: a USER_MESSAGE with an empty list of recipients would reach all users")
		}
	default:
		return need(m.Type, "")
	}
	return need(m.Type, m.Event, m.From, m.RequestID)
}

func (m *Message) appendBody(dst []byte) []byte {
	switch m.Type {
	case StateRequest:
		return appendMember(dst, `,"fromNode":`, m.FromNode)
	case StateResponse:
		return m.appendUsers(dst)
	case NodeHeartbeat:
		return appendMember(dst, `,"nodeId":`, m.Node)
	case UserMessage:
		dst = appendMember(dst, `,"fromUserId":`, m.From)
		dst = appendMember(dst, `,"event":`, m.Event)
		dst = appendObject(dst, `,"payload":`, m.Payload)
		dst = appendMember(dst, `,"requestId":`, m.RequestID)
		return m.Recipients.append(dst)
	}
	dst = appendMember(dst, `,"userId":`, m.User)
	switch m.Type {
	case UserJoined:
		dst = appendObject(dst, `,"presence":`, m.Presence)
		dst = appendObject(dst, `,"assigns":`, m.Assigns)
	case PresenceUpdate:
		dst = appendObject(dst, `,"presence":`, m.Presence)
	case AssignsUpdate:
		dst = appendObject(dst, `,"assigns":`, m.Assigns)
	case EvictUser:
		dst = appendMember(dst, `,"reason":`, m.Reason)
	case UserGetRequest:
		dst = appendMember(dst, `,"requestId":`, m.RequestID)
		dst = appendMember(dst, `,"fromNode":`, m.FromNode)
	case UserGetResponse:
		dst = appendMember(dst, `,"requestId":`, m.RequestID)
		dst = appendObject(dst, `,"assigns":`, m.Assigns)
		dst = appendObject(dst, `,"presence":`, m.Presence)
	}
	return dst
}

func (m *Message) appendUsers(dst []byte) []byte {
	dst = append(dst, `,"users":[`...)
	for i := range m.Users {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = m.Users[i].append(dst)
	}
	return append(dst, ']')
}

func (u *User) append(dst []byte) []byte {
	dst = appendMember(dst, `{"id":`, u.ID)
	dst = appendObject(dst, `,"assigns":`, u.Assigns)
	dst = appendObject(dst, `,"presence":`, u.Presence)
	return append(dst, '}')
}

func (r *Recipients) append(dst []byte) []byte {
	dst = append(dst, `,"recipientDescriptor":`...)
	switch r.To {
	case AllUsers:
		return append(dst, `"`+allUsers+`"`...)
	case AllExceptSender:
		return append(dst, `"`+allExceptSender+`"`...)
	}
	for i, id := range r.IDs {
		if i == 0 {
			dst = append(dst, '[')
		} else {
			dst = append(dst, ',')
		}
		dst = appendString(dst, id)
	}
	return append(dst, ']')
}

// appendExt appends the extensions, if there are any, as the last member.
func appendExt(dst []byte, ext *Ext) []byte {
	if *ext == (Ext{}) {
		return dst
	}
	dst = append(dst, `,"ext":{"v":`...)
	dst = strconv.AppendInt(dst, extVersion, 10)
	if ext.Boot != "" {
		dst = appendMember(dst, `,"boot":`, ext.Boot)
	}
	if ext.Seq != 0 {
		dst = append(dst, `,"seq":`...)
		dst = strconv.AppendUint(dst, ext.Seq, 10)
	}
	if ext.Events != 0 {
		dst = append(dst, `,"events":`...)
		dst = strconv.AppendUint(dst, ext.Events, 10)
	}
	if ext.Base != 0 {
		dst = append(dst, `,"base":`...)
		dst = strconv.AppendUint(dst, ext.Base, 10)
	}
	if ext.Action != "" {
		dst = appendMember(dst, `,"action":`, ext.Action)
	}
	if ext.Epoch != "" {
		dst = appendMember(dst, `,"pos":{"e":`, ext.Epoch)
		dst = append(dst, `,"o":`...)
		dst = strconv.AppendUint(dst, ext.Offset, 10)
		dst = append(dst, '}')
	}
	if ext.Except != "" {
		dst = append(append(dst, `,"except":`...), ext.Except...)
	}
	if ext.Identities != "" {
		dst = append(append(dst, `,"identities":`...), ext.Identities...)
	}
	if ext.Code != 0 {
		dst = strconv.AppendInt(append(dst, `,"code":`...), int64(ext.Code), 10)
	}
	if ext.Part != 0 {
		dst = strconv.AppendInt(append(dst, `,"part":`...), int64(ext.Part), 10)
	}
	if ext.Key != "" {
		dst = appendMember(dst, `,"key":`, ext.Key)
	}
	if ext.Clock != 0 {
		dst = strconv.AppendInt(append(dst, `,"clock":`...), ext.Clock, 10)
	}
	return append(dst, '}')
}

// AppendSeq adds [Ext.Seq], [Ext.Events] and [Ext.Base] to a message that Append wrote, with
// other extensions and without these. They depend on the position in the order of the messages,
// which may not be known when it is encoded.
func AppendSeq(message []byte, seq, events, base uint64) []byte {
	message = message[:len(message)-len("}}")]
	message = append(message, `,"seq":`...)
	message = strconv.AppendUint(message, seq, 10)
	if events != 0 {
		message = append(message, `,"events":`...)
		message = strconv.AppendUint(message, events, 10)
	}
	if base != 0 {
		message = append(message, `,"base":`...)
		message = strconv.AppendUint(message, base, 10)
	}
	return append(message, "}}"...)
}

// appendMember appends a literal, such as a comma and a name, and a string.
func appendMember(dst []byte, literal, value string) []byte {
	return appendString(append(dst, literal...), value)
}

// appendObject appends a literal and an object, {} if it is nil.
func appendObject(dst []byte, literal string, value []byte) []byte {
	if len(value) == 0 {
		value = emptyObject
	}
	return append(append(dst, literal...), value...)
}

// appendString appends s as a JSON string without escapes for HTML. Bytes that are
// not UTF-8 become U+FFFD.
func appendString(dst []byte, s string) []byte {
	const hex = "0123456789abcdef"
	dst = append(dst, '"')
	start := 0 // of the part that is not appended yet
	for i := 0; i < len(s); {
		c := s[i]
		if c >= ' ' && c != '"' && c != '\\' && c < utf8.RuneSelf {
			i++
			continue
		}
		r, size := utf8.DecodeRuneInString(s[i:])
		if r != utf8.RuneError && size > 1 {
			i += size
			continue
		}
		dst = append(dst, s[start:i]...)
		switch {
		case c == '"' || c == '\\':
			dst = append(dst, '\\', c)
		case c < ' ':
			dst = append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&0xF])
		default:
			dst = append(dst, "\uFFFD"...)
		}
		i += size
		start = i
	}
	dst = append(dst, s[start:]...)
	return append(dst, '"')
}
