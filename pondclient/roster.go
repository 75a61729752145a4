package pondclient

import (
	"bytes"
	"cmp"
	"encoding/json"
	"slices"
	"strconv"

	"github.com/pondsocket/pond/internal/wire"
)

// A roster is the presence of one channel, from either form that servers send. It
// is guarded by the client's mutex.
//
// Members have keys: their IDs, or for lists without IDs, what is in the list. Each
// Channel keeps the changes that its program has not seen, by key, with the value
// that it saw last. So an event describes the difference between two lists, however
// many frames lie between them.
type roster struct {
	members map[string]entry
	next    uint64 // of the order in which members came

	// Only with differences: what arrives before the whole state is complete.
	awaiting bool // differences and pages belong to the next state
	state    map[string]entry
	early    []rosterDiff
}

type entry struct {
	Member
	order uint64
}

// maxEarly is how many differences may arrive before the state. Servers send them
// after it, so more are a mistake.
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
	Presence json.RawMessage `json:"presence"`
}

// begin prepares for the state that follows a join.
func (r *roster) begin() { r.awaiting, r.state, r.early = true, nil, nil }

// page takes one page of the state. The last one replaces the members.
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

// apply takes a difference. It reports false if too many came before the state.
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

// frame takes a PRESENCE frame of the official protocol: the whole list, or with
// the official Go server only the change.
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
		for n := 2; ; n++ { // the same person twice, or two people who look alike
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

// memberOf returns a member of whom only the presence is known.
func memberOf(value json.RawMessage) Member {
	var id struct {
		ID string `json:"id"`
	}
	_ = json.Unmarshal(value, &id) // without an ID if it has none
	return Member{id.ID, value}
}

// patch changes the list without knowing the new one.
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
		r.set(key, Member{userID, value}, changed)
	}
}

// list returns the members in the order in which they came.
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

// event returns what changed since the values in before, which is nil for those
// that were not there; and no event if nothing did.
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
