package clusterwire

import "time"

// Limits of [Recent].
const (
	recentMessages = 64 << 10
	recentAge      = 2 * time.Minute
)

// A Recent remembers the messages of the last two minutes, in order to detect those
// that arrive twice. If there are very many, it remembers at least the last 32Ki, and
// at most 64Ki. The zero value is ready for use.
type Recent struct {
	young, old map[messageKey]struct{} // old: from before the last rotation
	rotated    time.Time
}

type messageKey struct{ source, id string }

// Add remembers a message and reports whether it is new. Messages without an ID
// always are. now must not go back.
func (r *Recent) Add(m *Message, now time.Time) bool {
	if m.ID == "" {
		return true
	}
	if r.young == nil || len(r.young) >= recentMessages/2 || now.Sub(r.rotated) >= recentAge {
		r.rotate(now)
	}
	key := messageKey{m.Source, m.ID}
	if _, ok := r.young[key]; ok {
		return false
	}
	r.young[key] = struct{}{}
	_, ok := r.old[key]
	return !ok
}

// rotate forgets the older half, and what is older than two generations.
func (r *Recent) rotate(now time.Time) {
	r.old = r.young
	if now.Sub(r.rotated) >= 2*recentAge {
		r.old = nil
	}
	r.young = make(map[messageKey]struct{})
	r.rotated = now
}
