package clusterwire

import (
	"encoding/json"
	"iter"
	"maps"
	"strings"
)

// Limits of one state response of this node.
const (
	chunkUsers = 500
	chunkBytes = 256 << 10
)

// Chunks splits the users of a state response, so that no message has more than 500
// users or, unless a single user is larger, more than about 256 KiB. Receivers merge
// them. It yields nothing if there are no users.
func Chunks(users []User) iter.Seq[[]User] {
	return func(yield func([]User) bool) {
		for len(users) > 0 {
			n, size := 0, 0
			for n < len(users) && n < chunkUsers {
				u := &users[n]
				size += len(u.ID) + len(u.Assigns) + len(u.Presence) + len(`{"id":"","assigns":{},"presence":{}},`)
				if n > 0 && size > chunkBytes {
					break
				}
				n++
			}
			if !yield(users[:n:n]) {
				return
			}
			users = users[n:]
		}
	}
}

// ApplyAssigns returns the assigns of a remote user after an [AssignsUpdate]: all of
// them are replaced, or one is set. It does not change old. A nil map means an unknown
// user, and stays nil.
func (m *Message) ApplyAssigns(old map[string]json.RawMessage) map[string]json.RawMessage {
	if old == nil {
		return nil
	}
	if m.Assigns == nil {
		assigns := maps.Clone(old)
		assigns[m.Key] = m.Value
		return assigns
	}
	assigns := map[string]json.RawMessage{}
	eachMember(m.Assigns, func(name, value []byte) bool {
		assigns[string(name)] = value
		return true
	})
	return assigns
}

// IsFirsthand reports whether the users in a [StateResponse] of this source are its
// own. JavaScript servers, whose IDs are not UUIDs, answer with all users that they
// know, so a user may be connected to a node other than the source.
func IsFirsthand(source string) bool {
	if len(source) != len("00000000-0000-0000-0000-000000000000") {
		return false
	}
	for i := range len(source) {
		switch i {
		case 8, 13, 18, 23:
			if source[i] != '-' {
				return false
			}
		default:
			if !strings.Contains("0123456789abcdefABCDEF", source[i:i+1]) {
				return false
			}
		}
	}
	return true
}

// notices are events that other servers send to all nodes, although they are for one of
// their own clients.
var notices = map[string]bool{
	"ACKNOWLEDGE": true, "EXIT_ACKNOWLEDGE": true, "NOT_FOUND": true, "HANDLER_NOT_FOUND": true,
	"UNAUTHORIZED": true, "INTERNAL_ERROR": true,
}

// EventsBefore returns how many events the boot had sent in the topic before this
// message, or 0 if that is not known.
func (m *Message) EventsBefore() uint64 {
	if m.isEvent() && m.Ext.Events > 0 {
		return m.Ext.Events - 1
	}
	return m.Ext.Events
}

// Actions of messages between pond's nodes.
const (
	MemberAction = "MEMBER" // a request to change a member; a UserMessage
	PersonAction = "PERSON" // about an identity; an EvictUser
	RepeatAction = "REPEAT" // repeats requests; a UserMessage
)

// isEvent reports whether the loss of the message is reported: it is for clients, or asks
// for something that is not part of the state of a channel.
func (m *Message) isEvent() bool {
	switch m.Type {
	case UserMessage:
		return m.Ext.Action == "" || m.Ext.Action == MemberAction
	case EvictUser:
		return m.Ext.Action != PersonAction
	}
	return false
}

// IsNotice reports whether a [UserMessage] of another server is an acknowledgement or
// an error for one of its own clients. Go and JavaScript servers publish them, but
// clients of other nodes must not receive them.
func (m *Message) IsNotice() bool {
	return m.Type == UserMessage && m.Ext == (Ext{}) && notices[m.Event]
}
