package history_test

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pondsocket/pond"
	"github.com/pondsocket/pond/pondtest"
)

const (
	room      = "/log/1"
	kept      = 40 // messages
	newcomers = 20
	age       = time.Minute
	outbox    = 16 << 10
)

// play plays steps against a server and checks what its clients received.
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
			p.t, p.driver = t, d
			for _, s := range steps {
				p.do(s)
				synctest.Wait()
				p.notice()
				if p.err != nil {
					return
				}
			}
			p.finish()
		})
		err = p.err
	}()
	<-ended
	return err
}

// A player performs the steps, and applies them to the model.
type player struct {
	t        *testing.T
	driver   *pondtest.Driver
	pond     *pond.Pond
	endpoint *pond.Endpoint
	log      *log
	clients  [clients]*client
	told     int
	err      error
}

func newPlayer() *player {
	p := &player{log: new(log), pond: pond.New(pond.WithLogger(slog.New(slog.DiscardHandler)))}
	p.endpoint = p.pond.Endpoint("/socket", func(ctx *pond.ConnectionContext) error { return ctx.Accept() },
		pond.WithOutboxSize(outbox), pond.WithWriteTimeout(time.Hour), pond.WithPingInterval(24*time.Hour))
	l := p.endpoint.Lobby("/log/:room", func(ctx *pond.JoinContext) error { return ctx.Accept() },
		pond.WithHistory(pond.History{Messages: kept, Age: age, Bytes: 64 << 20, Newcomers: newcomers}))
	// The handler does not hide messages, but it changes the path of the frames.
	l.OnOutgoing("handled", func(*pond.OutgoingContext) error { return nil })
	for i := range p.clients {
		p.clients[i] = &client{number: i, transport: []pondtest.Transport{pondtest.WebSocket, pondtest.SSE}[i%2]}
	}
	return p
}

func (p *player) fail(format string, args ...any) {
	if p.err == nil {
		p.err = fmt.Errorf(format, args...)
	}
}

func (p *player) do(s step) {
	c := p.clients[s.client]
	if s.what == "behind" { // the client comes back, and does not read its replay
		if c.session != nil {
			c.session.Reset()
			p.gone(c)
		}
		for range kept - 5 {
			p.publish(step{large: true})
		}
		p.do(step{what: "recover", client: s.client, n: 1})
		s.what = []string{"again", "tell", "track", "close", "publish"}[s.n%5] // while it catches up
	}
	switch s.what {
	case "publish":
		p.publish(s)
	case "burst":
		for range s.n {
			p.publish(s)
		}
	case "flood": // more than the log keeps
		s.large = true
		for range kept + 5 {
			p.publish(s)
		}
	case "join", "recover", "last", "bogus":
		p.join(c, s)
		return
	case "sleep":
		p.sleep(time.Duration(s.n%30) * 5 * time.Second)
	case "close":
		if ch, ok := p.endpoint.Channel(room); ok {
			ch.Close("")
			p.log = new(log)
			for _, c := range p.clients {
				c.end("destroyed")
			}
		}
	}
	if c.session == nil {
		return
	}
	switch s.what {
	case "reset":
		c.session.Reset()
		p.gone(c)
	case "stall":
		if !c.stalled {
			c.session.Stall()
			c.stalled = true
		}
	case "resume":
		c.resume()
	}
	synctest.Wait()
	p.notice()
	if c.member == nil {
		return
	}
	ch, ok := p.endpoint.Channel(room)
	if !ok {
		p.fail("c%d is a member, but there is no channel", c.number)
		return
	}
	switch s.what {
	case "tell":
		p.told++
		if ch.To(c.session.ID()).Broadcast([]string{"told", "handled"}[p.told%2], map[string]int{"told": p.told}) == nil {
			c.member.told = append(c.member.told, note{p.told, p.log.top})
		}
	case "track":
		if ch.Track(c.session.ID(), struct{}{}) == nil { // false if it is tracked already
			c.member.tracked = true
			p.presence()
		}
	case "untrack":
		if ch.Untrack(c.session.ID()) == nil {
			c.member.tracked = false
			p.presence()
		}
	case "again":
		id := c.session.SendJoin(room, nil, pondtest.From(pondtest.Position{Epoch: "x"}, ""))
		synctest.Wait()
		c.member.again = append(c.member.again, again{id, p.log.top})
	case "leave":
		p.untracked(c)
		c.session.SendRaw([]byte(`{"action":"LEAVE_CHANNEL","event":"LEAVE","channelName":"` + room + `","requestId":"leave","payload":{}}`))
		c.end("EXIT_ACKNOWLEDGE")
		p.log.touch()
	case "evict":
		if ch.Evict(c.session.ID(), "model") == nil {
			p.untracked(c)
			c.end("EVICTED")
			p.log.touch()
		}
	}
}

// sleep waits for d, a multiple of 5 s. The server disconnects clients that do not read
// within the first 2 s. The log expires if there are no members for long enough afterwards.
func (p *player) sleep(d time.Duration) {
	const slow = 3 * time.Second
	if d > slow {
		time.Sleep(slow)
		d -= slow
		synctest.Wait()
		p.notice()
	}
	time.Sleep(d)
}

// publish sends a message to all clients except some.
func (p *player) publish(s step) {
	p.expire()
	n := p.log.top + 1
	m := message{offset: n, at: time.Now()}
	body := map[string]any{"n": n}
	if s.large {
		body["text"] = strings.Repeat("x", 3000)
	}
	event := []string{"said", "handled"}[n%2]
	ch, live := p.endpoint.Channel(room)
	var ids []string
	for _, i := range s.except {
		if c := p.clients[i]; live && c.session != nil {
			ids = append(ids, c.session.ID())
		}
	}
	var err error
	if live {
		err = ch.Except(ids...).Broadcast(event, body)
	} else {
		err = p.endpoint.Publish(p.t.Context(), room, event, body)
	}
	if err != nil {
		p.fail("publishing %d: %v", n, err)
	}
	m.except = ids
	p.log.add(m)
	synctest.Wait()
	p.notice()
}

// expire drops old messages, and the log of a channel without members.
func (p *player) expire() {
	for _, c := range p.clients {
		if c.member != nil {
			p.log.expire()
			return
		}
	}
	if p.log.used.IsZero() || time.Since(p.log.used) >= age {
		p.log = new(log)
	}
	p.log.expire()
}

// join connects a client if necessary, and requests to join.
func (p *player) join(c *client, s step) {
	if c.member != nil {
		return
	}
	if c.session != nil && (c.dead || c.stalled) {
		p.gone(c)
	}
	if c.session == nil {
		c.session = p.driver.Connect(c.transport, "/socket")
		synctest.Wait()
	}
	p.expire()
	m := &membership{log: p.log, id: c.session.ID(), former: c.former, start: p.log.top, top: p.log.top, epoch: p.log.epoch}
	opts := []pondtest.JoinOption{pondtest.Want("recover")}
	switch s.what {
	case "recover":
		if c.at.Epoch == "" {
			return
		}
		opts = append(opts, pondtest.From(c.at, c.former))
		m.start, m.reason = p.log.resume(c.at)
		m.asked = true
	case "last":
		opts = append(opts, pondtest.Last(s.n))
		m.start, m.former, m.asked = p.log.last(min(s.n, newcomers)), "", true
	case "bogus":
		at := pondtest.Position{Epoch: "bogus", Offset: 3}
		if s.large && p.log.epoch != "" { // an offset that this log never had
			at = pondtest.Position{Epoch: p.log.epoch, Offset: p.log.top + 1}
		}
		opts = append(opts, pondtest.From(at, c.former))
		m.reason, m.asked = "epoch", true
	default:
		m.former = ""
	}
	if s.n%3 > 0 { // the client is stalled before the answer arrives
		c.session.Stall()
		c.stalled = true
	}
	m.request = c.session.SendJoin(room, nil, opts...)
	p.log.touch()
	c.member = m
	c.members = append(c.members, m)
	synctest.Wait()
}

// presence records that all tracked members are notified of a change.
func (p *player) presence() {
	for _, c := range p.clients {
		if m := c.member; m != nil && m.tracked {
			m.presence = append(m.presence, p.log.top)
		}
	}
}

// untracked records that a client's membership ends.
func (p *player) untracked(c *client) {
	if c.member.tracked {
		c.member.tracked = false
		p.presence()
	}
}

// gone records that a client's connection ended.
func (p *player) gone(c *client) {
	p.take(c)
	c.former = c.session.ID()
	if c.member != nil {
		p.untracked(c)
		p.log.touch()
	}
	c.session, c.member, c.stalled, c.dead = nil, nil, false, false
	c.members = nil
}

// notice finds the clients that the server disconnected. It may disconnect clients that
// do not read.
func (p *player) notice() {
	ch, ok := p.endpoint.Channel(room)
	for _, c := range p.clients {
		if c.member == nil {
			continue
		}
		if ok {
			if _, is := ch.User(c.session.ID()); is {
				continue
			}
		}
		if !c.stalled {
			p.fail("c%d reads, and is not a member any more", c.number)
		}
		p.untracked(c)
		c.dead, c.member = true, nil
		p.log.touch()
	}
}

// finish lets all clients read, and checks that each is up to date.
func (p *player) finish() {
	for _, c := range p.clients {
		if c.session == nil {
			continue
		}
		p.take(c)
		if !c.session.Ended() && len(c.members) > 0 && c.members[0].last != "" {
			p.fail("c%d did not receive %s", c.number, c.members[0].last)
		}
		if m := c.member; m != nil && m.seen != m.log.top && !m.log.hidden(m, m.seen, m.log.top) {
			p.fail("c%d is at %d, the log is at %d", c.number, m.seen, m.log.top)
		}
		if m := c.member; m != nil && len(m.told)+len(m.presence)+len(m.again) > 0 {
			p.fail("c%d did not receive notes %v, changes of presence %v, acknowledgements %v", c.number, m.told, m.presence, m.again)
		}
	}
}

// take checks the messages that a client received.
func (p *player) take(c *client) {
	c.resume()
	for _, m := range c.session.Drain() {
		if m.Channel != room || m.Event == "kicked" || m.Event == "kicked_out" {
			continue
		}
		if len(c.members) == 0 {
			p.fail("c%d is not a member and received %v", c.number, m)
			return
		}
		member := c.members[0]
		if err := member.receive(member.log, m); err != nil {
			p.fail("c%d: %w", c.number, err)
			return
		}
		if member.over {
			c.members = c.members[1:]
		}
	}
	c.at = c.session.Position(room)
}

// A client is one client, over its connections.
type client struct {
	number    int
	transport pondtest.Transport
	session   *pondtest.Session // nil if it is not connected
	stalled   bool
	dead      bool          // the server disconnected it
	member    *membership   // nil if it is not a member
	members   []*membership // of this connection, whose messages were not all checked
	former    string        // its user ID before
	at        pondtest.Position
}

func (c *client) resume() {
	if c.stalled {
		c.session.Resume()
		c.stalled = false
	}
}

func (c *client) end(event string) {
	if c.member != nil {
		c.member.last = event
		c.member = nil
	}
}

func payload[T any](m pondtest.Message) (v T, err error) {
	err = json.Unmarshal(m.Payload, &v)
	return v, err
}
