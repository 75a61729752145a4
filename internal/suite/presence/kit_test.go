// Package presence_test checks presence as differences, rules of the
// protocol's extensions.
package presence_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"testing"

	"github.com/pondsocket/pond"
	"github.com/pondsocket/pond/internal/suite/kit"
	"github.com/pondsocket/pond/pondtest"
)

const room = "/chat/1"

// newPond returns a server whose lobby offers differences.
func newPond(opts ...pond.EndpointOption) (*pond.Pond, *pond.Endpoint) {
	p := pond.New(pond.WithLogger(kit.Silent))
	e := p.Endpoint("/socket", kit.Accept, opts...)
	kit.Handlers(e.Lobby("/chat/:room", kit.Admit, pond.WithPresenceDiffs()))
	kit.Handlers(e.Lobby("/log/:room", kit.Admit, pond.WithPresenceDiffs(), pond.WithHistory(pond.History{})))
	kit.Handlers(e.Lobby("/lists/:room", kit.Admit))
	return p, e
}

func onBoth(t *testing.T, test func(t *testing.T, d *pondtest.Driver, e *pond.Endpoint, tr pondtest.Transport), opts ...pond.EndpointOption) {
	t.Helper()
	for _, tr := range pondtest.Transports {
		t.Run(string(tr), func(t *testing.T) {
			p, e := newPond(opts...)
			pondtest.Run(t, p, func(t *testing.T, d *pondtest.Driver) { test(t, d, e, tr) })
		})
	}
}

// channel returns a live channel.
func channel(t *testing.T, e *pond.Endpoint, name string) *pond.Channel {
	t.Helper()
	ch, ok := e.Channel(name)
	if !ok {
		t.Fatalf("channel %s does not exist", name)
	}
	return ch
}

// follow connects a client that joins with differences.
func follow(d *pondtest.Driver, tr pondtest.Transport, name string) *pondtest.Session {
	s := d.Connect(tr, "/socket")
	s.Join(name, nil, pondtest.Want("diff"))
	return s
}

type user struct {
	ID       string          `json:"id"`
	User     string          `json:"user"`
	Presence json.RawMessage `json:"presence"`
}

type state struct {
	Users []user `json:"users"`
	Total *int   `json:"total"`
	More  *bool  `json:"more"`
}

type diff struct {
	Joins   []user `json:"joins"`
	Updates []user `json:"updates"`
	Leaves  []user `json:"leaves"`
	Total   *int   `json:"total"`
}

// A list is the presence of a channel as a client computes it.
type list struct {
	users    map[string]string // by ID
	next     map[string]string // of the pages of an incomplete state
	complete bool
	bytes    int // of the payloads
	frames   int
}

// take checks and applies a message. It reports false if the message is about something
// else.
func (l *list) take(m pondtest.Message) (ok bool, err error) {
	switch m.Event {
	case "PRESENCE_STATE":
		var p state
		if err = json.Unmarshal(m.Payload, &p); err == nil {
			err = l.page(p)
		}
	case "PRESENCE_DIFF":
		var p diff
		if err = json.Unmarshal(m.Payload, &p); err == nil {
			err = l.apply(p)
		}
	default:
		return false, nil
	}
	l.frames++
	l.bytes += len(m.Payload)
	switch {
	case m.Action != "SYSTEM":
		err = fmt.Errorf("action %s", m.Action)
	case len(m.Payload) > 64<<10:
		err = fmt.Errorf("%d bytes", len(m.Payload))
	}
	if err != nil {
		err = fmt.Errorf("%w: %s", err, m.Raw)
	}
	return true, err
}

func (l *list) page(p state) error {
	if l.next == nil {
		l.next = map[string]string{}
	}
	switch {
	case l.complete:
		return fmt.Errorf("a second state")
	case p.Users == nil || p.Total == nil || p.More == nil || len(p.Users) > 500:
		return fmt.Errorf("invalid page")
	case *p.More && len(p.Users) == 0:
		return fmt.Errorf("empty page")
	}
	for _, u := range p.Users {
		if _, twice := l.next[u.ID]; twice || u.Presence == nil {
			return fmt.Errorf("invalid user %s", u.ID)
		}
		l.next[u.ID] = string(u.Presence)
	}
	if !*p.More {
		l.users, l.complete = l.next, true
		if *p.Total != len(l.users) {
			return fmt.Errorf("total is %d, there are %d users", *p.Total, len(l.users))
		}
	}
	return nil
}

func (l *list) apply(p diff) error {
	changes := len(p.Joins) + len(p.Updates) + len(p.Leaves)
	if !l.complete || changes == 0 || changes > 500 || p.Total == nil {
		return fmt.Errorf("invalid difference")
	}
	seen := map[string]bool{}
	for _, u := range p.Joins {
		if _, known := l.users[u.ID]; known || seen[u.ID] || u.Presence == nil {
			return fmt.Errorf("invalid join")
		}
		l.users[u.ID], seen[u.ID] = string(u.Presence), true
	}
	for _, u := range p.Updates {
		if old, known := l.users[u.ID]; !known || seen[u.ID] || u.Presence == nil || old == string(u.Presence) {
			return fmt.Errorf("invalid update")
		}
		l.users[u.ID], seen[u.ID] = string(u.Presence), true
	}
	for _, u := range p.Leaves {
		if _, known := l.users[u.ID]; !known || seen[u.ID] || u.Presence != nil {
			return fmt.Errorf("invalid leave")
		}
		delete(l.users, u.ID)
	}
	if *p.Total != len(l.users) {
		return fmt.Errorf("total is %d, there are %d users", *p.Total, len(l.users))
	}
	return nil
}

// read applies all messages that a client received. It returns the others.
func (l *list) read(t *testing.T, s *pondtest.Session) (others []pondtest.Message) {
	t.Helper()
	for _, m := range s.Drain() {
		ok, err := l.take(m)
		if err != nil {
			t.Fatal(err)
		}
		if !ok {
			others = append(others, m)
		}
	}
	return others
}

// equal checks that the client has the same list as the server.
func (l *list) equal(t *testing.T, ch *pond.Channel) {
	t.Helper()
	if want := server(ch); !l.complete || !maps.Equal(l.users, want) {
		t.Fatalf("the client has %d users (complete: %v), the server %d: %s, want %s", len(l.users), l.complete, len(want), short(l.users), short(want))
	}
}

// server returns the list of the server.
func server(ch *pond.Channel) map[string]string {
	users := map[string]string{}
	for id, presence := range ch.Presence() {
		users[id] = string(presence)
	}
	return users
}

func short(users map[string]string) string {
	text := fmt.Sprint(users)
	return text[:min(len(text), 500)]
}
