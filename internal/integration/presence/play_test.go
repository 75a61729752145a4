package presence_test

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pondsocket/pond"
	"github.com/pondsocket/pond/pondtest"
)

const (
	room   = "/log/1"
	outbox = 64 << 10 // so pages have 16 KiB
	grace  = 500 * time.Millisecond
)

// play plays steps against a server and checks the lists of its clients.
func play(t *testing.T, steps []step) (err error) {
	ended := make(chan struct{})
	go func() { // a failed bubble ends its goroutine
		defer close(ended)
		err = fmt.Errorf("pondtest failed the test")
		defer func() {
			if v := recover(); v != nil {
				err = fmt.Errorf("%v", v)
			}
		}()
		p := newPlayer()
		pondtest.Run(t, p.pond, func(t *testing.T, d *pondtest.Driver) {
			p.driver, p.t = d, t
			for _, s := range steps {
				p.do(s)
				if p.err != nil {
					return
				}
			}
			p.rest()
		})
		err = p.err
	}()
	<-ended
	return err
}

type player struct {
	t        *testing.T
	driver   *pondtest.Driver
	pond     *pond.Pond
	endpoint *pond.Endpoint
	clients  [clients]*client
	err      error

	mu      sync.Mutex      // guards the following fields, which handlers change
	present map[string]bool // identities
	turns   error           // two handlers of an identity did not run in turns
}

// comes notes that a person comes or goes, according to the handlers of identities.
func (p *player) comes(who string, comes bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if who == "" || p.present[who] == comes {
		p.turns = fmt.Errorf("%q comes: %v, present: %v", who, comes, p.present)
	}
	p.present[who] = comes
}

func newPlayer() *player {
	p := &player{present: map[string]bool{}, pond: pond.New(pond.WithLogger(slog.New(slog.DiscardHandler)))}
	p.endpoint = p.pond.Endpoint("/socket", func(ctx *pond.ConnectionContext) error {
		if who := ctx.Query().Get("who"); who != "" {
			_ = ctx.Identify(who) // valid
		}
		return ctx.Accept()
	},
		pond.WithOutboxSize(outbox), pond.WithWriteTimeout(time.Hour), pond.WithPingInterval(24*time.Hour))
	l := p.endpoint.Lobby("/log/:room", func(ctx *pond.JoinContext) error {
		var join struct {
			Track json.RawMessage `json:"track"`
		}
		if err := ctx.Bind(&join); err != nil {
			return err
		}
		if err := ctx.Accept(); err != nil || join.Track == nil {
			return err
		}
		return ctx.Track(join.Track)
	}, pond.WithHistory(pond.History{}), pond.WithPresenceDiffs(), pond.WithPresenceIdentities(), pond.WithLeaveGrace(grace))
	l.OnIdentityJoin(func(ctx *pond.JoinContext) error { p.comes(ctx.User().Identity(), true); return nil })
	l.OnIdentityLeave(func(ctx *pond.LeaveContext) error { p.comes(ctx.User().Identity(), false); return nil })
	for i := range p.clients {
		p.clients[i] = &client{number: i, who: []string{"", "ann", "bob", "ann"}[i%4], transport: []pondtest.Transport{pondtest.WebSocket, pondtest.SSE}[i%2]}
	}
	return p
}

func (p *player) fail(format string, args ...any) {
	if p.err == nil {
		p.err = fmt.Errorf(format, args...)
	}
}

// presence returns a presence. A large presence fills a page. Together, large ones exceed
// the network buffer of a client that does not read.
func presence(s step) json.RawMessage {
	size := 0
	if s.large {
		size = 12 << 10
	}
	return json.RawMessage(fmt.Sprintf(`{"n":%d,"x":"%s"}`, s.n%4, strings.Repeat("x", size)))
}

func (p *player) do(s step) {
	c := p.clients[s.client]
	ch, live := p.endpoint.Channel(room)
	switch s.what {
	case "wait": // part of the time in which changes are merged, or all of it
		time.Sleep(time.Duration(s.n) * time.Millisecond)
	case "rest":
		p.rest()
	case "publish":
		for range s.n {
			if err := p.endpoint.Publish(p.t.Context(), room, "said", map[string]string{"text": strings.Repeat("x", s.n)}); err != nil {
				p.fail("%w", err)
			}
			synctest.Wait() // clients that read are not slow
		}
	case "close":
		if live && s.n < 20 {
			ch.Close("")
			for _, c := range p.clients {
				c.member = false
			}
		}
	case "join", "list", "recover":
		p.join(c, s)
	}
	if s.n%3 > 0 { // otherwise, the next step follows at once
		synctest.Wait()
	}
	if c.session == nil || c.session.ID() == "" {
		return
	}
	id := c.session.ID()
	switch s.what {
	case "stall":
		if !c.stalled {
			c.session.Stall()
			c.stalled = true
		}
	case "resume":
		c.resume()
	case "reset":
		p.take(c)
		c.session.Reset()
		c.session, c.member = nil, false
	case "again":
		if c.member {
			c.session.SendJoin(room, nil, pondtest.Want("diff"))
		}
	case "leave", "rejoin":
		if c.member {
			c.leave()
			if s.what == "rejoin" {
				p.join(c, s)
			}
		}
	}
	if !live {
		return
	}
	switch s.what { // not every client is a member, or tracked
	case "evict":
		if ch.Evict(id, "model") == nil {
			c.member = false
		}
	case "track":
		_ = ch.Track(id, presence(s))
	case "update":
		_ = ch.Update(id, presence(s))
	case "untrack":
		_ = ch.Untrack(id)
	case "flicker":
		if ch.Untrack(id) == nil {
			_ = ch.Track(id, presence(s))
		}
	}
}

// join connects a client if necessary, and requests to join.
func (p *player) join(c *client, s step) {
	if c.session == nil {
		c.session = p.driver.Connect(c.transport, "/socket?who="+c.who)
		c.stalled, c.list, c.lists, c.replaying = false, nil, nil, false
	}
	if c.member || c.session.Ended() {
		return
	}
	var params any
	if s.large {
		params = map[string]any{"track": presence(s)}
	}
	opts := []pondtest.JoinOption{pondtest.Want("diff", "recover")}
	switch {
	case s.what == "list":
		opts = nil
	case s.what == "recover" && c.at.Epoch != "":
		opts = append(opts, pondtest.From(c.at, ""))
	}
	if s.n%3 == 0 { // the client is stalled before the state arrives
		c.session.Stall()
		c.stalled = true
	}
	c.session.SendJoin(room, params, opts...)
	synctest.Wait()
	if ch, ok := p.endpoint.Channel(room); ok {
		if _, member := ch.User(c.session.ID()); member {
			c.member = true
		}
	}
}

// rest lets all clients read, waits until nothing is in flight, and compares.
func (p *player) rest() {
	for _, c := range p.clients {
		c.resume()
	}
	time.Sleep(10 * time.Second)
	synctest.Wait()
	ch, live := p.endpoint.Channel(room)
	p.comparePeople(ch)
	for _, c := range p.clients {
		if c.session == nil {
			continue
		}
		p.take(c)
		if c.session.Ended() { // it was too slow
			c.session, c.member = nil, false
			continue
		}
		if !live {
			continue
		}
		if u, member := ch.User(c.session.ID()); !member || c.list == nil {
			if member && c.lists != nil && u.Presence() != nil {
				p.compareLists(c, ch)
			}
			continue
		}
		want := map[string]string{}
		for id, presence := range ch.Presence() {
			u, _ := ch.User(id)
			want[id] = u.Identity() + string(presence)
		}
		if !c.list.complete || !maps.Equal(c.list.users, want) {
			p.fail("c%d (complete: %v) has %d users: %.300v, want %d: %.300v", c.number, c.list.complete, len(c.list.users), c.list.users, len(want), want)
		}
	}
}

// comparePeople compares the members with what the handlers of identities saw. The channel
// may be nil.
func (p *player) comparePeople(ch *pond.Channel) {
	want := map[string]bool{}
	if ch != nil {
		for u := range ch.Users() {
			if who := u.Identity(); who != "" {
				want[who] = true
			}
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.turns != nil {
		p.fail("%w", p.turns)
	}
	for _, who := range []string{"ann", "bob"} {
		if p.present[who] != want[who] {
			p.fail("%q is present: %v, want %v", who, p.present[who], want[who])
		}
	}
}

// compareLists compares the latest list that a tracked member received.
func (p *player) compareLists(c *client, ch *pond.Channel) {
	got, want := []byte("["), []byte("[")
	for _, presence := range c.lists.Presence {
		got = append(append(got, presence...), ' ')
	}
	for _, presence := range ch.Presence() {
		want = append(append(want, presence...), ' ')
	}
	if string(got) != string(want) {
		p.fail("c%d has the list %.300s, want %.300s", c.number, got, want)
	}
}

// take checks the messages that a client received.
func (p *player) take(c *client) {
	c.resume()
	synctest.Wait()
	for _, m := range c.session.Drain() {
		if m.Channel != room {
			continue
		}
		if err := c.receive(m); err != nil {
			p.fail("c%d: %w: %.300s", c.number, err, m.Raw)
			return
		}
	}
	if at := c.session.Position(room); at.Epoch != "" {
		c.at = at
	}
}
