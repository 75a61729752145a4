package load

import (
	"cmp"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"syscall"
	"time"
)

// A resetter resets the connections of clients of a loop at random times.
type resetter struct {
	next   int64     // time of the next reset; 0 if none is scheduled
	absent []*client // reset clients that did not reconnect, the first to return last
}

// disturb resets connections that are due, and moves the clients that were away long
// enough to the waiting ones. It returns the time until it must be called again, or -1.
func (l *loop) disturb() time.Duration {
	if l.config.Scenario != Recover {
		return -1
	}
	r, now := &l.resetter, l.clock()
	if !l.publishing.Load() {
		r.next = 0
	} else if r.next == 0 {
		r.next = now + l.untilReset()
	}
	for r.next > 0 && r.next <= now {
		l.resetOne(now)
		r.next += l.untilReset()
	}
	for n := len(r.absent); n > 0 && r.absent[n-1].returns <= now; n-- {
		l.waiting = append(l.waiting, r.absent[n-1])
		r.absent = r.absent[:n-1]
	}
	wait := time.Duration(-1)
	if r.next > 0 {
		wait = time.Duration(r.next - now)
	}
	if n := len(r.absent); n > 0 {
		wait = soonest(wait, time.Duration(r.absent[n-1].returns-now))
	}
	return wait
}

// untilReset returns a random time between two resets of the loop.
func (l *loop) untilReset() int64 {
	perSecond := l.config.Resets * float64(len(l.clients)) / float64(l.config.Clients)
	return max(1, int64(rand.ExpFloat64()*1e9/perSecond)) //nolint:gosec // not a secret
}

// soonest returns the shorter time. A negative time has no end.
func soonest(a, b time.Duration) time.Duration {
	if a < 0 || b < 0 {
		return max(a, b)
	}
	return min(a, b)
}

// errReset is the reason for which a connection is closed.
var errReset = errors.New("reset by the load generator")

// resetOne resets a random member that does not publish, unless too few are connected.
// The member may be in the middle of its recovery.
func (l *loop) resetOne(now int64) {
	for range 16 {
		c := l.clients[rand.IntN(len(l.clients))] //nolint:gosec // not a secret
		if c.state != joined || c.pub != nil {
			continue
		}
		l.counters.Joined--
		if !c.recovering {
			c.recovering = true
			l.counters.Recovering++
		}
		c.claimed = false
		c.state = leaving // then the close is not a fault
		// Send RST, and discard what arrived but was not read. Without the option, only
		// the kind of the close would differ.
		_ = syscall.SetsockoptLinger(c.conn.fd, syscall.SOL_SOCKET, syscall.SO_LINGER, &syscall.Linger{Onoff: 1})
		l.closeConn(c.conn, errReset)
		c.returns = now + rand.Int64N(int64(l.config.Away)+1) //nolint:gosec // not a secret
		absent := l.resetter.absent
		at, _ := slices.BinarySearchFunc(absent, c.returns, func(c *client, t int64) int { return cmp.Compare(t, c.returns) })
		l.resetter.absent = slices.Insert(absent, at, c)
		return
	}
}

// recovered handles that c received all that it missed.
func (l *loop) recovered(c *client) {
	if !c.recovering || c.state != joined {
		return
	}
	l.settle(c)
	l.counters.Reconnects++
	if c.claimed = !c.holed; c.holed {
		c.holed = false
		l.counters.Holes++
	}
	if c.returns >= l.from.Load() {
		l.caughtUp.record(l.now - c.returns)
	}
}

// noticeHole handles that c misses messages, which the server may have told it.
func (l *loop) noticeHole(c *client) {
	switch {
	case c.told:
		c.told = false
	case c.recovering:
		c.holed = true
	case c.claimed:
		c.claimed = false
		l.counters.Holes++
	}
}

// unrecovered handles that the server cannot send what c missed. The missing messages
// also count as lost.
func (l *loop) unrecovered(c *client, reason []byte) {
	l.counters.Unrecovered++
	c.told, c.holed, c.claimed = true, false, false
	l.counters.setReason(fmt.Sprintf("client %d cannot recover: %s", c.Number, reason))
	if c.recovering {
		l.settle(c)
	}
}

// settle ends the recovery of c, whatever its result.
func (l *loop) settle(c *client) {
	c.recovering = false
	l.counters.Recovering--
}
