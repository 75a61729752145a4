package pond

import (
	"context"
	"maps"
	"slices"
)

// A departure is the end of a membership.
type departure struct {
	member *member
	reason LeaveReason
	detail string
}

// exit moves a membership that ended from members to departed. It is called with the
// channel's lock held.
func (c *conn) exit(m *member, reason LeaveReason, detail string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.members[m.channel.name] == m {
		delete(c.members, m.channel.name)
	}
	c.departed = append(c.departed, departure{m, reason, detail})
	c.departing.Add(1)
}

// leaveAll ends all memberships for one reason, and runs the leave handlers of all
// that ended.
func (c *conn) leaveAll(reason LeaveReason) {
	c.mu.Lock()
	members := slices.Collect(maps.Values(c.members))
	c.mu.Unlock()
	c.depart()
	for _, m := range members {
		if m.leave(nil, reason) == nil {
			c.depart()
		}
	}
	c.depart()
}

// depart runs the leave handlers of the memberships that ended. It is called by the
// goroutine that runs the inbox, which also runs them before every message: a client
// that joins again has left before.
func (c *conn) depart() {
	for c.departing.Load() > 0 {
		c.leaveNext()
	}
}

// leaveNext runs the leave handler of the first membership that ended, if there is one.
func (c *conn) leaveNext() {
	c.mu.Lock()
	if len(c.departed) == 0 {
		c.mu.Unlock()
		return
	}
	d := c.departed[0]
	if c.departed = c.departed[1:]; len(c.departed) == 0 {
		c.departed = nil // or it would keep the members in memory
	}
	c.departing.Add(-1)
	c.mu.Unlock()

	ch := d.member.channel
	defer c.endpoint.registry.release(ch)
	if f := c.endpoint.pond.cfg.observer.Left; f != nil {
		defer c.endpoint.pond.observe("Left", func() { f(ch, d.member.user(), d.reason) })
	}
	if h := ch.lobby.leave.Load(); h != nil {
		ctx := &LeaveContext{stdContext: context.WithoutCancel(c), member: d.member, reason: d.reason, detail: d.detail}
		h.call(ctx, func(f *failure) {
			if f.hidden() {
				c.logFailure(f, ch, "")
			}
		})
	}
}
