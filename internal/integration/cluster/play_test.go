package cluster_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pondsocket/pond/brokertest/memorybroker"
	"github.com/pondsocket/pond/pondtest"
)

const (
	pause    = 60 * time.Millisecond  // before each step without faults: nodes answer requests for their members in 50 ms
	maxDelay = 100 * time.Millisecond // of faults
)

// A message is one that the application sent.
type message struct {
	n    int
	kind string   // which decides who gets it
	to   []string // users, of the kind "users", or persons
	from string   // the user whose message was handled, or empty
	node *node
	at   time.Time
	here map[string]int // members that were connected to the node
	err  error          // of sending it
	done bool           // err is known
}

// A player performs the steps, and notes what happened.
type player struct {
	t       *testing.T
	history history
	driver  *pondtest.Driver
	bus     *memorybroker.Bus
	nodes   []*node // that run, or ran last
	all     []*node
	clients [clients]*client
	members []*membership
	lines   fault // of the bus
	number  int   // of the last message
	tasks   sync.WaitGroup
	err     error

	faulty   bool // there was a fault
	silence  bool // there was one that the broker does not report
	settling bool // clients do not act any more
	stage    string
	commands map[int]*command

	mu       sync.Mutex // guards the following fields
	messages map[int]*message
	taken    map[int][]time.Time // when the broker confirmed a message
	state    map[string]user     // of members
	servers  map[string]*node    // by name
	mistake  error               // of the broker
}

// play plays a history and checks what came of it.
func play(t *testing.T, h history) (err error) {
	ended := make(chan struct{})
	go func() { // a failed bubble ends its goroutine
		defer close(ended)
		err = errors.New("pondtest failed the test")
		defer func() {
			if v := recover(); v != nil {
				err = fmt.Errorf("%v", v)
			}
		}()
		p := &player{
			history: h, commands: map[int]*command{},
			messages: map[int]*message{}, taken: map[int][]time.Time{}, state: map[string]user{}, servers: map[string]*node{},
		}
		pondtest.Run(t, p, func(t *testing.T, d *pondtest.Driver) {
			p.t, p.driver, p.bus = t, d, memorybroker.New()
			if h.sparse {
				p.bus = memorybroker.New(memorybroker.WithSparseOffsets())
			}
			p.lines.log.epochs = map[string]map[uint64]int{}
			for i := range p.clients {
				p.clients[i] = &client{
					number: i, person: fmt.Sprint("p", i%persons), transport: pondtest.Transports[i%2], recovers: h.logged && i%3 > 0,
				}
			}
			for i := range h.nodes {
				p.nodes = append(p.nodes, nil)
				p.boot(i)
			}
			for i, c := range p.clients[:clients/2] {
				p.join(c, p.nodes[i%len(p.nodes)], step{})
				p.readAll()
			}
			for _, s := range h.steps {
				p.step(s)
				if p.err != nil {
					return
				}
			}
			p.finish()
		})
		if err = p.err; err != nil {
			err = errors.New(p.names().Replace(err.Error()))
		}
	}()
	<-ended
	return err
}

// names replaces the IDs of users by the numbers of clients and of their connections.
func (p *player) names() *strings.Replacer {
	var pairs []string
	seen := map[string]bool{}
	connections := map[*client]int{}
	for _, m := range p.members {
		if !seen[m.id] {
			seen[m.id] = true
			connections[m.client]++
			pairs = append(pairs, m.id, fmt.Sprintf("c%d/%d", m.client.number, connections[m.client]))
		}
	}
	return strings.NewReplacer(pairs...)
}

func (p *player) fail(format string, args ...any) {
	if p.err == nil {
		p.err = fmt.Errorf(format, args...)
	}
}

// ServeHTTP serves the node that the path begins with.
func (p *player) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	name, _, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	p.mu.Lock()
	n := p.servers[name]
	p.mu.Unlock()
	http.StripPrefix("/"+name, n.pond).ServeHTTP(w, r)
}

// Shutdown shuts down all nodes that run.
func (p *player) Shutdown(ctx context.Context) error {
	var errs []error
	for _, n := range p.nodes {
		if !n.dead {
			errs = append(errs, n.pond.Shutdown(ctx))
		}
	}
	p.tasks.Wait()
	return errors.Join(errs...)
}

// boot starts the node in a place.
func (p *player) boot(i int) {
	n := p.start(fmt.Sprintf("%c%d", 'a'+i, len(p.all)))
	p.nodes[i] = n
	p.all = append(p.all, n)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.servers[n.name] = n
}

// sent notes what the application sent, and later, that the result is known.
func (p *player) sent(m *message) {
	p.mu.Lock()
	defer p.mu.Unlock()
	m.done = true
	p.messages[m.n] = m
}

// set notes a change of a user.
func (p *player) set(id, event string, payload []byte, err error) {
	if err != nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	u := p.state[id]
	switch event {
	case "track", "update":
		u.presence = string(payload)
	case "untrack":
		u.presence = ""
	case "assign":
		u.assign = string(payload)
	}
	p.state[id] = u
}

func (p *player) step(s step) {
	if p.faulty {
		time.Sleep(time.Duration(1+s.n%50*s.n%50) * time.Millisecond)
	} else {
		time.Sleep(pause)
	}
	p.readAll()
	i := s.node % len(p.nodes)
	if p.fault(s, i) {
		p.readAll()
		return
	}
	c := p.clients[s.client]
	switch n := p.nodes[i]; s.what {
	case "start":
		if n.dead {
			p.boot(i)
		}
	case "stop":
		if p.alive() > 1 && !n.dead {
			n.dead = true
			p.shutdown(n)
		}
	case "wait":
		time.Sleep(time.Duration(s.n) * 10 * time.Millisecond)
	case "rest":
		time.Sleep(time.Duration(s.n) * time.Second)
	case "channel", "publish":
		if !n.dead {
			p.send(n, s.what)
		}
	case "evict", "evict person", "destroy", "disconnect", "disconnect person":
		p.command(s, n, c)
	case "join":
		p.join(c, n, s)
	case "burst": // several members speak, so that messages are in flight together
		for i := range s.n%5 + 2 {
			p.act(p.clients[(s.client+i)%clients], step{what: []string{"say", "others", "people", "users"}[(s.n+i)%4], others: s.others})
			time.Sleep(time.Duration(i*s.node) * time.Millisecond)
			p.readAll()
		}
	default:
		p.act(c, s)
	}
	p.readAll()
	if !p.faulty {
		time.Sleep(pause)
		p.readAll()
		p.checkUsers(nil)
	}
}

func (p *player) readAll() {
	synctest.Wait()
	for _, c := range p.clients {
		p.read(c)
	}
}

// pass lets time pass.
func (p *player) pass(d time.Duration) {
	time.Sleep(d)
	p.readAll()
}

func (p *player) alive() (alive int) {
	for _, n := range p.nodes {
		if !n.dead {
			alive++
		}
	}
	return alive
}

// shutdown shuts down a node in the background.
func (p *player) shutdown(n *node) {
	p.tasks.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		_ = n.pond.Shutdown(ctx) // a broker without a connection may not close
	})
}

// send sends a message of the application.
func (p *player) send(n *node, kind string) {
	p.number++
	m := &message{n: p.number, kind: kind, node: n, at: time.Now(), here: n.members()}
	payload := request{N: p.number}
	if kind == "channel" {
		ch, ok := n.endpoint.Channel(room)
		if !ok {
			return
		}
		m.err = ch.Broadcast("said", payload)
		p.sent(m)
		return
	}
	p.mu.Lock()
	p.messages[m.n] = m
	p.mu.Unlock()
	p.tasks.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		err := n.endpoint.Publish(ctx, room, "said", payload)
		p.mu.Lock()
		defer p.mu.Unlock()
		m.done, m.err = true, err
	})
}

// join connects a client if necessary, and requests to join.
func (p *player) join(c *client, n *node, s step) {
	if c.member != nil || n.dead {
		return
	}
	if c.session == nil {
		c.session, c.node = p.driver.Connect(c.transport, "/"+n.name+"/socket?person="+c.person), n
	}
	m := &membership{client: c, id: c.session.ID(), node: c.node, asked: time.Now()}
	var opts []pondtest.JoinOption
	if c.recovers {
		opts = append(opts, pondtest.Want("recover"))
		switch {
		case s.n%3 > 0 && c.at.Epoch != "":
			m.from, m.former = c.at, c.former
			opts = append(opts, pondtest.From(c.at, c.former))
		case s.n%9 == 0:
			opts = append(opts, pondtest.Last(s.n))
		}
	}
	p.mu.Lock()
	delete(p.state, m.id)
	p.mu.Unlock()
	c.member = m
	p.members = append(p.members, m)
	m.request = c.session.SendJoin(room, nil, opts...)
}

// act is something that a member does.
func (p *player) act(c *client, s step) {
	if c.session == nil {
		return
	}
	switch s.what {
	case "close":
		c.closes = true
		c.session.Close()
		p.readAll()
		p.gone(c)
		return
	case "reset":
		c.closes = true
		c.session.Reset()
		p.readAll()
		p.gone(c)
		return
	}
	if c.member == nil || c.member.acked.IsZero() || c.member.leaving {
		return
	}
	switch s.what {
	case "leave":
		c.member.leaving = true
		c.session.SendRaw([]byte(`{"action":"LEAVE_CHANNEL","event":"LEAVE","channelName":"` + room + `","requestId":"leave","payload":{}}`))
	case "say", "others", "users", "people":
		p.number++
		r := request{N: p.number}
		for _, i := range s.others {
			switch other := p.clients[i]; {
			case s.what == "people":
				r.To = append(r.To, other.person)
			case s.what == "users" && other.session != nil:
				r.To = append(r.To, other.session.ID())
			}
		}
		c.session.Send(room, s.what, r)
	case "track", "update", "untrack", "assign":
		p.number++
		c.session.Send(room, s.what, request{N: p.number})
	}
}

// finish ends all faults, and checks everything.
func (p *player) finish() {
	p.settling = true
	p.pass(p.history.rest)
	p.endFaults()
	for _, n := range p.nodes {
		_ = n.pond.Degraded() // a node that was not used starts now
	}
	p.settle()
	if p.history.mute && p.err == nil {
		p.mute()
	}
	time.Sleep(time.Minute) // messages that are being sent, and nodes that are being shut down
	p.readAll()
	p.snapshot()
	if p.mistake != nil {
		p.fail("%w", p.mistake)
	}
	p.checkUsers(nil)
	p.checkCommands()
	p.checkMessages()
	p.checkLost()
	if p.history.logged {
		p.checkLog()
	}
	for _, c := range p.clients {
		if c.session != nil {
			c.session.Close()
		}
	}
	synctest.Wait()
	p.checkLeft()
}

// users returns the members as they should be, and how many of them are on a node.
func (p *player) users() (all map[string]user, on map[*node]int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	all, on = map[string]user{}, map[*node]int{}
	for _, c := range p.clients {
		if c.member != nil && !c.member.acked.IsZero() {
			u := p.state[c.member.id]
			u.person = c.person
			all[c.member.id] = u
			on[c.node]++
		}
	}
	return all, on
}

// sentSoFar returns the messages.
func (p *player) sentSoFar() map[int]*message {
	p.mu.Lock()
	defer p.mu.Unlock()
	return maps.Clone(p.messages)
}

// takenSoFar returns when the broker confirmed messages.
func (p *player) takenSoFar() map[int][]time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	return maps.Clone(p.taken)
}
