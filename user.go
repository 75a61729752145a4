package pond

import (
	"encoding/json"
	"maps"
)

// A User is a client as a channel sees it. It is a small value that may be kept
// and copied; its methods return what is true when they are called. After the
// user has left, they return what was true then.
type User struct {
	// ID is public: it is the same in all channels of a connection, and differs
	// from connection to connection.
	ID string

	conn   *conn
	member *member // nil before the user has joined
}

// Get returns private state that was set with Assign, or nil.
func (u User) Get(key string) any { return u.assigns()[key] }

// Assigns returns a copy of the user's private state in this channel. It is
// never nil.
func (u User) Assigns() map[string]any {
	if assigns := u.assigns(); assigns != nil {
		return maps.Clone(assigns)
	}
	return map[string]any{}
}

// Presence returns the user's public state in this channel as a JSON object, or
// nil if it is not tracked. The caller must not change it.
func (u User) Presence() json.RawMessage {
	if u.member == nil {
		return nil
	}
	u.member.channel.mu.Lock()
	defer u.member.channel.mu.Unlock()
	return u.member.presence
}

func (u User) assigns() map[string]any {
	switch {
	case u.member != nil:
		u.member.channel.mu.Lock()
		defer u.member.channel.mu.Unlock()
		return u.member.assigns
	case u.conn != nil:
		u.conn.mu.Lock()
		defer u.conn.mu.Unlock()
		return u.conn.assigns
	default:
		return nil
	}
}

// assign returns assigns with a key set. Maps of assigns are shared, between a
// connection and its memberships too, and never changed.
func assign(assigns map[string]any, key string, value any) map[string]any {
	changed := make(map[string]any, len(assigns)+1)
	maps.Copy(changed, assigns)
	changed[key] = value
	return changed
}
