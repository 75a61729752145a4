package pond

import (
	"encoding/json"
	"fmt"
	"iter"
	"slices"

	"github.com/pondsocket/pond/internal/transport"
	"github.com/pondsocket/pond/internal/wire"
)

// A roster is the ordered list of a channel's tracked members. It is guarded by
// the channel's mu.
//
// Every tracked member gets the whole list with every change (rule S-27), so the
// list is what presence costs. It is encoded when it is about to be written,
// once, and shared by all receivers and, as long as members only come, by all
// versions: each version is a prefix of the next. What waits for a client holds
// none of them.
type roster struct {
	channel *Channel
	group   transport.Group // the tracked members; ready once there is one
	order   []*member       // in the order of tracking

	list    []byte // "[" and the values, while valid
	valid   bool
	version int // of list: another one is not an extension of it
}

// Presence returns the public state of the tracked members by user ID, in the
// order in which they were tracked. It is a snapshot; the values must not be
// changed.
func (ch *Channel) Presence() iter.Seq2[string, json.RawMessage] {
	ch.mu.Lock()
	ids := make([]string, len(ch.roster.order))
	values := make([]json.RawMessage, len(ch.roster.order))
	for i, m := range ch.roster.order {
		ids[i], values[i] = m.conn.id, m.presence
	}
	ch.mu.Unlock()
	return func(yield func(string, json.RawMessage) bool) {
		for i, id := range ids {
			if !yield(id, values[i]) {
				return
			}
		}
	}
}

// PresenceAs returns what [Channel.Presence] does, decoded.
func PresenceAs[T any](ch *Channel) (map[string]T, error) {
	decoded := map[string]T{}
	for id, raw := range ch.Presence() {
		var v T
		if err := json.Unmarshal(raw, &v); err != nil {
			return nil, fmt.Errorf("pond: presence of user %s: %w", id, err)
		}
		decoded[id] = v
	}
	return decoded, nil
}

// Track gives a member a public state, a JSON object, and tells all tracked
// members, the new one included. It returns [ErrNotMember] or [ErrTracked].
func (ch *Channel) Track(id string, presence any) error {
	return ch.setPresence(id, presence, func(m *member) error {
		if m.tracked != nil {
			return ErrTracked
		}
		return nil
	})
}

// Update replaces the public state of a tracked member as a whole and tells all
// tracked members. It returns [ErrNotMember] or [ErrNotTracked].
func (ch *Channel) Update(id string, presence any) error {
	return ch.setPresence(id, presence, func(m *member) error {
		if m.tracked == nil {
			return ErrNotTracked
		}
		return nil
	})
}

// Upsert is Update for a tracked member and Track for any other. It returns
// [ErrNotMember] if there is no such member.
func (ch *Channel) Upsert(id string, presence any) error {
	return ch.setPresence(id, presence, func(*member) error { return nil })
}

// Untrack takes the public state of a member away and tells those that are still
// tracked. It returns [ErrNotMember] or [ErrNotTracked].
func (ch *Channel) Untrack(id string) error {
	var w transport.Work
	ch.mu.Lock()
	m := ch.members[id]
	switch {
	case m == nil:
		ch.mu.Unlock()
		return ErrNotMember
	case m.tracked == nil:
		ch.mu.Unlock()
		return ErrNotTracked
	}
	ch.roster.leave(&w, m)
	m.presence = nil
	ch.mu.Unlock()
	w.Do()
	return nil
}

func (ch *Channel) setPresence(id string, presence any, allowed func(*member) error) error {
	value, err := wire.Object(presence)
	if err != nil {
		return err
	}
	if len(value) > ch.lobby.endpoint.cfg.maxPresence {
		ch.lobby.endpoint.limited(LimitPresence)
		return tooLarge("the presence")
	}
	var w transport.Work
	ch.mu.Lock()
	m := ch.members[id]
	if m == nil {
		ch.mu.Unlock()
		return ErrNotMember
	}
	if err := allowed(m); err != nil {
		ch.mu.Unlock()
		return err
	}
	ch.roster.set(&w, m, value)
	ch.mu.Unlock()
	w.Do()
	return nil
}

// set tracks m, or updates it in its place.
func (r *roster) set(w *transport.Work, m *member, value []byte) {
	m.presence = value
	if m.tracked != nil {
		r.valid = false
		r.tell(w, wire.PresenceUpdate, value)
		return
	}
	if r.order == nil {
		r.group.Init(r.channel.lobby.endpoint.hub)
	}
	r.order = append(r.order, m)
	m.tracked = &transport.Seat{Conn: m.conn.tr}
	r.group.Add(m.tracked)
	r.extend(value)
	r.tell(w, wire.PresenceJoin, value)
}

// leave takes m off the list, if it is on it, and tells the others.
func (r *roster) leave(w *transport.Work, m *member) {
	if r.remove(m) {
		r.tell(w, wire.PresenceLeave, m.presence)
	}
}

func (r *roster) remove(m *member) bool {
	if m.tracked == nil {
		return false
	}
	r.group.Remove(m.tracked)
	m.tracked = nil
	i := slices.Index(r.order, m)
	r.order = slices.Delete(r.order, i, i+1)
	r.valid = false
	return true
}

// extend appends to the encoded list, if there is one. Those who hold a shorter
// list share its bytes and do not see the new ones.
func (r *roster) extend(value []byte) {
	switch {
	case !r.valid:
		return
	case len(r.list) > 1:
		r.list = append(r.list, ',')
	}
	r.list = append(r.list, value...)
}

// encoded returns the current list, without the closing bracket.
func (r *roster) encoded() []byte {
	if !r.valid {
		size := 1
		for _, m := range r.order {
			size += len(m.presence) + 1
		}
		r.list = append(make([]byte, 0, size), '[')
		r.valid = true
		r.version++
		for _, m := range r.order {
			r.extend(m.presence)
		}
	}
	return r.list
}

// tell commits a change for all who are tracked now. Receivers get the list as it
// was then, if that is a part of what there is, or else as it is when the change
// is written to them: a client that lags behind costs no list of its own.
func (r *roster) tell(w *transport.Work, event string, changed []byte) {
	ch := r.channel
	head := wire.AppendPresenceHead(nil, event, ch.name, newRequestID())
	tail := wire.AppendPresenceTail([]byte{']'}, changed)
	end, version := len(r.list), r.version
	if !r.valid {
		version = 0 // no version has this number
	}
	f := transport.NewLazyFrame(event, len(head)+len(tail), func() [3][]byte {
		ch.mu.Lock()
		defer ch.mu.Unlock()
		list := r.encoded()
		if r.version == version {
			list = list[:end]
		}
		return [3][]byte{head, list, tail}
	})
	r.group.Broadcast(w, f, false)
}
