package pond

import (
	"encoding/json"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/pondsocket/pond/internal/transport"
	"github.com/pondsocket/pond/internal/wire"
)

// A roster is the ordered list of a channel's tracked members. All but latest is
// guarded by the channel's mu.
//
// Every tracked member receives the whole list with every change, unless it asked for
// differences, which are the business of a differ. So the list is the cost of presence. It is encoded when it is about to be written, once, and
// shared by all receivers. A queued frame holds no list: it refers to a version
// by its number and a length.
type roster struct {
	channel *Channel
	group   transport.Group // the tracked members; ready once there is one
	order   []*member       // in the order of tracking

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
	r.order, r.group = nil, transport.Group{}
	r.rebuild()
}

// rebuild starts a version of the list that does not extend the current one.
func (r *roster) rebuild() {
	values := make([]json.RawMessage, len(r.order), len(r.order)+1)
	for i, m := range r.order {
		values[i] = m.presence
	}
	r.latest.Store(&presenceList{version: r.latest.Load().version + 1, values: values, encoded: new(encodedList)})
}

// setPresence tracks m, or updates its presence in its place in the list, and
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
	m.tracked = &transport.Seat{Conn: m.conn.tr}
	if m.feeding == nil && !m.diffs {
		r.group.Add(m.tracked)
	}
	if last := r.latest.Load(); len(last.values) > 0 {
		r.latest.Store(&presenceList{version: last.version, values: append(last.values, value), encoded: last.encoded})
	} else {
		r.rebuild()
	}
	tx.notify(wire.PresenceJoin, value)
}

// notifyUntracked notifies the tracked members that m is not on the roster any more.
func (tx *tx) notifyUntracked(m *member) {
	tx.notify(wire.PresenceLeave, m.presence)
}

// notify sends a change of the roster to the members that see it, in the form that
// each of them gets.
func (tx *tx) notify(event string, changed []byte) {
	tx.ch.roster.broadcast(tx, event, changed)
	tx.flushSoon()
}

// untrack takes m off the roster and reports whether it was on it.
func (tx *tx) untrack(m *member) bool {
	if m.tracked == nil {
		return false
	}
	tx.presenceChanges(m, m.presence)
	r := &tx.ch.roster
	if m.feeding == nil && !m.diffs {
		r.group.Remove(m.tracked)
	}
	m.tracked = nil
	i := slices.Index(r.order, m)
	r.order = slices.Delete(r.order, i, i+1)
	r.rebuild()
	return true
}

// broadcast commits a change for all tracked members. Receivers get the list as of
// the change if that is a prefix of the current list, and otherwise the list as of
// the moment when the change is written to them. So a client that lags behind does
// not keep a list of its own in memory.
func (r *roster) broadcast(tx *tx, event string, changed []byte) {
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

// An encodedList is the JSON of one version of a roster, encoded as far as a
// receiver needed it.
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
