package clusterwire

import (
	"encoding/json"
	"math"
	"strconv"
)

// Limits are the limits of messages that [Decode] accepts.
type Limits struct {
	Bytes int // of a message
	Depth int // levels of arrays and objects; the message itself is the first
	Users int // in one message, and recipients
}

// DefaultLimits are for messages from nodes that are trusted, but may have faults.
var DefaultLimits = Limits{Bytes: 4 << 20, Depth: 1000, Users: 50_000}

// Decode parses a message that was received for a channel. It must be strict JSON
// in valid UTF-8 within the limits; names of members are case-sensitive, if a name
// occurs several times, the last member counts, and members that the type does not use
// are skipped.
//
// A message for another endpoint or channel is rejected, because the names of topics
// are not unique: see [Topic]. The error is a [Reason].
func Decode(data []byte, endpoint, channel string, lim Limits) (Message, error) {
	if len(data) > lim.Bytes {
		return Message{}, TooLarge
	}
	if why := check(data, lim.Depth); why != "" {
		return Message{}, why
	}
	d := decoder{limits: lim}
	eachMember(data, func(name, value []byte) bool {
		if m := memberOf(name); m != unknown {
			d.members[m] = value
		}
		return true
	})
	m := Message{Endpoint: endpoint, Channel: channel}
	if why := d.envelope(&m); why != "" {
		return Message{}, why
	}
	if why := d.body(&m); why != "" {
		return Message{}, why
	}
	m.Ext = decodeExt(d.members[extMember])
	return m, nil
}

// A decoder contains the raw members of one message. Missing members are nil.
type decoder struct {
	members [memberCount][]byte
	limits  Limits
}

// envelope sets the fields that all messages have. The endpoint and the channel in m
// are the expected ones.
func (d *decoder) envelope(m *Message) Reason {
	version, err := strconv.ParseFloat(string(d.members[versionMember]), 64)
	if text(d.members[protocolMember]) != Protocol || err != nil || version != Version {
		return BadProtocol
	}
	if m.Type = typeOf(d.members[typeMember]); m.Type == "" {
		return BadType
	}
	if m.Source = text(d.members[sourceMember]); m.Source == "" || len(m.Source) > MaxID {
		return BadSource
	}
	if e, c := d.members[endpointMember], d.members[channelMember]; !isString(e) || !isString(c) ||
		string(unquote(e)) != m.Endpoint || string(unquote(c)) != m.Channel {
		return BadTopic
	}
	if id := d.members[idMember]; id != nil {
		if m.ID = text(id); !isString(id) || len(m.ID) > MaxID {
			return BadID
		}
	}
	if at := d.members[timestampMember]; at != nil {
		if !isNumber(at) {
			return BadTimestamp
		}
		m.Timestamp = milliseconds(at)
	}
	return ""
}

// typeOf returns the type in a raw value, or "".
func typeOf(raw []byte) Type {
	if !isString(raw) {
		return ""
	}
	switch t := Type(unquote(raw)); t {
	case StateRequest, StateResponse, UserJoined, UserLeft, UserMessage, PresenceUpdate, PresenceRemoved,
		AssignsUpdate, EvictUser, UserRemove, UserGetRequest, UserGetResponse, NodeHeartbeat:
		return t
	}
	return ""
}

// milliseconds returns a number without its fraction, or zero if it is out of range.
func milliseconds(raw []byte) int64 {
	if n, err := strconv.ParseInt(string(raw), 10, 64); err == nil {
		return n
	}
	f, err := strconv.ParseFloat(string(raw), 64)
	if err != nil || math.Abs(f) >= 1<<63 {
		return 0
	}
	return int64(f)
}

// body sets the fields of the message's type.
func (d *decoder) body(m *Message) Reason {
	switch m.Type {
	case StateRequest:
		m.FromNode = text(d.members[fromNodeMember])
		return ""
	case StateResponse:
		return d.users(m)
	case UserMessage:
		return d.userMessage(m)
	case NodeHeartbeat:
		if m.Node = text(d.members[nodeMember]); m.Node == "" {
			m.Node = m.Source
		}
		return ""
	}
	if m.User = text(d.members[userMember]); m.User == "" {
		return BadUser
	}
	switch m.Type {
	case UserJoined:
		m.Presence, m.Assigns = object(d.members[presenceMember]), object(d.members[assignsMember])
	case PresenceUpdate:
		m.Presence = object(d.members[presenceMember])
	case AssignsUpdate:
		return d.assigns(m)
	case EvictUser:
		m.Reason = text(d.members[reasonMember])
	case UserGetRequest:
		m.FromNode = text(d.members[fromNodeMember])
		if m.RequestID = text(d.members[requestMember]); m.RequestID == "" {
			return BadRequest // an answer would have no recipient
		}
	case UserGetResponse:
		m.RequestID = text(d.members[requestMember])
		m.Presence, m.Assigns = object(d.members[presenceMember]), object(d.members[assignsMember])
	}
	return ""
}

// users sets the users of a state response. A Go server omits the member instead of
// sending an empty list. Entries without an ID are skipped.
func (d *decoder) users(m *Message) (why Reason) {
	raw := d.members[usersMember]
	if !isArray(raw) {
		return ""
	}
	eachElement(raw, func(entry []byte) bool {
		if len(m.Users) == d.limits.Users {
			why = TooMany
			return false
		}
		if u := decodeUser(entry); u.ID != "" {
			m.Users = append(m.Users, u)
		}
		return true
	})
	return why
}

func decodeUser(entry []byte) (u User) {
	if !isObject(entry) {
		return u
	}
	var assigns, presence []byte
	eachMember(entry, func(name, value []byte) bool {
		switch string(name) {
		case "id":
			u.ID = text(value)
		case "assigns":
			assigns = value
		case "presence":
			presence = value
		}
		return true
	})
	u.Assigns, u.Presence = object(assigns), object(presence)
	return u
}

// userMessage sets the fields of a message for clients. It rejects a message without
// valid recipients, which other servers deliver to all users.
func (d *decoder) userMessage(m *Message) Reason {
	if m.Event = text(d.members[eventMember]); m.Event == "" {
		return BadEvent
	}
	m.From = text(d.members[fromUserMember])
	m.RequestID = text(d.members[requestMember])
	m.Payload = emptyObject
	if raw := d.members[payloadMember]; raw != nil && !isNull(raw) {
		m.Payload = compact(raw)
	}
	switch raw := d.members[recipientsMember]; {
	case isString(raw):
		m.Recipients.To = audience(string(unquote(raw)))
	case isArray(raw):
		m.Recipients.To = Listed
		why := d.recipients(raw, m)
		if why != "" {
			return why
		}
	}
	if m.Recipients.To == 0 || m.Recipients.To == AllExceptSender && m.From == "" {
		return BadRecipients
	}
	return ""
}

const (
	allUsers        = "ALL_USERS"
	allExceptSender = "ALL_EXCEPT_SENDER"
)

func audience(name string) Audience {
	switch name {
	case allUsers:
		return AllUsers
	case allExceptSender:
		return AllExceptSender
	}
	return 0
}

// recipients sets the IDs of a list, which must be strings, and at least one.
func (d *decoder) recipients(raw []byte, m *Message) (why Reason) {
	eachElement(raw, func(id []byte) bool {
		switch {
		case len(m.Recipients.IDs) == d.limits.Users:
			why = TooMany
		case !isString(id):
			why = BadRecipients
		}
		m.Recipients.IDs = append(m.Recipients.IDs, text(id))
		return why == ""
	})
	if len(m.Recipients.IDs) == 0 {
		return BadRecipients
	}
	return why
}

// assigns sets a new value of all assigns, or of one. If both are present, all assigns
// count, as in the JavaScript server.
func (d *decoder) assigns(m *Message) Reason {
	all, key := d.members[assignsMember], d.members[keyMember]
	switch {
	case isObject(all):
		m.Assigns = compact(all)
	case isString(key) && d.members[valueMember] != nil:
		m.Key, m.Value = text(key), compact(d.members[valueMember])
	case isNull(all): // a nil map of a Go server
		m.Assigns = emptyObject
	default:
		return BadAssigns
	}
	return ""
}

// object returns a compact object. It returns the empty object for a missing value and
// for other types, because Go servers omit an empty object or send null.
func object(raw []byte) []byte {
	if !isObject(raw) {
		return emptyObject
	}
	return compact(raw)
}

// shortText returns a string of at most [MaxID] bytes, and "" for other values.
func shortText(raw []byte) string {
	s := text(raw)
	if len(s) > MaxID {
		return ""
	}
	return s
}

// decodeExt returns the extensions in a raw value. It skips members that pond nodes
// would not write in this form.
func decodeExt(raw []byte) (ext Ext) {
	if !isObject(raw) {
		return ext
	}
	version := uint64(0)
	eachMember(raw, func(name, value []byte) bool {
		switch string(name) {
		case "v":
			version = count(value)
		case "boot":
			ext.Boot = shortText(value)
		case "seq":
			ext.Seq = count(value)
		case "events":
			ext.Events = count(value)
		case "base":
			ext.Base = count(value)
		case "action":
			ext.Action = text(value)
		case "pos":
			ext.Epoch, ext.Offset = position(value)
		case "except":
			ext.Except = array(value)
		case "identities":
			ext.Identities = array(value)
		case "code":
			ext.Code = int(min(count(value), 1<<15))
		case "part":
			ext.Part = Part(count(value)) & (FirstPart | LastPart)
		case "key":
			ext.Key = shortText(value)
		case "clock":
			ext.Clock = int64(min(count(value), maxClock))
		}
		return true
	})
	if version != extVersion {
		return Ext{}
	}
	return ext
}

// maxClock is about 300 years, which do not overflow a [time.Duration].
const maxClock = 1 << 53

// array returns an array as text, or "" for other values.
func array(raw []byte) string {
	if !isArray(raw) {
		return ""
	}
	return string(compact(raw))
}

// Strings returns the elements of a JSON array of texts, such as [Ext.Except].
func Strings(array string) (list []string, err error) {
	err = json.Unmarshal([]byte(array), &list)
	return list, err
}

func position(raw []byte) (epoch string, offset uint64) {
	if !isObject(raw) {
		return "", 0
	}
	eachMember(raw, func(name, value []byte) bool {
		switch string(name) {
		case "e":
			epoch = text(value)
		case "o":
			offset = count(value)
		}
		return true
	})
	if epoch == "" {
		return "", 0
	}
	return epoch, offset
}

// count returns a number that is not negative and has no fraction, or zero.
func count(raw []byte) uint64 {
	n, err := strconv.ParseUint(string(raw), 10, 64)
	if err != nil {
		return 0
	}
	return n
}
