package pondclient

import (
	"bytes"
	"cmp"
	"encoding/json"
	"slices"
	"strconv"

	"github.com/pondsocket/pond/internal/wire"
)

// A roster is the presence of one channel. It supports both forms that servers send:
// lists and differences. The client's mutex guards it.
//
// The key of a member is its ID, or its presence if the list has no IDs. For each key
// that changed, each Channel keeps the value that its program saw last. So an event
// describes the difference between two lists, even if many frames arrived in between.
type roster struct {
	members map[string]entry
	next    uint64 // orders members by their arrival

	// Only for differences: frames that arrive before the state is complete.
	awaiting bool // differences and pages are for the next state
	state    map[string]entry
	early    []rosterDiff
}

type entry struct {
	Member
	order uint64
}

// maxEarly limits the number of differences that arrive before the state is complete. A
// server sends few, so more are a fault.
const maxEarly = 1000

// A rosterState is the payload of a PRESENCE_STATE.
type rosterState struct {
	Users []rosterUser `json:"users"`
	More  bool         `json:"more"`
}

// A rosterDiff is the payload of a PRESENCE_DIFF.
type rosterDiff struct {
	Joins   []rosterUser `json:"joins"`
	Updates []rosterUser `json:"updates"`
	Leaves  []rosterUser `json:"leaves"`
}

type rosterUser struct {
	ID       string          `json:"id"`
	User     string          `json:"user"`
	Presence json.RawMessage `json:"presence"`
}

// begin prepares for the state that follows a join.
func (r *roster) begin() { r.awaiting, r.state, r.early = true, nil, nil }

// page handles one page of the state. The last page replaces the members.
func (r *roster) page(p rosterState, changed func(key string, before *Member)) {
	if r.state == nil {
		r.state = map[string]entry{}
	}
	for _, u := range p.Users {
		r.next++
		r.state[u.ID] = entry{Member(u), r.next}
	}
	if p.More {
		return
	}
	state, early := r.state, r.early
	r.awaiting, r.state, r.early = false, nil, nil
	r.replace(state, changed)
	for _, d := range early {
		r.apply(d, changed)
	}
}

// apply handles a difference. It returns false if too many arrived before the state.
func (r *roster) apply(d rosterDiff, changed func(key string, before *Member)) bool {
	if r.awaiting {
		r.early = append(r.early, d)
		return len(r.early) <= maxEarly
	}
	for _, u := range slices.Concat(d.Joins, d.Updates) {
		r.set(u.ID, Member(u), changed)
	}
	for _, u := range d.Leaves {
		r.remove(u.ID, changed)
	}
	return true
}

func (r *roster) set(key string, m Member, changed func(key string, before *Member)) {
	old, ok := r.members[key]
	switch {
	case !ok:
		r.next++
		changed(key, nil)
		old.order = r.next
	case old.equal(m):
		return
	default:
		changed(key, &old.Member)
	}
	if r.members == nil {
		r.members = map[string]entry{}
	}
	r.members[key] = entry{m, old.order}
}

func (r *roster) remove(key string, changed func(key string, before *Member)) {
	if old, ok := r.members[key]; ok {
		changed(key, &old.Member)
		delete(r.members, key)
	}
}

// replace sets the whole list.
func (r *roster) replace(list map[string]entry, changed func(key string, before *Member)) {
	for key, old := range r.members {
		if _, ok := list[key]; !ok {
			changed(key, &old.Member)
		}
	}
	for key, e := range list {
		if old, ok := r.members[key]; !ok {
			changed(key, nil)
		} else if !old.equal(e.Member) {
			changed(key, &old.Member)
		}
	}
	r.members = list
}

// frame handles a PRESENCE frame of the official protocol. It contains the whole list,
// or only the change from the official Go server.
func (r *roster) frame(event string, payload json.RawMessage, changed func(key string, before *Member)) {
	var p struct {
		Presence []json.RawMessage `json:"presence"`
		Changed  json.RawMessage   `json:"changed"`
		UserID   string            `json:"userId"`
	}
	if json.Unmarshal(payload, &p) != nil {
		return
	}
	if p.Presence == nil {
		r.patch(event, p.UserID, p.Changed, changed)
		return
	}
	list := make(map[string]entry, len(p.Presence))
	for i, value := range p.Presence {
		m := memberOf(value)
		key := m.ID
		if key == "" {
			key = string(value)
		}
		for n := 2; ; n++ { // one user twice, or two users with the same presence
			if _, taken := list[key]; !taken {
				break
			}
			key = m.ID + string(value) + "#" + strconv.Itoa(n)
		}
		list[key] = entry{m, uint64(i)}
	}
	r.next = uint64(len(p.Presence))
	r.replace(list, changed)
}

// memberOf returns a member with only a presence.
func memberOf(value json.RawMessage) Member {
	var id struct {
		ID string `json:"id"`
	}
	_ = json.Unmarshal(value, &id) // the ID stays empty if the presence has none
	return Member{ID: id.ID, Presence: value}
}

// patch applies a change to the list.
func (r *roster) patch(event, userID string, value json.RawMessage, changed func(key string, before *Member)) {
	key := userID
	for k, e := range r.members {
		if k == userID || userID != "" && e.ID == userID || event == wire.PresenceLeave && bytes.Equal(e.Presence, value) {
			key = k
			break
		}
	}
	switch {
	case event == wire.PresenceLeave:
		r.remove(key, changed)
	case key != "":
		r.set(key, Member{ID: userID, Presence: value}, changed)
	}
}

// list returns the members in the order in which they arrived.
func (r *roster) list() []Member {
	entries := make([]entry, 0, len(r.members))
	for _, e := range r.members {
		entries = append(entries, e)
	}
	slices.SortFunc(entries, func(a, b entry) int { return cmp.Compare(a.order, b.order) })
	list := make([]Member, len(entries))
	for i, e := range entries {
		list[i] = e.Member
	}
	return list
}

// event returns the changes since before, which contains earlier values, or nil for
// members that were not there. It returns nil if nothing changed.
func (r *roster) event(before map[string]*Member) *Presence {
	var joins, updates []entry
	p := &Presence{Total: len(r.members)}
	for key, old := range before {
		now, ok := r.members[key]
		switch {
		case !ok && old != nil:
			p.Leaves = append(p.Leaves, *old)
		case ok && old == nil:
			joins = append(joins, now)
		case ok && !now.equal(*old):
			updates = append(updates, now)
		}
	}
	p.Joins, p.Updates = inOrder(joins), inOrder(updates)
	slices.SortFunc(p.Leaves, func(a, b Member) int { return cmp.Compare(a.ID, b.ID) })
	if p.Joins == nil && p.Updates == nil && p.Leaves == nil {
		return nil
	}
	return p
}

func inOrder(entries []entry) (members []Member) {
	slices.SortFunc(entries, func(a, b entry) int { return cmp.Compare(a.order, b.order) })
	for _, e := range entries {
		members = append(members, e.Member)
	}
	return members
}
