package presence_test

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/pondsocket/pond/pondtest"
)

// A client is one client, over its connections.
type client struct {
	number    int
	who       string // the identity, or ""
	transport pondtest.Transport
	session   *pondtest.Session // nil if it is not connected
	stalled   bool
	member    bool // according to the steps
	at        pondtest.Position
	list      *list  // nil unless the client is a member with differences
	lists     *lists // not nil if the client is a member without differences
	replaying bool
}

func (c *client) resume() {
	if c.stalled && c.session != nil {
		c.session.Resume()
	}
	c.stalled = false
}

func (c *client) leave() {
	c.session.SendRaw([]byte(`{"action":"LEAVE_CHANNEL","event":"LEAVE","channelName":"` + room + `","requestId":"leave","payload":{}}`))
	c.member = false
}

// lists is what a client without differences knows: the latest list.
type lists struct {
	Presence []json.RawMessage `json:"presence"`
}

// A list is the presence that a client knows.
type list struct {
	users    map[string]string // identity and presence, by ID
	complete bool
}

type user struct {
	ID       string          `json:"id"`
	User     string          `json:"user"`
	Presence json.RawMessage `json:"presence"`
}

type notice struct {
	Users   []user `json:"users"`
	Joins   []user `json:"joins"`
	Updates []user `json:"updates"`
	Leaves  []user `json:"leaves"`
	Total   int    `json:"total"`
	More    bool   `json:"more"`
}

func (c *client) receive(m pondtest.Message) error {
	switch m.Event {
	case "ACKNOWLEDGE":
		return c.acknowledged(m)
	case "RECOVERED":
		c.replaying = false
	case "EXIT_ACKNOWLEDGE", "EVICTED", "destroyed":
		c.list, c.lists, c.replaying = nil, nil, false
	case "JOIN", "UPDATE", "LEAVE":
		if c.lists == nil {
			return errors.New("a list, though the client asked for differences")
		}
		return json.Unmarshal(m.Payload, c.lists)
	case "PRESENCE_STATE", "PRESENCE_DIFF":
		var n notice
		if err := json.Unmarshal(m.Payload, &n); err != nil {
			return err
		}
		switch {
		case c.list == nil:
			return errors.New("presence of a channel that the client is not in")
		case c.replaying:
			return errors.New("presence before RECOVERED")
		case len(m.Payload) > 64<<10:
			return fmt.Errorf("%d bytes", len(m.Payload))
		case m.Event == "PRESENCE_STATE":
			return c.list.page(n)
		}
		return c.list.apply(n)
	}
	return nil
}

func (c *client) acknowledged(m pondtest.Message) error {
	if c.list != nil || c.lists != nil {
		return nil // the client joined again
	}
	var ack struct {
		Diff    bool
		Recover struct{ Recovered bool }
	}
	if err := json.Unmarshal(m.Payload, &ack); err != nil {
		return err
	}
	if !ack.Diff {
		c.lists = new(lists)
		return nil
	}
	c.list = &list{users: map[string]string{}}
	c.replaying = ack.Recover.Recovered
	return nil
}

func (l *list) page(n notice) error {
	if l.complete {
		return errors.New("a page after the last one")
	}
	for _, u := range n.Users {
		if _, twice := l.users[u.ID]; twice || u.Presence == nil {
			return errors.New("invalid user")
		}
		l.users[u.ID] = u.User + string(u.Presence)
	}
	l.complete = !n.More
	return l.check(n)
}

func (l *list) apply(n notice) error {
	if !l.complete || len(n.Joins)+len(n.Updates)+len(n.Leaves) == 0 {
		return errors.New("invalid difference")
	}
	for _, u := range n.Joins {
		if _, known := l.users[u.ID]; known || u.Presence == nil {
			return errors.New("invalid join")
		}
		l.users[u.ID] = u.User + string(u.Presence)
	}
	for _, u := range n.Updates {
		if old, known := l.users[u.ID]; !known || u.Presence == nil || old == u.User+string(u.Presence) {
			return errors.New("invalid update")
		}
		l.users[u.ID] = u.User + string(u.Presence)
	}
	for _, u := range n.Leaves {
		if _, known := l.users[u.ID]; !known {
			return errors.New("invalid leave")
		}
		delete(l.users, u.ID)
	}
	return l.check(n)
}

func (l *list) check(n notice) error {
	if l.complete && n.Total != len(l.users) {
		return fmt.Errorf("total is %d, the client knows %d", n.Total, len(l.users))
	}
	return nil
}
