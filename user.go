package pond

import (
	crand "crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"maps"
	"math/rand/v2"
)

// A User is a client in a channel. It is a small value that may be stored and copied.
// Its methods return the current state, or, after the user left, the state at that
// time.
type User struct {
	// ID identifies one connection, not a person: a person with two tabs has two IDs, and
	// each new connection has a new one. It is the same in all channels of the connection.
	// It is public. See [ConnectionContext.Identify] for persons.
	ID string

	conn   *conn
	member *member // nil before the user joined
}

// Get returns a value that was set with Assign, or nil.
func (u User) Get(key string) any { return u.assigns()[key] }

// Assigns returns a copy of the user's assigns in this channel. It is never nil.
func (u User) Assigns() map[string]any {
	if assigns := u.assigns(); assigns != nil {
		return maps.Clone(assigns)
	}
	return map[string]any{}
}

// Presence returns the user's presence in this channel as a JSON object, or nil if the
// user is not tracked. The caller must not modify it.
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

// assign returns a copy of assigns with a key set. Maps of assigns are shared, for
// example between a connection and its memberships, and never modified.
func assign(assigns map[string]any, key string, value any) map[string]any {
	changed := make(map[string]any, len(assigns)+1)
	maps.Copy(changed, assigns)
	changed[key] = value
	return changed
}

// newRequestID returns the ID of a message that is not an answer. It need not be hard
// to guess.
func newRequestID() string {
	var id [16]byte
	binary.BigEndian.PutUint64(id[:8], rand.Uint64()) //nolint:gosec // an identifier, not a secret
	binary.BigEndian.PutUint64(id[8:], rand.Uint64()) //nolint:gosec // the same
	return formatUUID(id)
}

// newUserID returns an ID that is unique on all nodes.
func newUserID() string {
	var id [16]byte
	_, _ = crand.Read(id[:]) // never fails
	return formatUUID(id)
}

// formatUUID returns a version 4 UUID of random bytes (RFC 9562 section 5.4).
func formatUUID(id [16]byte) string {
	id[6] = id[6]&0x0f | 0x40
	id[8] = id[8]&0x3f | 0x80
	var text [36]byte
	hex.Encode(text[0:8], id[0:4])
	hex.Encode(text[9:13], id[4:6])
	hex.Encode(text[14:18], id[6:8])
	hex.Encode(text[19:23], id[8:10])
	hex.Encode(text[24:36], id[10:16])
	text[8], text[13], text[18], text[23] = '-', '-', '-', '-'
	return string(text[:])
}

// newSecret returns a connection ID of at least 128 random bits. It is only sent on its
// own stream.
func newSecret() string { return crand.Text() }
