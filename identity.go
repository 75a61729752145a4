package pond

import (
	"errors"
	"fmt"
	"unicode/utf8"

	"github.com/pondsocket/pond/internal/ws"
)

// maxIdentity limits the bytes of an identity, because each connection stores one.
const maxIdentity = 256

// Identify sets the identity of the client: the ID of a person or an account, such as
// the subject of a token. All connections of a person have the same identity. Only the
// connection handler can set it, and later handlers read it with [User.Identity].
// Clients never receive it. Identify does not accept the client: use Accept. Another
// call replaces the identity. The default is "".
//
// Identify returns an error if id is empty, is longer than 256 bytes, or is not valid
// UTF-8.
//
// Call it before you check whether the person may connect. From then on,
// [Endpoint.DisconnectIdentity] finds the connection, even if the client is still
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
	e.mu.Lock()
	defer e.mu.Unlock()
	e.people.remove(c.conn)
	c.conn.identity = id
	e.people.add(c.conn)
	return nil
}

// Identity returns the identity that the connection handler set with
// [ConnectionContext.Identify], or "". Several users may have the same identity: a
// person with two tabs is two users.
func (u User) Identity() string {
	if u.conn == nil {
		return ""
	}
	return u.conn.identity
}

// ToIdentity returns the members that have one of these identities, as an audience. A
// person with two tabs in the channel receives an event twice. Unknown identities are
// ignored.
func (ch *Channel) ToIdentity(identities ...string) Audience {
	return Audience{channel: ch, identities: identities}
}

// EvictIdentity evicts all members that have an identity, as [Channel.Evict] does. It
// returns [ErrNotMember] if there are none. It does not prevent the person from joining
// again: the join handler decides that.
func (ch *Channel) EvictIdentity(identity, reason string) error {
	ch.mu.Lock()
	members := append([]*member(nil), ch.people[identity]...)
	ch.mu.Unlock()
	evicted := 0
	for _, m := range members {
		if m.evict(reason) == nil {
			evicted++
		}
	}
	if evicted == 0 {
		return ErrNotMember
	}
	return nil
}

// DisconnectIdentity disconnects all clients that have an identity, as
// [Endpoint.Disconnect] does. This includes clients whose connection handler called
// Identify and did not return yet: they are disconnected as soon as they are accepted.
// It returns [ErrClosed] if there are none.
func (e *Endpoint) DisconnectIdentity(identity string, code int, reason string) error {
	if code == 0 {
		code = ws.CloseNormal
	}
	e.mu.Lock()
	conns := append([]*conn(nil), e.people[identity]...)
	connected := conns[:0]
	for _, c := range conns {
		if e.conns[c.id] == c {
			connected = append(connected, c)
		} else {
			c.unwanted = &closeReason{ws.CloseCode(code), reason}
		}
	}
	e.mu.Unlock()
	for _, c := range connected {
		c.tr.Close(ws.CloseCode(code), reason, ErrClosed)
	}
	if len(conns) == 0 {
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
