package pond

import (
	"crypto/rand"
	"encoding/base64"
	"slices"
	"sync/atomic"
	"time"

	"github.com/pondsocket/pond/internal/transport"
)

// A messageLog keeps the numbered messages of one channel, oldest first. It is
// guarded by the channel's mu.
type messageLog struct {
	limits *History
	budget *historyBudget

	epoch   string
	top     uint64     // the latest offset that was given
	lost    uint64     // the latest offset that was dropped, or 0
	entries []logEntry // entries[:first] were dropped
	first   int
	bytes   int // of entries[first:]
}

// A logEntry is one kept message.
type logEntry struct {
	offset uint64
	at     int64 // when it was committed, in nanoseconds since 1970
	event  string
	text   []byte    // the message as a WebSocket frame
	extra  *logExtra // nil if there is nothing to know
}

// logExtra is what is known of a message besides its text.
type logExtra struct {
	except  []string  // the users that it was not for
	handler *outgoing // what the handler for outgoing events sees
}

// entryCost is what an entry costs in memory besides its text.
const entryCost = 72

func (e *logEntry) size() int { return len(e.text) + entryCost }

// hiddenFrom reports whether the message was not for one of these users.
func (e *logEntry) hiddenFrom(ids ...string) bool {
	if e.extra == nil {
		return false
	}
	return slices.ContainsFunc(ids, func(id string) bool { return id != "" && slices.Contains(e.extra.except, id) })
}

// frame returns the frame to send the message again.
func (e *logEntry) frame(epoch string) (f *transport.Frame, handled bool) {
	f = transport.ReuseFrame(e.event, e.text)
	f.Number(epoch, e.offset)
	if e.extra != nil && e.extra.handler != nil {
		f.Meta = e.extra.handler
		return f, true
	}
	return f, false
}

// newEpoch returns the name of a log that begins: 22 characters of base64url.
func newEpoch() string {
	var id [16]byte
	_, _ = rand.Read(id[:]) // never fails
	return base64.RawURLEncoding.EncodeToString(id[:])
}

// position returns the position behind the latest message.
func (l *messageLog) position() Position { return Position{l.epoch, l.top} }

// publish gives a message a number and keeps it. except are the users that it is
// not for.
func (l *messageLog) publish(d *draft, except []string) *transport.Frame {
	l.top++
	f := d.number(l.epoch, l.top)
	e := logEntry{offset: l.top, at: now(), event: d.event, text: f.Text()}
	if len(except) > 0 || d.meta != nil {
		e.extra = &logExtra{except, d.meta}
	}
	l.append(e)
	return f
}

// append keeps a message, and drops old ones where limits are reached. The latest
// message is kept in any case, so that a broadcast is not lost for members that
// are catching up.
func (l *messageLog) append(e logEntry) {
	if n := len(l.entries); n == cap(l.entries) { // most logs have few entries: grow by little
		l.entries = append(make([]logEntry, 0, n+n/4+4), l.entries...)
	}
	l.entries = append(l.entries, e)
	l.bytes += e.size()
	l.budget.used.Add(int64(e.size()))
	l.trim(e.at)
	for l.budget.exceededWith(0) && len(l.kept()) > 1 {
		l.drop(1)
	}
}

// trim drops the messages that exceed the limits of the log.
func (l *messageLog) trim(now int64) {
	kept, size, n := l.kept(), l.bytes, 0
	oldest := now - int64(l.limits.Age)
	for n < len(kept)-1 && (len(kept)-n > l.limits.Messages || size > l.limits.Bytes) {
		size -= kept[n].size()
		n++
	}
	for n < len(kept) && kept[n].at < oldest {
		n++
	}
	l.drop(n)
}

// drop drops the oldest n messages.
func (l *messageLog) drop(n int) {
	if n == 0 {
		return
	}
	freed, lost := 0, l.kept()[n-1].offset
	for i := l.first; i < l.first+n; i++ {
		freed += l.entries[i].size()
		l.entries[i] = logEntry{}
	}
	l.first += n
	l.lost = lost
	l.bytes -= freed
	l.budget.used.Add(-int64(freed))
	if kept := l.kept(); l.first > len(kept) {
		l.entries, l.first = append(make([]logEntry, 0, len(kept)+len(kept)/4+1), kept...), 0
	}
}

// kept returns the messages, oldest first. The result is valid as long as the log
// is not changed.
func (l *messageLog) kept() []logEntry { return l.entries[l.first:] }

// after returns the messages behind an offset, and whether all messages behind it
// are still there.
func (l *messageLog) after(offset uint64) (entries []logEntry, complete bool) {
	kept := l.kept()
	i, _ := slices.BinarySearchFunc(kept, offset+1, func(e logEntry, target uint64) int {
		switch {
		case e.offset < target:
			return -1
		case e.offset > target:
			return 1
		}
		return 0
	})
	return kept[i:], offset >= l.lost
}

// lastStart returns the offset behind which the last n messages are.
func (l *messageLog) lastStart(n int) uint64 {
	kept := l.kept()
	switch {
	case n == 0:
		return l.top
	case n >= len(kept):
		return l.lost
	}
	return kept[len(kept)-n-1].offset
}

// A historyBudget is the memory that all channels of an endpoint share for their
// histories.
type historyBudget struct {
	limit int64
	used  atomic.Int64
}

// exceededWith reports whether size more bytes would exceed the budget.
func (b *historyBudget) exceededWith(size int) bool { return b.used.Load()+int64(size) > b.limit }

// now returns the time as logs note it.
func now() int64 { return time.Now().UnixNano() }
