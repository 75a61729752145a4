// Package logcheck contains rules for tests of clusters: which parts of the log of a
// channel a member may receive.
package logcheck

import (
	"fmt"
	"maps"
	"slices"
)

// A Position is a position in a log.
type Position struct {
	Epoch  string
	Offset uint64
}

func (p Position) String() string { return fmt.Sprintf("%d of %q", p.Offset, p.Epoch) }

// A Log is what a test knows of the log of a channel: the numbers of its messages. A log
// that was lost is followed by one with another epoch.
type Log struct {
	epochs map[string]map[uint64]int
	at     map[string]map[int]uint64 // offsets, by epoch and number
}

// Add adds a message. It returns an error if the log has another message at the position,
// or the same message at another position of the epoch: all readers must see one order,
// and a message must be stored once.
func (l *Log) Add(p Position, n int) error {
	if l.epochs == nil {
		l.epochs, l.at = map[string]map[uint64]int{}, map[string]map[int]uint64{}
	}
	if l.epochs[p.Epoch] == nil {
		l.epochs[p.Epoch], l.at[p.Epoch] = map[uint64]int{}, map[int]uint64{}
	}
	if other, ok := l.epochs[p.Epoch][p.Offset]; ok && other != n {
		return fmt.Errorf("the log has the messages %d and %d at %v", other, n, p)
	}
	if other, ok := l.at[p.Epoch][n]; ok && other != p.Offset {
		return fmt.Errorf("the log has message %d at %v and at offset %d", n, p, other)
	}
	l.epochs[p.Epoch][p.Offset] = n
	l.at[p.Epoch][n] = p.Offset
	return nil
}

// Has reports whether the log of any epoch has a message.
func (l *Log) Has(n int) bool {
	for _, numbers := range l.at {
		if _, ok := numbers[n]; ok {
			return true
		}
	}
	return false
}

// Epochs returns the epochs, in no particular order.
func (l *Log) Epochs() []string { return slices.Collect(maps.Keys(l.epochs)) }

// A Reader checks what one member received, in order. Its methods return an error for what
// breaks the rules.
type Reader struct {
	Log    *Log
	Hidden func(n int) bool // reports whether an entry is not for the member; nil: all are
	At     Position         // where the member is
}

// Message checks a message of the log.
func (r *Reader) Message(p Position, n int) error {
	if got, ok := r.Log.epochs[p.Epoch][p.Offset]; !ok || got != n {
		return fmt.Errorf("received message %d at %v, and the log has %d there", n, p, got)
	}
	if p.Epoch != r.At.Epoch {
		return fmt.Errorf("at %v: received message %d at %v, without a gap", r.At, n, p)
	}
	if p.Offset <= r.At.Offset {
		return fmt.Errorf("at %v: received message %d at %v again", r.At, n, p)
	}
	if err := r.Reach(Position{p.Epoch, p.Offset - 1}); err != nil {
		return err
	}
	r.At = p
	return nil
}

// Reach checks that the member did not miss a message up to a position, which the server
// says that it reached.
func (r *Reader) Reach(p Position) error {
	if p.Epoch != r.At.Epoch {
		return fmt.Errorf("at %v: reached %v, without a gap", r.At, p)
	}
	for offset, n := range r.Log.epochs[p.Epoch] {
		if offset > r.At.Offset && offset <= p.Offset && (r.Hidden == nil || !r.Hidden(n)) {
			return fmt.Errorf("at %v: did not receive message %d at offset %d, and reached %v", r.At, n, offset, p)
		}
	}
	r.At.Offset = max(r.At.Offset, p.Offset)
	return nil
}

// Gap moves the member to a position, because the server said that messages before it are
// missing.
func (r *Reader) Gap(p Position) { r.At = p }
