package history_test

import (
	"fmt"
	"slices"
	"time"

	"github.com/pondsocket/pond/pondtest"
)

// A log is the state of the channel's history in the model.
type log struct {
	epoch string // as the server first sent it, or empty
	all   []message
	top   uint64
	lost  uint64 // the latest offset that is not kept
	used  time.Time
}

type message struct {
	offset uint64
	at     time.Time
	except []string
}

func (l *log) add(m message) {
	l.all = append(l.all, m)
	l.top = m.offset
	l.used = m.at
	if l.top > kept {
		l.lost = max(l.lost, l.top-kept)
	}
}

func (l *log) touch() { l.used = time.Now() }

// expire drops messages that are too old.
func (l *log) expire() {
	for _, m := range l.all {
		if time.Since(m.at) > age {
			l.lost = max(l.lost, m.offset)
		}
	}
}

// resume returns the start of the replay for a client at a position, or the reason for none.
func (l *log) resume(at pondtest.Position) (start uint64, reason string) {
	switch {
	case at.Epoch != l.epoch || at.Offset > l.top:
		return l.top, "epoch"
	case at.Offset < l.lost:
		return l.top, "expired"
	}
	return at.Offset, ""
}

func (l *log) last(n int) uint64 {
	return l.top - min(uint64(n), l.top-l.lost)
}

// hidden reports whether none of the messages after an offset, up to another, were for
// a member.
func (l *log) hidden(m *membership, after, to uint64) bool {
	for n := after + 1; n <= to; n++ {
		except := l.all[n-1].except
		if !slices.Contains(except, m.id) && (m.former == "" || !slices.Contains(except, m.former)) {
			return false
		}
	}
	return true
}

// A membership has the messages that a client must receive between its acknowledgement
// and the end.
type membership struct {
	log        *log
	request    string
	id, former string
	asked      bool
	start, top uint64 // the start of the replay and the end of the log when it joined
	reason     string // reason if nothing is replayed
	epoch      string // of the log, if it was known
	last       string // the event that ends it, or empty
	told       []note
	tracked    bool
	presence   []uint64 // end of the log at each change of presence
	again      []again

	acknowledged bool
	recovered    bool
	seen         uint64 // every message up to here was received, hidden or announced as lost
	gap          uint64 // the latest loss that was announced
	over         bool
}

// A note is a message for one member, with the end of the log when it was sent.
type note struct {
	n   int
	top uint64
}

type again struct {
	request string
	top     uint64
}

type ack struct {
	Recover struct {
		pondtest.Position
		To        *uint64
		Recovered *bool
		Reason    string
	}
}

// receive checks the next message.
func (m *membership) receive(l *log, got pondtest.Message) error {
	if !m.acknowledged {
		return m.first(l, got)
	}
	switch got.Event {
	case "said", "handled":
		if got.Offset > 0 {
			return m.numbered(l, got)
		}
		return m.note(l, got)
	case "told":
		return m.note(l, got)
	case "RECOVERED":
		if !m.asked || m.reason != "" || m.recovered {
			return fmt.Errorf("received %v", got)
		}
		m.recovered = true
		p, err := payload[pondtest.Position](got)
		if err != nil || p.Offset != max(m.top, m.seen) || !l.hidden(m, m.seen, m.top) {
			return fmt.Errorf("at %d: received %v, the replay ends at %d", m.seen, got, m.top)
		}
		m.seen = max(m.seen, m.top)
	case "GAP":
		p, err := payload[pondtest.Position](got)
		if err != nil || p.Offset <= m.seen || p.Offset > l.lost {
			return fmt.Errorf("at %d, lost are %d: received %v", m.seen, l.lost, got)
		}
		m.seen, m.gap = p.Offset, p.Offset
	case "POSITION":
		p, err := payload[pondtest.Position](got)
		if err != nil || p.Offset <= m.seen || !l.hidden(m, m.seen, p.Offset) {
			return fmt.Errorf("at %d: received %v", m.seen, got)
		}
		m.seen = p.Offset
	case "ACKNOWLEDGE":
		return m.joinedAgain(l, got)
	case "JOIN", "LEAVE", "UPDATE":
		if got.Action != "PRESENCE" {
			return fmt.Errorf("received %v", got)
		}
		if len(m.presence) == 0 {
			return fmt.Errorf("received %v", got)
		}
		top := m.presence[0]
		m.presence = m.presence[1:]
		return m.place(l, got, top)
	default:
		if got.Event != m.last {
			return fmt.Errorf("received %v", got)
		}
		m.over = true
	}
	return nil
}

func (m *membership) first(l *log, got pondtest.Message) error {
	a, err := payload[ack](got)
	if err != nil || got.Event != "ACKNOWLEDGE" || got.RequestID != m.request {
		return fmt.Errorf("received %v first", got)
	}
	m.acknowledged = true
	r := &a.Recover
	if l.epoch == "" {
		l.epoch = r.Epoch
	}
	if m.asked && m.reason == "epoch" && r.Recovered != nil && !*r.Recovered && r.Reason == "epoch" {
		m.seen = r.Offset
		return nil
	}
	m.seen = m.start
	replay := m.asked && m.reason == ""
	switch {
	case r.Offset != m.start, r.Epoch != l.epoch:
		return fmt.Errorf("received %v, want offset %d in %s", got, m.start, l.epoch)
	case (r.Recovered != nil) != m.asked || m.asked && *r.Recovered != replay || r.Reason != m.reason:
		return fmt.Errorf("received %v, want the reason %q", got, m.reason)
	case replay && *r.To != m.top:
		return fmt.Errorf("received %v, want a replay up to %d", got, m.top)
	}
	return nil
}

func (m *membership) numbered(l *log, got pondtest.Message) error {
	p, err := payload[struct{ N uint64 }](got)
	switch {
	case err != nil || p.N != got.Offset:
		return fmt.Errorf("number %d is %v", got.Offset, got)
	case got.Offset <= m.seen:
		return fmt.Errorf("at %d: received %v again", m.seen, got)
	case !l.hidden(m, m.seen, got.Offset-1):
		return fmt.Errorf("at %d: received %v", m.seen, got)
	case l.hidden(m, got.Offset-1, got.Offset):
		return fmt.Errorf("%v was not for this user", got)
	case m.asked && m.reason == "" && got.Offset > m.top && !m.recovered:
		return fmt.Errorf("%v before RECOVERED", got)
	}
	m.seen = got.Offset
	return nil
}

// note checks the position of a message for this member alone.
func (m *membership) note(l *log, got pondtest.Message) error {
	p, err := payload[struct{ Told int }](got)
	if err != nil || len(m.told) == 0 || m.told[0].n != p.Told {
		return fmt.Errorf("received %v, want %v", got, m.told)
	}
	top := m.told[0].top
	m.told = m.told[1:]
	return m.place(l, got, top)
}

func (m *membership) joinedAgain(l *log, got pondtest.Message) error {
	a, err := payload[ack](got)
	if err != nil || len(m.again) == 0 || m.again[0].request != got.RequestID || a.Recover.Offset != m.again[0].top {
		return fmt.Errorf("received %v, want %v", got, m.again)
	}
	top := m.again[0].top
	m.again = m.again[1:]
	return m.place(l, got, top)
}

// place checks that a message that was sent when the log ended at top arrived after the
// messages up to top, and before later ones.
func (m *membership) place(l *log, got pondtest.Message, top uint64) error {
	if top <= m.gap {
		return nil // the messages around it were lost
	}
	if m.seen > top || m.seen < top && !l.hidden(m, m.seen, top) {
		return fmt.Errorf("at %d: received %v, which was sent at %d", m.seen, got, top)
	}
	return nil
}
