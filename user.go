package pond

import (
	crand "crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"time"
	"unicode/utf8"

	"github.com/pondsocket/pond/internal/wire"
	"github.com/pondsocket/pond/internal/ws"
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
//
// If the user is connected to another node of a cluster, Get returns what encoding/json
// decodes the value to, for example a float64 for any number, and nil if that node could
// not encode it.
func (u User) Get(key string) any {
	if u.isRemote() {
		return decodeAssign(u.remoteAssigns()[key])
	}
	return u.assigns()[key]
}

func (u User) isRemote() bool { return u.conn == nil && u.member != nil }

func (u User) remoteAssigns() map[string]json.RawMessage {
	u.member.channel.mu.Lock()
	defer u.member.channel.mu.Unlock()
	return u.member.remote.assigns
}

// sharedAssigns encodes assigns for other nodes. Values that cannot be encoded stay on
// this node. It calls methods of the application, so no lock may be held.
func sharedAssigns(assigns map[string]any) map[string]json.RawMessage {
	shared := make(map[string]json.RawMessage, len(assigns))
	for key, value := range assigns {
		if encoded, err := wire.Value(value); err == nil {
			shared[key] = encoded
		}
	}
	return shared
}

// decodeAssign decodes a value of another node. It returns nil for nil.
func decodeAssign(raw json.RawMessage) (value any) {
	_ = json.Unmarshal(raw, &value) // nil, if a node is broken
	return value
}

// Assigns returns a copy of the user's assigns in this channel. It is never nil.
func (u User) Assigns() map[string]any {
	if u.isRemote() {
		assigns := map[string]any{}
		for key, raw := range u.remoteAssigns() {
			assigns[key] = decodeAssign(raw)
		}
		return assigns
	}
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

// maxIdentity limits the bytes of an identity, because each connection stores one.
const maxIdentity = 256

// Identify sets the identity of the client: the ID of a person or an account, such as
// the subject of a token. All connections of a person have the same identity. Only the
// connection handler can set it, and later handlers read it with [User.Identity]. Clients
// do not receive it, unless a lobby has [WithPresenceIdentities]. Identify does not accept
// the client: use Accept. Another call replaces the identity. The default is "".
//
// Identify returns an error if id is empty, is longer than 256 bytes, or is not valid
// UTF-8.
//
// With [WithMaxConnsPerIdentity], it also returns an [*Error] with
// [http.StatusTooManyRequests] if the identity has too many connections. Return it: the
// client is rejected in any case.
//
// Call Identify before you check whether the person may connect. From then
// on, [Endpoint.DisconnectIdentity] finds the connection, even if the client is still
// connecting.
func (c *ConnectionContext) Identify(id string) error {
	switch {
	case id == "":
		return errors.New("pond: the identity is empty")
	case len(id) > maxIdentity:
		return fmt.Errorf("pond: the identity has %d bytes, more than %d", len(id), maxIdentity)
	case !utf8.ValidString(id):
		return errors.New("pond: the identity is not valid UTF-8")
	}
	e := c.conn.endpoint
	err := e.identify(c.conn, id)
	if errors.Is(err, errLateIdentify) {
		return err
	}
	c.refusal = err
	if c.refusal != nil {
		e.limited(LimitIdentity)
	}
	return c.refusal
}

// errLateIdentify is the error of a call of Identify by code that kept the context.
var errLateIdentify = errors.New("pond: Identify was called after the connection handler returned")

// settle makes the identity of a client final, because the connection handler returned.
func (e *Endpoint) settle(c *conn) {
	e.mu.Lock()
	defer e.mu.Unlock()
	c.decided = true
}

// identify sets the identity of a client, and takes one of the slots of the identity. If
// there is none, it returns why the client must be rejected.
func (e *Endpoint) identify(c *conn, id string) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if c.decided {
		return errLateIdentify // nothing would release the slot of a client that was rejected
	}
	e.people.remove(c)
	e.releaseIdentityLocked(c.identity)
	c.identity = ""
	if limit := e.cfg.maxPerIdentity; limit > 0 {
		if e.perIdentity[id] >= limit {
			return refuse(http.StatusTooManyRequests, "too many connections with this identity")
		}
		if e.perIdentity == nil {
			e.perIdentity = map[string]int{}
		}
		e.perIdentity[id]++
	}
	c.identity = id
	e.people.add(c)
	return nil
}

// releaseIdentityLocked returns a slot of an identity, which is "" if there is none.
func (e *Endpoint) releaseIdentityLocked(identity string) {
	if identity == "" || e.cfg.maxPerIdentity == 0 {
		return
	}
	if e.perIdentity[identity]--; e.perIdentity[identity] == 0 {
		delete(e.perIdentity, identity)
	}
}

// Identity returns the identity that the connection handler set with
// [ConnectionContext.Identify], or "". Several users may have the same identity: a
// person with two tabs is two users.
func (u User) Identity() string {
	switch {
	case u.conn != nil:
		return u.conn.identity
	case u.member != nil: // on another node
		u.member.channel.mu.Lock()
		defer u.member.channel.mu.Unlock()
		return u.member.remote.identity
	}
	return ""
}

// ToIdentity returns the members that have one of these identities, as an audience. A
// person with two tabs in the channel receives an event twice. Unknown identities are
// ignored.
func (ch *Channel) ToIdentity(identities ...string) Audience {
	return Audience{channel: ch, identities: identities}
}

// EvictIdentity evicts all members that have an identity, as [Channel.Evict] does. It
// also ends the grace of the identity; see [WithLeaveGrace]. It returns [ErrNotMember] if
// there was neither. It does not prevent the person from joining again: the join handler
// decides that.
func (ch *Channel) EvictIdentity(identity, reason string) error {
	known := false
	if ch.link != nil {
		var err error
		if known, err = ch.link.evictIdentity(identity, reason); err != nil {
			return err
		}
	}
	if ch.evictIdentityHere(identity, reason, anyTime) == 0 && !known {
		return ErrNotMember
	}
	return nil
}

// evictIdentityHere evicts the members on this node that have an identity and joined until
// a time of the node's clock, and returns their number. A grace of the identity counts as
// one, and so does a member whose leave handler still runs, after which a grace would begin.
func (ch *Channel) evictIdentityHere(identity, reason string, until time.Duration) (evicted int) {
	ch.mu.Lock()
	members := append([]*member(nil), ch.people[identity]...)
	for _, m := range ch.leaving[identity] {
		if !m.evicted && m.began <= until {
			m.evicted = true
			evicted++
		}
	}
	ch.mu.Unlock()
	for _, m := range members {
		if m.began <= until && m.evict(reason) == nil {
			evicted++
		}
	}
	if ch.lobby.endpoint.graces.endNow(identity, ch, until) {
		evicted++
	}
	return evicted
}

// DisconnectIdentity disconnects all clients that have an identity, as
// [Endpoint.Disconnect] does. This includes clients whose connection handler called
// Identify and did not return yet: they are disconnected as soon as they are accepted.
// It also ends the graces of the identity in all channels; see [WithLeaveGrace]. It
// returns [ErrClosed] if there was neither.
//
// In a cluster, it disconnects the clients of all nodes, as Disconnect does. The error then
// says whether the other nodes could be asked.
func (e *Endpoint) DisconnectIdentity(identity string, code int, reason string) error {
	err := e.disconnectIdentity(identity, code, reason, anyTime)
	if n := e.pond.node; n != nil {
		return n.disconnect(e, "", identity, code, reason)
	}
	return err
}

// disconnectIdentity disconnects the clients of this node that connected until a time of the
// node's clock.
func (e *Endpoint) disconnectIdentity(identity string, code int, reason string, until time.Duration) error {
	if code == 0 {
		code = ws.CloseNormal
	}
	e.mu.Lock()
	conns := append([]*conn(nil), e.people[identity]...)
	connected := conns[:0]
	for _, c := range conns {
		if c.began > until {
			continue
		}
		if e.conns[c.id] == c {
			connected = append(connected, c)
		} else {
			c.unwanted = &closeReason{ws.CloseCode(code), reason}
		}
	}
	e.mu.Unlock()
	for _, c := range connected {
		c.expel(code, reason)
	}
	if !e.graces.endNow(identity, nil, until) && len(conns) == 0 {
		return ErrClosed
	}
	return nil
}

// A closeReason contains the close code and the reason for a disconnected client.
type closeReason struct {
	code   int
	reason string
}

// An identityIndex contains the connections of an endpoint, or the members of a
// channel, by identity. It does not contain those without an identity.
type identityIndex[T identified] map[string][]T

// identified is a connection or a member. place returns a pointer to its index in the
// list of its identity.
type identified interface {
	comparable
	identifiedAs() (identity string, place *int)
}

func (x *identityIndex[T]) add(v T) {
	identity, place := v.identifiedAs()
	if identity == "" {
		return
	}
	if *x == nil {
		*x = identityIndex[T]{}
	}
	*place = len((*x)[identity])
	(*x)[identity] = append((*x)[identity], v)
}

// remove removes v if it is in the index.
func (x identityIndex[T]) remove(v T) {
	identity, place := v.identifiedAs()
	list := x[identity]
	if *place >= len(list) || list[*place] != v {
		return
	}
	last := len(list) - 1
	if last == 0 {
		delete(x, identity)
		return
	}
	moved := list[last]
	_, movedPlace := moved.identifiedAs()
	list[*place], *movedPlace = moved, *place
	list[last] = *new(T)
	if list = list[:last]; cap(list) > 64 && last < cap(list)/4 {
		list = append(make([]T, 0, cap(list)/2), list...)
	}
	x[identity] = list
}

func (c *conn) identifiedAs() (string, *int)   { return c.identity, &c.place }
func (m *member) identifiedAs() (string, *int) { return m.conn.identity, &m.place }
