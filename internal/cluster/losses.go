package cluster

import (
	"cmp"
	"encoding/json"
	"slices"
	"strings"
	"sync"
)

// A Span contains the numbers of events in a topic that are greater than After, up to
// Upto. The zero Span is empty.
type Span struct{ After, Upto uint64 }

func (s Span) size() uint64 { return s.Upto - min(s.After, s.Upto) }

// Losses are the events of this node that did not reach another node, so that an event
// that several nodes miss counts once. Its methods are safe for concurrent use.
type Losses struct {
	mu    sync.Mutex        // guards the following field
	spans map[string][]Span // by topic, in order, without overlaps
}

// Limits of [Losses]. Beyond them, an event may count again.
const (
	maxLossTopics = 1 << 12
	maxLossSpans  = 64 // of a topic
)

// Add adds events, and returns how many of them were not added before.
func (l *Losses) Add(topic string, s Span) (added uint64) {
	added = s.size()
	if added == 0 {
		return 0
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	all, known := l.spans[topic]
	if !known {
		if l.spans == nil || len(l.spans) >= maxLossTopics {
			l.spans = map[string][]Span{}
		}
	}
	merged := make([]Span, 0, len(all)+1)
	for _, old := range all {
		if old.Upto < s.After || s.Upto < old.After {
			merged = append(merged, old)
			continue
		}
		common := Span{max(old.After, s.After), min(old.Upto, s.Upto)}
		added -= common.size()
		s = Span{min(old.After, s.After), max(old.Upto, s.Upto)}
	}
	merged = append(merged, s)
	slices.SortFunc(merged, func(a, b Span) int { return cmp.Compare(a.After, b.After) })
	l.spans[topic] = merged[max(0, len(merged)-maxLossSpans):]
	return added
}

// AddReport adds the events in the payload of a [MissedReport] of another node, and returns
// how many of them were not added before. events returns how many there were in a topic.
func (l *Losses) AddReport(payload []byte, events func(topic string) uint64) (added uint64) {
	var r MissedReport
	if json.Unmarshal(payload, &r) != nil {
		return 0
	}
	for _, e := range r.Spans {
		added += l.Add(e.Topic, Span{e.After, min(e.Upto, events(e.Topic))})
	}
	return added
}

// Misses are the events of other nodes that did not reach this one, since the last call of
// Take. Its methods are safe for concurrent use.
type Misses struct {
	mu    sync.Mutex // guards the following fields
	count uint64
	spans []missedSpan
}

// A MissedReport is the payload of a report to the node whose events did not arrive.
type MissedReport struct {
	Node  string       `json:"-"`
	Spans []missedSpan `json:"spans"`
}

type missedSpan struct {
	node string

	Topic string `json:"topic"`
	After uint64 `json:"after"` // the number of the last event before the loss
	Upto  uint64 `json:"upto"`  // the number of the last event that was lost
}

// Limits of reports. All events are counted.
const (
	maxMissedSpans = 1 << 16  // since the last call of Take
	maxReportBytes = 32 << 10 // of one report
	spanBytes      = 100      // of a span, besides its topic
)

// Add adds events of a node.
func (m *Misses) Add(node, topic string, s Span) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.count += s.size()
	if len(m.spans) < maxMissedSpans {
		m.spans = append(m.spans, missedSpan{node, topic, s.After, s.Upto})
	}
}

// Take returns the number of events, and the reports for the nodes that sent them.
func (m *Misses) Take() (count uint64, reports []MissedReport) {
	m.mu.Lock()
	count, list := m.count, m.spans
	m.count, m.spans = 0, nil
	m.mu.Unlock()
	slices.SortStableFunc(list, func(a, b missedSpan) int { return strings.Compare(a.node, b.node) })
	size := 0
	for _, s := range list {
		bytes := spanBytes + 2*len(s.Topic) // quotation marks are escaped
		if last := len(reports) - 1; last >= 0 && reports[last].Node == s.node && size+bytes <= maxReportBytes {
			reports[last].Spans = append(reports[last].Spans, s)
			size += bytes
			continue
		}
		reports = append(reports, MissedReport{s.node, []missedSpan{s}})
		size = bytes
	}
	return count, reports
}
