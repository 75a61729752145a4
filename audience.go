package pond

import (
	"slices"

	"github.com/pondsocket/pond/internal/transport"
)

// An Audience is a part of a channel's members. Its members are determined when
// something is sent to it.
type Audience struct {
	channel *Channel
	ids     []string
	member  *member // named like ids; nil if there is none
	except  bool    // all but the named ones
	request *string // the ID of the message that is answered, which may be empty; nil if none is
	err     error   // why there is no audience
}

// To returns the members with these IDs. Unknown IDs are ignored.
func (ch *Channel) To(ids ...string) Audience { return Audience{channel: ch, ids: ids} }

// Except returns all members except those with these IDs.
func (ch *Channel) Except(ids ...string) Audience {
	return Audience{channel: ch, ids: ids, except: true}
}

// others returns all members except m, as the audience of an answer to request.
func (m *member) others(request *string) Audience {
	return Audience{channel: m.channel, member: m, except: true, request: request}
}

// Broadcast sends an event to the audience. The payload is a JSON object: a
// struct, a map, a [json.RawMessage] that holds one, or nil for the empty object.
// Broadcast returns [ErrClosed], [ErrOverloaded], [ErrNotAccepted], or an error
// that describes why the payload is not a JSON object.
func (a Audience) Broadcast(event string, payload any) error {
	if a.err != nil {
		return a.err
	}
	if a.request != nil {
		return a.channel.send(event, *a.request, payload, a)
	}
	return a.channel.send(event, newRequestID(), payload, a)
}

// Broadcast sends an event to all members; see [Audience.Broadcast].
func (ch *Channel) Broadcast(event string, payload any) error {
	return ch.Except().Broadcast(event, payload)
}

// allMembers is the audience of all members.
var allMembers = Audience{except: true}

// pickLocked returns the seats of the members that an audience names, each once.
func (ch *Channel) pickLocked(to Audience) []*transport.Seat {
	if to.member != nil {
		if to.member.left {
			return nil
		}
		return []*transport.Seat{&to.member.seat}
	}
	if len(to.ids) == 0 {
		return nil
	}
	seats := make([]*transport.Seat, 0, len(to.ids))
	for _, id := range to.ids {
		if m := ch.members[id]; m != nil && !m.picked {
			m.picked = true
			seats = append(seats, &m.seat)
		}
	}
	for _, id := range to.ids {
		if m := ch.members[id]; m != nil {
			m.picked = false
		}
	}
	return seats
}

// names returns the IDs that the audience names.
func (a Audience) names() []string {
	if a.member != nil {
		return []string{a.member.conn.id}
	}
	return slices.Clone(a.ids)
}

// othersLocked returns the seats of all seated members except these.
func (ch *Channel) othersLocked(seats []*transport.Seat) []*transport.Seat {
	except := make(map[*transport.Seat]bool, len(seats))
	for _, seat := range seats {
		except[seat] = true
	}
	var others []*transport.Seat
	for _, m := range ch.members {
		if m.feeding == nil && !except[&m.seat] {
			others = append(others, &m.seat)
		}
	}
	return others
}
