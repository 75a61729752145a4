package memorybroker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sort"
	"strconv"
	"time"

	"github.com/pondsocket/pond"
)

const (
	pageBytes   = 1 << 20
	producerAge = 2 * time.Minute
)

// A topicLog is the log of one topic. The mutex of the bus guards it.
type topicLog struct {
	epoch     string
	top       uint64
	entries   []stored // oldest first
	bytes     int      // of entries
	keep      pond.Retention
	renewed   time.Time // last Open or Append
	producers map[string]producer
	pruned    time.Time // producers
}

type stored struct {
	pond.Entry
	at time.Time
}

// A producer is the state of a producer in a log.
type producer struct {
	last uint64 // number of its last message
	at   time.Time
}

// Open implements [pond.BrokerLog].
func (n *Broker) Open(ctx context.Context, topic string, keep pond.Retention) (pos pond.Position, err error) {
	err = n.doLog(ctx, topic, "open", func() error {
		l, err := n.bus.openLocked(topic, keep)
		if err == nil {
			pos = l.position()
		}
		return err
	})
	return pos, err
}

// doLog is do for methods of the log. They fail for nodes outside the first group of a
// partition.
func (n *Broker) doLog(ctx context.Context, topic, what string, f func() error) error {
	return n.do(ctx, topic, what, func() error {
		if n.bus.groups[n.name] != 0 {
			return errPartitioned
		}
		return f()
	})
}

// openLocked returns the log of a topic, and creates it if there is none.
func (b *Bus) openLocked(topic string, keep pond.Retention) (*topicLog, error) {
	if keep.Messages <= 0 || keep.Bytes <= 0 || keep.Age <= 0 {
		return nil, fmt.Errorf("memorybroker: invalid retention %+v", keep)
	}
	l := b.logLocked(topic)
	if l == nil {
		b.sweepLocked()
		b.epochs++
		l = &topicLog{
			epoch:     strconv.FormatUint(mix(b.cfg.seed)>>24, 36) + "-" + strconv.FormatUint(b.epochs, 36),
			producers: map[string]producer{},
			pruned:    time.Now(),
		}
		b.logs[topic] = l
	}
	l.keep = keep
	l.renewed = time.Now()
	l.trim()
	return l, nil
}

// logLocked returns the log of a topic without its expired entries, or nil.
func (b *Bus) logLocked(topic string) *topicLog {
	l := b.logs[topic]
	switch {
	case l == nil:
		return nil
	case l.ended():
		delete(b.logs, topic)
		return nil
	}
	l.trim()
	return l
}

// sweepLocked removes ended logs when the number of logs doubled.
func (b *Bus) sweepLocked() {
	if len(b.logs) < 2*b.logsSwept+16 {
		return
	}
	for topic, l := range b.logs {
		if l.ended() {
			delete(b.logs, topic)
		}
	}
	b.logsSwept = len(b.logs)
}

// Append implements [pond.BrokerLog].
func (n *Broker) Append(ctx context.Context, topic string, batch pond.Batch) (pos pond.Position, err error) {
	if err := n.checkSizes(batch.Data); err != nil {
		return pos, err
	}
	if batch.Producer == "" || batch.First == 0 {
		return pos, errors.New("memorybroker: a batch needs a producer, and numbers from 1")
	}
	err = n.doLog(ctx, topic, "append", func() error {
		l, err := n.bus.openLocked(topic, batch.Keep)
		if err != nil {
			return err
		}
		for _, data := range l.fresh(batch) {
			step := uint64(1)
			if n.bus.cfg.sparse {
				step += uint64(7 * n.bus.randomLocked(call{"", topic, "offset"}))
			}
			e := pond.Entry{Pos: pond.Position{Epoch: l.epoch, Offset: l.top + step}, Prev: l.top, Data: data}
			l.append(e)
			n.bus.publishLocked(n, topic, entry{Entry: e})
		}
		l.trim()
		pos = l.position()
		if n.failed[topic] > 0 {
			n.failed[topic]--
			return errTimeout
		}
		return nil
	})
	if err != nil {
		return pond.Position{}, err
	}
	return pos, nil
}

// fresh returns the messages of a batch that the log does not have yet, and records
// their numbers.
func (l *topicLog) fresh(batch pond.Batch) [][]byte {
	now := time.Now()
	if now.Sub(l.pruned) > producerAge {
		for name, p := range l.producers {
			if now.Sub(p.at) > producerAge {
				delete(l.producers, name)
			}
		}
		l.pruned = now
	}
	data := batch.Data
	next := batch.First
	if p := l.producers[batch.Producer]; p.last >= next {
		data = data[min(p.last-next+1, uint64(len(data))):]
		next = p.last + 1
	}
	l.producers[batch.Producer] = producer{next + uint64(len(data)) - 1, now}
	return data
}

func (l *topicLog) append(e pond.Entry) {
	l.entries = append(l.entries, stored{e, time.Now()})
	l.bytes += len(e.Data)
	l.top = e.Pos.Offset
}

func (l *topicLog) position() pond.Position { return pond.Position{Epoch: l.epoch, Offset: l.top} }

// ended reports whether the log ended, because there was no Open or Append for too
// long.
func (l *topicLog) ended() bool { return time.Since(l.renewed) >= l.keep.Age }

// trim drops the oldest entries beyond the retention.
func (l *topicLog) trim() {
	drop := 0
	for ; drop < len(l.entries); drop++ {
		left := len(l.entries) - drop
		tooMuch := left > l.keep.Messages || left > 1 && l.bytes > l.keep.Bytes
		if !tooMuch && time.Since(l.entries[drop].at) < l.keep.Age {
			break
		}
		l.bytes -= len(l.entries[drop].Data)
		l.entries[drop] = stored{}
	}
	if l.entries = l.entries[drop:]; len(l.entries) == 0 {
		l.entries = nil
	}
}

// Since implements [pond.BrokerLog].
func (n *Broker) Since(ctx context.Context, topic string, from pond.Position, limit int) (page pond.Page, err error) {
	err = n.doLog(ctx, topic, "since", func() error {
		if l := n.bus.logLocked(topic); l != nil {
			page = l.since(from, limit)
		}
		return nil
	})
	return page, err
}

func (l *topicLog) since(from pond.Position, limit int) pond.Page {
	page := pond.Page{Top: l.position()}
	if from == (pond.Position{}) {
		from.Epoch = l.epoch
	}
	if from.Epoch != l.epoch || from.Offset > l.top {
		return page
	}
	i := sort.Search(len(l.entries), func(i int) bool { return l.entries[i].Pos.Offset > from.Offset })
	first := l.top // the oldest position for which a page is complete
	if i < len(l.entries) {
		first = l.entries[i].Prev
	}
	page.Complete = first <= from.Offset
	page.Entries = pageOf(l.entries[i:], limit)
	return page
}

// pageOf returns the first of the entries, within the limits of a page.
func pageOf(entries []stored, limit int) []pond.Entry {
	var page []pond.Entry
	bytes := 0
	for i := range entries {
		bytes += len(entries[i].Data)
		if len(page) >= limit || bytes > pageBytes && len(page) > 0 {
			break
		}
		page = append(page, entries[i].Entry)
	}
	return page
}

// Last implements [pond.BrokerLog].
func (n *Broker) Last(ctx context.Context, topic string, limit int) (page pond.Page, err error) {
	err = n.doLog(ctx, topic, "last", func() error {
		l := n.bus.logLocked(topic)
		if l == nil {
			return nil
		}
		page.Top, page.Complete = l.position(), true
		reversed := slices.Clone(l.entries)
		slices.Reverse(reversed)
		page.Entries = pageOf(reversed, limit)
		slices.Reverse(page.Entries)
		return nil
	})
	return page, err
}

// Tops implements [pond.BrokerLog].
func (n *Broker) Tops(ctx context.Context, topics []string) (tops []pond.Position, err error) {
	err = n.doLog(ctx, "", "tops", func() error {
		tops = make([]pond.Position, len(topics))
		for i, topic := range topics {
			if l := n.bus.logLocked(topic); l != nil {
				tops[i] = l.position()
			}
		}
		return nil
	})
	return tops, err
}

// Drop implements [pond.BrokerLog].
func (n *Broker) Drop(ctx context.Context, topic string) error {
	return n.doLog(ctx, topic, "drop", func() error {
		delete(n.bus.logs, topic)
		return nil
	})
}
