package load

import "fmt"

// resumeAll makes the members that stopped reading read again.
func (l *loop) resumeAll() {
	if l.config.Scenario != Latest {
		return
	}
	for _, c := range l.clients {
		if c.stalled && c.state == joined {
			c.resume(l)
		}
	}
}

// resume makes c read again, after [client.stall]. From now on, only the order of its
// deliveries is checked, because the server may have dropped some, and that the newest
// message arrives.
func (c *client) resume(l *loop) {
	c.stalled, c.conn.stalled = false, false
	c.lags = true
	c.resumed = l.clock()
	p := c.room.publishers[0]
	c.room.mu.Lock()
	c.newest = p.next
	c.room.mu.Unlock()
	if c.seen[0] == c.newest {
		l.counters.Resumed++ // nothing was sent
	} else {
		l.counters.Lagging++
	}
	if err := l.interest(c.conn); err != nil {
		l.closeConn(c.conn, err)
	}
}

// deliveredLate handles a delivery of message seq to a member that stopped reading for a
// while.
func (l *loop) deliveredLate(c *client, seq uint32) {
	next, lagged := c.seen[0], c.lagging()
	if seq < next {
		l.counters.Reordered++
		l.counters.setReason(fmt.Sprintf("client %d received message %d after message %d", c.Number, seq, next-1))
		return
	}
	l.counters.Skipped += int64(seq - next)
	c.seen[0] = seq + 1
	switch {
	case !lagged:
	case c.lagging():
		l.counters.Outdated++
	default:
		l.counters.Lagging--
		l.counters.Resumed++
		l.upToDate.record(l.now - c.resumed)
	}
}

// lagging reports whether c did not receive the message yet that was the newest when it
// read again.
func (c *client) lagging() bool { return c.lags && c.seen[0] < c.newest }
