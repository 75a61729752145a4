package pond

import (
	"encoding/json"
	"fmt"
	"iter"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/pondsocket/pond/internal/strictjson"
	"github.com/pondsocket/pond/internal/transport"
	"github.com/pondsocket/pond/internal/wire"
)

// Presence returns the presence of the tracked members by user ID, in the order
// in which they were tracked. It is a snapshot. The caller must not change the
// values.
func (ch *Channel) Presence() iter.Seq2[string, json.RawMessage] {
	ch.mu.Lock()
	ids := make([]string, len(ch.roster.order))
	values := ch.roster.values()
	for i, m := range ch.roster.order {
		ids[i] = m.userID()
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

// Tracked is the presence of one member, decoded.
type Tracked[T any] struct {
	UserID   string `json:"userId"`
	Presence T      `json:"presence"`
}

// PresenceAs returns what [Channel.Presence] does, decoded and in the same order. If
// the presence of a user does not fit or is ambiguous, PresenceAs returns an error and
// the entries before it; see [EventContext.Bind].
func PresenceAs[T any](ch *Channel) ([]Tracked[T], error) {
	var tracked []Tracked[T]
	for id, raw := range ch.Presence() {
		var v T
		if err := strictjson.Unmarshal(raw, &v); err != nil {
			return tracked, fmt.Errorf("pond: presence of user %s: %w", id, err)
		}
		tracked = append(tracked, Tracked[T]{id, v})
	}
	return tracked, nil
}

// Track gives a member a presence, a JSON object, and notifies all tracked
// members, including the new one. It returns [ErrNotMember] or [ErrTracked].
//
// If the member is connected to another node of a cluster, Track, Update, Upsert and Untrack
// return when that node is asked to make the change. They return an error if the change is
// not possible as far as this node knows, or if the other node is a server of another
// PondSocket implementation. The other node makes the change unless it is not possible any
// more.
func (ch *Channel) Track(id string, presence any) error {
	m, err := ch.member(id)
	if err != nil {
		return ch.link.requestPresence(doTrack, id, presence, (*member).checkUntracked)
	}
	return m.track(presence)
}

// Update replaces the whole presence of a tracked member and notifies all tracked
// members. It returns [ErrNotMember] or [ErrNotTracked].
func (ch *Channel) Update(id string, presence any) error {
	m, err := ch.member(id)
	if err != nil {
		return ch.link.requestPresence(doUpdate, id, presence, (*member).checkTracked)
	}
	return m.update(presence)
}

// Upsert is Update for a tracked member and Track for any other. It returns
// [ErrNotMember] if the channel has no such member.
func (ch *Channel) Upsert(id string, presence any) error {
	m, err := ch.member(id)
	if err != nil {
		return ch.link.requestPresence(doUpsert, id, presence, nil)
	}
	return m.setPresence(presence, nil)
}

// Untrack removes the presence of a member and notifies the members that are
// still tracked. It returns [ErrNotMember] or [ErrNotTracked].
func (ch *Channel) Untrack(id string) error {
	m, err := ch.member(id)
	if err != nil {
		return ch.link.requestChange(memberChange{Do: doUntrack, User: id}, (*member).checkTracked)
	}
	return m.untrack()
}

func (m *member) track(presence any) error { return m.setPresence(presence, m.checkUntracked) }

func (m *member) update(presence any) error { return m.setPresence(presence, m.checkTracked) }

// checkTracked requires the channel's lock, as checkUntracked does.
func (m *member) checkTracked() error {
	if m.tracked == nil {
		return ErrNotTracked
	}
	return nil
}

func (m *member) checkUntracked() error {
	if m.tracked != nil {
		return ErrTracked
	}
	return nil
}

func (m *member) untrack() error {
	return m.commit(func(tx *tx) error {
		if err := m.checkTracked(); err != nil {
			return err
		}
		tx.untrack(m, false)
		tx.notifyUntracked(m)
		m.presence = nil
		tx.tellPresence(m)
		return nil
	})
}

// setPresence tracks the member or updates its presence, unless check, which is
// called under the channel's lock, returns an error.
func (m *member) setPresence(presence any, check func() error) error {
	value, err := m.channel.lobby.endpoint.presence(presence)
	if err != nil {
		return err
	}
	return m.commit(func(tx *tx) error {
		if check != nil {
			if err := check(); err != nil {
				return err
			}
		}
		tx.setPresence(m, value)
		tx.tellPresence(m)
		return nil
	})
}

// presence encodes a presence.
func (e *Endpoint) presence(presence any) (json.RawMessage, error) {
	value, err := wire.Object(presence)
	if err != nil {
		return nil, err
	}
	if len(value) > e.cfg.maxPresence {
		e.limited(LimitPresence)
		return nil, tooLarge("the presence")
	}
	return value, nil
}

// A roster is the ordered list of a channel's tracked members. The channel's mu guards
// all fields except latest.
//
// Every tracked member receives the whole list with every change, unless it asked for
// differences, which a differ sends. So the list is the main cost of presence. It is
// encoded once, when it is about to be written, and shared by all receivers. A queued
// frame does not contain the list: it refers to a version by its number and a length. The
// list is not maintained while no member receives it.
type roster struct {
	channel *Channel
	group   transport.Group // the receivers that have a seat; ready once there was a tracked member
	order   []*member       // in the order of tracking

	receivers int  // tracked members that receive lists
	stale     bool // latest is older than order, because there are no receivers

	batching bool      // a commit makes many changes: the following ones are not made before settle
	changed  bool      // latest must be rebuilt
	gone     []*member // they must be removed from order

	latest atomic.Pointer[presenceList]
}

// A presenceList is an immutable snapshot of a roster. As long as members are only
// added, each snapshot is a prefix of the next one and shares its version.
type presenceList struct {
	version int
	values  []json.RawMessage // in the order of tracking
	encoded *encodedList      // shared by all snapshots of the version
}

func (r *roster) init(ch *Channel) {
	r.channel = ch
	r.latest.Store(&noPresence)
}

// noPresence is the list of a channel in which no member was tracked.
var noPresence = presenceList{encoded: new(encodedList)}

// reset removes all members. Queued frames see an empty list.
func (r *roster) reset() {
	r.order, r.group, r.receivers = nil, transport.Group{}, 0
	r.batching, r.changed, r.gone = false, false, nil
	r.replace(nil)
}

// values returns the presence of the tracked members.
func (r *roster) values() []json.RawMessage {
	values := make([]json.RawMessage, len(r.order), len(r.order)+1)
	for i, m := range r.order {
		values[i] = m.presence
	}
	return values
}

// settle ends a batch of changes. Each member is visited at most a few times, whatever the
// number of changes.
func (r *roster) settle() {
	r.batching = false
	if len(r.gone) > fewGone {
		times := make(map[*member]int, len(r.gone)) // a member may have been tracked again
		for _, m := range r.gone {
			times[m]++
		}
		r.order = slices.DeleteFunc(r.order, func(m *member) bool {
			gone := times[m] > 0
			if gone {
				times[m]--
			}
			return gone
		})
	} else {
		for _, m := range r.gone {
			i := slices.Index(r.order, m)
			r.order = slices.Delete(r.order, i, i+1)
		}
	}
	r.gone = nil
	if r.changed {
		r.changed = false
		r.rebuild()
	}
}

// fewGone is how many members are removed from a roster one by one.
const fewGone = 8

// rebuild starts a version of the list that does not extend the current one, unless no
// member receives it.
func (r *roster) rebuild() {
	if r.batching {
		r.changed = true
		return
	}
	if r.receivers == 0 {
		r.stale = true
		return
	}
	r.replace(r.values())
}

func (r *roster) replace(values []json.RawMessage) {
	r.latest.Store(&presenceList{version: r.latest.Load().version + 1, values: values, encoded: new(encodedList)})
	r.stale = false
}

// extend adds the presence of the member that was tracked last to the list.
func (r *roster) extend(value json.RawMessage) {
	last := r.latest.Load()
	if r.receivers == 0 || r.stale || r.changed || len(last.values) == 0 {
		r.rebuild()
		return
	}
	r.latest.Store(&presenceList{version: last.version, values: append(last.values, value), encoded: last.encoded})
}

// setPresence tracks m, or updates its presence at the same position in the list, and
// notifies the tracked members.
func (tx *tx) setPresence(m *member, value json.RawMessage) {
	r := &tx.ch.roster
	if m.tracked != nil {
		tx.presenceChanges(m, m.presence)
		m.presence = value
		r.rebuild()
		tx.notify(wire.PresenceUpdate, value)
		return
	}
	tx.presenceChanges(m, nil)
	m.presence = value
	if r.order == nil {
		r.group.Init(tx.ch.lobby.endpoint.hub)
	}
	r.order = append(r.order, m)
	if m.conn == nil {
		m.tracked = remoteSeat
	} else {
		m.tracked = &transport.Seat{Conn: m.conn.tr}
	}
	if m.wantsLists() {
		r.receivers++
	}
	if m.getsLists() {
		r.group.Add(m.tracked)
	}
	r.extend(value)
	if shown := tx.ch.diffs.lingering[m.identity()]; shown != nil {
		tx.stopLingering(shown) // behind m, so that the person is never missing
	}
	tx.notify(wire.PresenceJoin, value)
}

// wantsLists reports whether a member receives lists if it is tracked.
func (m *member) wantsLists() bool { return !m.diffs && m.conn != nil }

// getsLists reports whether a tracked member is in the roster's group.
func (m *member) getsLists() bool { return m.feeding == nil && m.wantsLists() }

// notifyUntracked notifies the tracked members that m is not on the roster any more.
func (tx *tx) notifyUntracked(m *member) {
	tx.notify(wire.PresenceLeave, m.presence)
}

// notify sends a change of the roster to the members that receive presence, in the form
// that each requested.
func (tx *tx) notify(event string, changed []byte) {
	if tx.collecting {
		tx.notices = append(tx.notices, presenceNotice{event, changed})
		return
	}
	tx.ch.roster.broadcast(tx, event, changed)
	tx.flushSoon()
}

// untrack removes m from the roster and reports whether it was on it. If it lingers,
// followers still see it.
func (tx *tx) untrack(m *member, lingers bool) bool {
	if m.tracked == nil {
		return false
	}
	if !lingers {
		tx.presenceChanges(m, m.presence)
	}
	r := &tx.ch.roster
	if m.wantsLists() {
		r.receivers--
	}
	if m.getsLists() {
		r.group.Remove(m.tracked)
	}
	m.tracked = nil
	r.gone, r.changed = append(r.gone, m), true
	if !r.batching {
		r.settle()
	}
	return true
}

// broadcast commits a change for all tracked members. If the list at the time of the
// change is a prefix of the current list, receivers get that prefix, and otherwise the
// list at the time when the change is written to them. So a client that lags behind
// does not keep a separate list in memory.
func (r *roster) broadcast(tx *tx, event string, changed []byte) {
	if r.receivers == 0 {
		return
	}
	head := wire.AppendPresenceHead(nil, event, r.channel.name, newRequestID())
	tail := wire.AppendPresenceTail([]byte{']'}, changed)
	committed := r.latest.Load()
	version, length := committed.version, len(committed.values)
	f := transport.NewLazyFrame(event, len(head)+len(tail), func() [3][]byte {
		list := r.latest.Load()
		n := len(list.values)
		if list.version == version {
			n = length
		}
		return [3][]byte{head, list.encoded.prefix(list.values[:n]), tail}
	})
	for _, m := range tx.ch.feeding {
		if m.tracked != nil && !m.diffs {
			tx.hold(m, f, false)
		}
	}
	r.group.Broadcast(&tx.work, f, false)
}

// An encodedList is the JSON of one version of a roster, encoded up to the longest
// prefix that a receiver needed.
type encodedList struct {
	mu   sync.Mutex // guards the following fields; no other lock is taken with it held
	json []byte     // "[" and the values, separated by commas
	ends []int      // of the values in json
}

// prefix returns the encoded list of values, without the closing bracket. The
// result is not changed any more.
func (l *encodedList) prefix(values []json.RawMessage) []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.json == nil {
		size := 1
		for _, value := range values {
			size += len(value) + 1
		}
		l.json = append(make([]byte, 0, size), '[')
		l.ends = make([]int, 0, len(values))
	}
	for _, value := range values[min(len(l.ends), len(values)):] {
		if len(l.ends) > 0 {
			l.json = append(l.json, ',')
		}
		l.json = append(l.json, value...)
		l.ends = append(l.ends, len(l.json))
	}
	end := 1
	if len(values) > 0 {
		end = l.ends[len(values)-1]
	}
	return l.json[:end:end]
}
