package cluster

// A Count is the number of events in a topic. The counts of topics that are not used any more
// are forgotten, and a later count of the topic begins at Base. Base is not less than any count
// that was forgotten before, so an event never has the number of an earlier one of its topic.
type Count struct{ Events, Base uint64 }

// counts are the numbers of events in topics. A topic that is not used between two calls of
// expire is forgotten.
type counts struct {
	limit   int              // of recent; beyond it, topics are forgotten earlier
	recent  map[string]Count // of topics that were used since the last call of expire
	earlier map[string]Count // of those that were used only between that call and the one before
	highest uint64           // of all counts so far
	forgot  uint64           // not less than any count that was forgotten
}

// next returns the count of a topic, after another event if event is set.
func (c *counts) next(topic string, event bool) Count {
	n, used := c.recent[topic]
	if !used {
		var known bool
		if n, known = c.earlier[topic]; known {
			delete(c.earlier, topic)
		} else if event {
			n = Count{c.forgot, c.forgot}
		} else {
			return n
		}
		if len(c.recent) >= c.limit {
			c.expire()
		}
		if c.recent == nil {
			c.recent = map[string]Count{}
		}
	}
	if event {
		n.Events++
		c.highest = max(c.highest, n.Events)
	}
	c.recent[topic] = n
	return n
}

// upto returns the count of a topic, or a higher number if it was forgotten.
func (c *counts) upto(topic string) uint64 {
	if n, ok := c.recent[topic]; ok {
		return n.Events
	}
	if n, ok := c.earlier[topic]; ok {
		return n.Events
	}
	return c.forgot
}

// expire forgets the topics that were not used since the last call.
func (c *counts) expire() {
	if len(c.earlier) > 0 {
		c.forgot = c.highest
	}
	c.recent, c.earlier = nil, c.recent
}

// ExpireCounts forgets how many events there were in topics without messages since the last
// call.
func (l *Lanes) ExpireCounts() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.counts.expire()
}

// Events returns how many events there were in a topic that are not for the log. If that was
// forgotten, it returns a higher number.
func (l *Lanes) Events(topic string) uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.counts.upto(topic)
}
