package transport

import (
	"math"
	"slices"
	"time"

	"github.com/pondsocket/pond/internal/ws"
)

const wheelSlots = 16

// A wheel visits each connection of a shard once per interval, one slot at a time.
// So heartbeats are spread over time, and connections need no timers. The shard's mu
// guards it. Its timer runs only while there are connections.
type wheel struct {
	interval time.Duration
	slots    [wheelSlots][]*Conn
	at       int
	count    int
	timer    *time.Timer
}

// register adds c to the wheel, unless it was aborted before. Its first visit is one
// interval from now.
func (s *shard) register(c *Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.is(closed) {
		return
	}
	w := &s.wheel
	c.slot, c.pos = w.at, len(w.slots[w.at])
	w.slots[w.at] = append(w.slots[w.at], c)
	w.count++
	s.workers.count(1)
	if w.timer == nil && w.interval > 0 {
		w.timer = time.AfterFunc(w.interval/wheelSlots, s.tick)
	}
}

// unregister removes c from the wheel.
func (s *shard) unregister(c *Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	w := &s.wheel
	slot := w.slots[c.slot]
	if c.pos >= len(slot) || slot[c.pos] != c {
		return // aborted before it was started
	}
	last := len(slot) - 1
	slot[c.pos] = slot[last]
	slot[c.pos].pos = c.pos
	slot[last] = nil
	w.slots[c.slot] = slot[:last]
	w.count--
	s.workers.count(-1)
	if w.count == 0 {
		w.slots = [wheelSlots][]*Conn{}
		if w.timer != nil {
			w.timer.Stop()
			w.timer = nil
		}
	}
}

// tick visits the connections of one slot.
func (s *shard) tick() {
	var work Work
	s.mu.Lock()
	w := &s.wheel
	if w.timer == nil {
		s.mu.Unlock()
		return
	}
	w.at = (w.at + 1) % wheelSlots
	due := append([]*Conn(nil), w.slots[w.at]...)
	w.timer.Reset(w.interval / wheelSlots)
	var dead, silent []*Conn
	for _, c := range due {
		excused := c.paused.Load()
		received := c.receivedSincePing.Swap(false)
		switch {
		case !c.WebSocket() || !c.pinged || received || excused:
			c.silent = 0
		case c.silentTooLong():
			dead = append(dead, c)
		case c.silent > 0:
			silent = append(silent, c)
		}
		c.pinged = true
	}
	s.mu.Unlock()

	for _, c := range due {
		if (!c.WebSocket() || slices.Contains(silent, c)) && vanished(c.net, max(s.hub.cfg.PingInterval, s.hub.cfg.WriteTimeout)) {
			c.disconnected(ErrTimeout)
			continue
		}
		if c.messageTooSlow() {
			c.Close(ws.ClosePolicy, "message takes too long", ErrTimeout)
			continue
		}
		c.Queue(&work, heartbeat, nil)
	}
	work.Do()
	for _, c := range dead {
		c.Abort(ErrTimeout)
	}
}

// silentTooLong counts a heartbeat that an open connection did not answer, and reports
// whether it had to. It is called with the shard's mu.
func (c *Conn) silentTooLong() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.state != open {
		return false
	}
	if c.silent < math.MaxUint16 {
		c.silent++
	}
	return c.keep == nil || time.Duration(c.silent)*c.hub.cfg.PingInterval >= c.keep.patience
}

// connections returns all connections that were started and are not closed.
func (s *shard) connections() []*Conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Concat(s.wheel.slots[:]...)
}

// messageTooSlow reports whether the client began its current message more than two
// heartbeats ago.
func (c *Conn) messageTooSlow() bool {
	return c.unfinishedPings.Load() != 0 && !c.paused.Load() && c.unfinishedPings.Add(1) > 3
}

// noteProgress records whether the client is in the middle of a message.
func (c *Conn) noteProgress() {
	switch {
	case !c.dec.MidMessage():
		if c.unfinishedPings.Load() != 0 {
			c.unfinishedPings.Store(0)
		}
	case c.unfinishedPings.Load() == 0:
		c.unfinishedPings.Store(1)
	}
}
