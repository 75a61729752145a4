package verify

import (
	"bytes"
	"fmt"
	"strconv"
	"sync"
	"time"
)

// A fate describes what the publisher of a message knows about it.
type fate byte

const (
	open      fate = iota // nothing
	confirmed             // the server answered it
	rejected              // the server rejected it, or it was not sent
	unknown               // it was sent, and the connection was lost before the answer
)

// A ledger records all published messages. Publishers number their messages from 1.
type ledger struct {
	run string // part of every message of this run, and of no other message

	mu         sync.Mutex // guards the following fields
	publishers []published
	finished   bool // further messages do not count
}

type published struct {
	sent []time.Time // by number, from 0
	fate []fate
	seen []bool // by at least one client
	last int    // the last number that counts, when the ledger is finished
}

func newLedger(run string, publishers int) *ledger {
	return &ledger{run: run, publishers: make([]published, publishers)}
}

// next returns the number of the next message of a publisher.
func (l *ledger) next(publisher int) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	p := &l.publishers[publisher]
	p.sent, p.fate, p.seen = append(p.sent, time.Now()), append(p.fate, open), append(p.seen, false)
	return len(p.sent)
}

func (l *ledger) settle(publisher, number int, f fate) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.publishers[publisher].fate[number-1] = f
}

// finish excludes further messages from the result. They only show which clients
// are connected.
func (l *ledger) finish() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.finished = true
	for i := range l.publishers {
		l.publishers[i].last = len(l.publishers[i].sent)
	}
}

// count returns the number of published messages.
func (l *ledger) count() (n int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, p := range l.publishers {
		n += int64(len(p.sent))
	}
	return n
}

// text returns the text that identifies a message.
func (l *ledger) text(publisher, number int) string {
	return fmt.Sprintf("%s/%d/%d/", l.run, publisher, number)
}

// parse finds the text of a message in a payload, and returns its numbers.
func (l *ledger) parse(payload []byte) (publisher, number int, ok bool) {
	_, rest, found := bytes.Cut(payload, []byte(l.run+"/"))
	if !found {
		return 0, 0, false
	}
	fields := bytes.SplitN(rest, []byte("/"), 3)
	if len(fields) < 3 {
		return 0, 0, false
	}
	publisher, err := strconv.Atoi(string(fields[0]))
	if err != nil || publisher < 0 || publisher >= len(l.publishers) {
		return 0, 0, false
	}
	number, err = strconv.Atoi(string(fields[1]))
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil || number < 1 || number > len(l.publishers[publisher].sent) {
		return 0, 0, false
	}
	return publisher, number, true
}

// received records that a client got a message. It returns when the message was
// sent, and whether it counts.
func (l *ledger) received(publisher, number int) (sent time.Time, counts bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	p := &l.publishers[publisher]
	p.seen[number-1] = true
	return p.sent[number-1], !l.finished || number <= p.last
}

// due reports whether every member should have received a message, because a client
// received it, or because its publisher has no reason to believe that it was lost.
func (p *published) due(number int) bool {
	return p.seen[number-1] || p.fate[number-1] == confirmed || p.fate[number-1] == open
}

// An account records the messages that one client got.
type account struct {
	mu         sync.Mutex // guards the following fields
	streams    []stream   // by publisher
	delivered  int64      // as they were published
	recovered  int64      // later
	duplicated int64
	disordered int64
}

// A stream records the messages that a client got from one publisher.
type stream struct {
	last    int          // the highest number
	gap     bool         // the client got a gap, so the messages after last may be missing
	missing map[int]bool // numbers below last, and whether a gap announced them
}

func newAccount(publishers int) *account {
	a := &account{streams: make([]stream, publishers)}
	for i := range a.streams {
		a.streams[i].missing = map[int]bool{}
	}
	return a
}

// message records a message. If counts is true, it is part of the result.
func (a *account) message(publisher, number int, replayed, counts bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	s := &a.streams[publisher]
	switch _, missing := s.missing[number]; {
	case number > s.last:
		for n := s.last + 1; n < number; n++ {
			s.missing[n] = s.gap
		}
		s.last, s.gap = number, false
	case missing:
		delete(s.missing, number)
		a.disordered++
	default:
		a.duplicated++
		return
	}
	switch {
	case !counts:
	case replayed:
		a.recovered++
	default:
		a.delivered++
	}
}

// gap records that the client got a gap.
func (a *account) gap() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for i := range a.streams {
		a.streams[i].gap = true
	}
}

// disorder records that the client rejected a message because a later one arrived
// before: the client was notified of the missing messages directly before the last
// message.
func (a *account) disorder() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, s := range a.streams {
		for n := s.last - 1; n > 0; n-- {
			if _, missing := s.missing[n]; !missing {
				break
			}
			s.missing[n] = true
		}
	}
}

// reached reports whether the client got a message at or after these numbers.
func (a *account) reached(numbers []int) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	for i, n := range numbers {
		if a.streams[i].last < n {
			return false
		}
	}
	return true
}

// sums returns the counts so far, during the run.
func (a *account) sums(l *ledger) (delivered, lost int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	a.mu.Lock()
	defer a.mu.Unlock()
	for i, s := range a.streams {
		for n, announced := range s.missing {
			if !announced && l.publishers[i].due(n) {
				lost++
			}
		}
	}
	return a.delivered + a.recovered, lost
}

// lost returns the messages that the client did not get by the end of the run. Without
// tail, those after the last one that it got do not count.
func (a *account) lost(l *ledger, tail bool) (announced int64, silent []message) {
	l.mu.Lock()
	defer l.mu.Unlock()
	a.mu.Lock()
	defer a.mu.Unlock()
	for i, s := range a.streams {
		p := &l.publishers[i]
		count := func(n int, told bool) {
			switch {
			case n > p.last || !p.due(n):
			case told:
				announced++
			default:
				silent = append(silent, message{i, n})
			}
		}
		for n := 1; n <= s.last; n++ {
			if told, missing := s.missing[n]; missing {
				count(n, told)
			}
		}
		for n := s.last + 1; tail && n <= p.last; n++ {
			count(n, s.gap)
		}
	}
	return announced, silent
}

// A message is a message of a publisher.
type message struct{ publisher, number int }
