package clusterwire

import "time"

// Limits of [Recent].
const (
	recentMessages = 64 << 10
	recentAge      = 2 * time.Minute
)

// A Recent stores the IDs of the messages of the last two minutes, to detect messages
// that arrive twice. If there are very many, it stores between the last 32Ki and the
// last 64Ki. The zero value is ready for use.
type Recent struct {
	Age time.Duration // in place of two minutes, if it is not zero

	young, old map[messageKey]struct{} // old: from before the last rotation
	rotated    time.Time
}

type messageKey struct{ source, id string }

// Add stores a message and reports whether it is new. Messages without an ID are always
// new. now must not go back.
func (r *Recent) Add(m *Message, now time.Time) bool {
	if m.ID == "" {
		return true
	}
	if r.young == nil || len(r.young) >= recentMessages/2 || now.Sub(r.rotated) >= r.age() {
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

// rotate removes the older half, and IDs that are older than two generations.
func (r *Recent) rotate(now time.Time) {
	r.old = r.young
	if now.Sub(r.rotated) >= 2*r.age() {
		r.old = nil
	}
	r.young = make(map[messageKey]struct{})
	r.rotated = now
}

func (r *Recent) age() time.Duration {
	if r.Age > 0 {
		return r.Age
	}
	return recentAge
}
