package kit

import (
	"fmt"
	"sync"

	"github.com/pondsocket/pond"
)

// Limits counts the limits that clients reached.
type Limits struct {
	mu  sync.Mutex // guards met
	met map[pond.Limit]int
}

// Observer returns the option that makes a Pond report to l. Call it once.
func (l *Limits) Observer() pond.Option {
	l.met = map[pond.Limit]int{}
	return pond.WithObserver(&pond.Observer{Limited: func(_ *pond.Endpoint, limit pond.Limit) {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.met[limit]++
	}})
}

// Of returns how often limit was reached.
func (l *Limits) Of(limit pond.Limit) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.met[limit]
}

// String returns all counts, for messages of tests.
func (l *Limits) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return fmt.Sprint(l.met)
}
