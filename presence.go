package pond

import (
	"encoding/json"
	"fmt"
	"iter"

	"github.com/pondsocket/pond/internal/strictjson"
	"github.com/pondsocket/pond/internal/wire"
)

// Presence returns the presence of the tracked members by user ID, in the order
// in which they were tracked. It is a snapshot. The caller must not change the
// values.
func (ch *Channel) Presence() iter.Seq2[string, json.RawMessage] {
	ch.mu.Lock()
	ids := make([]string, len(ch.roster.order))
	for i, m := range ch.roster.order {
		ids[i] = m.conn.id
	}
	values := ch.roster.latest.Load().values
	ch.mu.Unlock()
	return func(yield func(string, json.RawMessage) bool) {
		for i, id := range ids {
			if !yield(id, values[i]) {
				return
			}
		}
	}
}

// PresenceAs returns what [Channel.Presence] does, decoded. It returns an error if the
// presence of a user does not fit, or is ambiguous; see [EventContext.Bind].
func PresenceAs[T any](ch *Channel) (map[string]T, error) {
	decoded := map[string]T{}
	for id, raw := range ch.Presence() {
		var v T
		if err := strictjson.Unmarshal(raw, &v); err != nil {
			return nil, fmt.Errorf("pond: presence of user %s: %w", id, err)
		}
		decoded[id] = v
	}
	return decoded, nil
}

// Track gives a member a presence, a JSON object, and notifies all tracked
// members, including the new one. It returns [ErrNotMember] or [ErrTracked].
func (ch *Channel) Track(id string, presence any) error {
	m, err := ch.member(id)
	if err != nil {
		return err
	}
	return m.track(presence)
}

// Update replaces the whole presence of a tracked member and notifies all tracked
// members. It returns [ErrNotMember] or [ErrNotTracked].
func (ch *Channel) Update(id string, presence any) error {
	m, err := ch.member(id)
	if err != nil {
		return err
	}
	return m.update(presence)
}

// Upsert is Update for a tracked member and Track for any other. It returns
// [ErrNotMember] if the channel has no such member.
func (ch *Channel) Upsert(id string, presence any) error {
	m, err := ch.member(id)
	if err != nil {
		return err
	}
	return m.setPresence(presence, nil)
}

// Untrack removes the presence of a member and notifies the members that are
// still tracked. It returns [ErrNotMember] or [ErrNotTracked].
func (ch *Channel) Untrack(id string) error {
	m, err := ch.member(id)
	if err != nil {
		return err
	}
	return m.untrack()
}

func (m *member) track(presence any) error {
	return m.setPresence(presence, func() error {
		if m.tracked != nil {
			return ErrTracked
		}
		return nil
	})
}

func (m *member) update(presence any) error {
	return m.setPresence(presence, func() error {
		if m.tracked == nil {
			return ErrNotTracked
		}
		return nil
	})
}

func (m *member) untrack() error {
	return m.commit(func(tx *tx) error {
		if m.tracked == nil {
			return ErrNotTracked
		}
		tx.untrack(m)
		tx.notifyUntracked(m)
		m.presence = nil
		return nil
	})
}

// setPresence tracks the member or updates its presence, unless check, which is
// called under the channel's lock, returns an error.
func (m *member) setPresence(presence any, check func() error) error {
	value, err := wire.Object(presence)
	if err != nil {
		return err
	}
	endpoint := m.channel.lobby.endpoint
	if len(value) > endpoint.cfg.maxPresence {
		endpoint.limited(LimitPresence)
		return tooLarge("the presence")
	}
	return m.commit(func(tx *tx) error {
		if check != nil {
			if err := check(); err != nil {
				return err
			}
		}
		tx.setPresence(m, value)
		return nil
	})
}
