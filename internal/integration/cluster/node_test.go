package cluster_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pondsocket/pond"
	"github.com/pondsocket/pond/brokertest/memorybroker"
)

const (
	room    = "/chat/1"
	topic   = "socket:" + room     // of the room
	control = "socket:__control__" // of commands about connections
)

// A node is one run of a server of the cluster.
type node struct {
	player   *player
	name     string // unique for each run
	pond     *pond.Pond
	endpoint *pond.Endpoint
	broker   *memorybroker.Broker
	dead     bool // it crashed or was stopped
	cut      bool // its broker is disconnected

	muted       atomic.Bool  // what it publishes is lost, and it does not know
	unconfirmed atomic.Int32 // how many messages to the broker seem to fail
	channel     *pond.Channel
	kept        map[string]user // members on other nodes when the connection was lost

	mu     sync.Mutex     // guards the following fields
	here   map[string]int // memberships that began and did not end, by user
	joined map[string]int // memberships that began, by user
	left   map[string]int // calls of the leave handler, by user
	lost   int            // messages that the observer counted as lost
	missed int            // and as missed

	controls time.Time // when it subscribed to commands about connections
}

// start starts a node.
func (p *player) start(name string) *node {
	n := &node{
		player: p, name: name, broker: p.bus.Broker(name),
		here: map[string]int{}, joined: map[string]int{}, left: map[string]int{},
	}
	var b pond.Broker = tap{n.broker, p, n}
	if !p.history.logged {
		b = noLog{b}
	}
	n.pond = pond.New(pond.WithLogger(slog.New(slog.DiscardHandler)), pond.WithBroker(b), pond.WithNodeTimeout(p.history.timeout),
		pond.WithObserver(&pond.Observer{
			Joined: func(_ *pond.Channel, u pond.User) {
				n.mu.Lock()
				defer n.mu.Unlock()
				n.here[u.ID]++
				n.joined[u.ID]++
			},
			Left: func(_ *pond.Channel, u pond.User, _ pond.LeaveReason) {
				n.mu.Lock()
				defer n.mu.Unlock()
				if n.here[u.ID]--; n.here[u.ID] == 0 {
					delete(n.here, u.ID)
				}
			},
			Lost: func(_ *pond.Pond, messages int, _ error) {
				n.mu.Lock()
				defer n.mu.Unlock()
				n.lost += messages
			},
			Missed: func(_ *pond.Pond, messages int) {
				n.mu.Lock()
				defer n.mu.Unlock()
				n.missed += messages
			},
		}))
	n.endpoint = n.pond.Endpoint("/socket", func(ctx *pond.ConnectionContext) error {
		if err := ctx.Identify(ctx.Query().Get("person")); err != nil {
			return err
		}
		return ctx.Accept()
	},
		pond.WithPingInterval(24*time.Hour))
	var opts []pond.LobbyOption
	if p.history.logged {
		opts = append(opts, pond.WithHistory(pond.History{Messages: p.history.kept, Age: time.Hour, Bytes: 64 << 20, Newcomers: all}))
	}
	n.handle(n.endpoint.Lobby("/chat/:room", func(ctx *pond.JoinContext) error { return ctx.Accept() }, opts...))
	return n
}

// A request is what a client wants to have sent.
type request struct {
	N  int      `json:"n"` // unique
	To []string `json:"to,omitempty"`
}

func (n *node) handle(l *pond.Lobby) {
	p := n.player
	l.OnLeave(func(ctx *pond.LeaveContext) error {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.left[ctx.User().ID]++
		return nil
	})
	say := func(to func(*pond.EventContext, request) pond.Audience) pond.Handler[*pond.EventContext] {
		return func(ctx *pond.EventContext) error {
			var r request
			if err := ctx.Bind(&r); err != nil {
				return err
			}
			m := &message{n: r.N, kind: ctx.Event(), to: r.To, from: ctx.User().ID, node: n, at: time.Now(), here: n.members()}
			m.err = to(ctx, r).Broadcast("said", request{N: r.N})
			p.sent(m)
			return m.err
		}
	}
	l.OnMessage("say", say(func(ctx *pond.EventContext, _ request) pond.Audience { return ctx.Channel().Except() }))
	l.OnMessage("others", say(func(ctx *pond.EventContext, _ request) pond.Audience { return ctx.Others() }))
	l.OnMessage("users", say(func(ctx *pond.EventContext, r request) pond.Audience { return ctx.Channel().To(r.To...) }))
	l.OnMessage("people", say(func(ctx *pond.EventContext, r request) pond.Audience { return ctx.Channel().ToIdentity(r.To...) }))
	set := func(f func(ctx *pond.EventContext) error) pond.Handler[*pond.EventContext] {
		return func(ctx *pond.EventContext) error {
			err := f(ctx)
			p.set(ctx.User().ID, ctx.Event(), ctx.Payload(), err)
			return nil // an invalid change is none
		}
	}
	l.OnMessage("track", set(func(ctx *pond.EventContext) error { return ctx.Track(ctx.Payload()) }))
	l.OnMessage("update", set(func(ctx *pond.EventContext) error { return ctx.Update(ctx.Payload()) }))
	l.OnMessage("untrack", set(func(ctx *pond.EventContext) error { return ctx.Untrack() }))
	l.OnMessage("assign", set(func(ctx *pond.EventContext) error { return ctx.Assign("key", ctx.Payload()) }))
}

// members returns the members that are connected to the node.
func (n *node) members() map[string]int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return maps.Clone(n.here)
}

// A user is how a node shows one.
type user struct{ presence, assign, person string }

// shown returns the users that a node shows, or nil if it has no member.
func (n *node) shown() (map[string]user, error) {
	ch, ok := n.endpoint.Channel(room)
	if !ok {
		return nil, nil //nolint:nilnil // no channel
	}
	all := map[string]user{}
	for u := range ch.Users() {
		var assign string
		if v := u.Get("key"); v != nil {
			data, err := json.Marshal(v)
			if err != nil {
				return nil, err
			}
			assign = string(data)
		}
		all[u.ID] = user{string(u.Presence()), assign, u.Identity()}
	}
	if n := ch.Len(); n != len(all) {
		return nil, fmt.Errorf("Len is %d, and Users are %v", n, all)
	}
	return all, nil
}

// noLog hides that a broker has a log.
type noLog struct{ pond.Broker }

// A tap notes which messages the broker took, and the entries of logs that it delivered.
type tap struct {
	pond.BrokerLog
	player *player
	node   *node
}

func (b tap) Publish(ctx context.Context, name string, batch [][]byte) error {
	if b.node.muted.Load() {
		return nil
	}
	err := b.confirm(name, b.BrokerLog.Publish(ctx, name, batch))
	b.note(name, batch, err)
	return err
}

func (b tap) Append(ctx context.Context, name string, batch pond.Batch) (pond.Position, error) {
	pos, err := b.BrokerLog.Append(ctx, name, batch)
	err = b.confirm(name, err)
	b.note(name, batch.Data, err)
	return pos, err
}

var errUnconfirmed = errors.New("the response was lost")

// confirm loses the response to a message, if a step said so.
func (b tap) confirm(name string, err error) error {
	if err == nil && (name == topic || name == control) && b.node.unconfirmed.Load() > 0 {
		b.node.unconfirmed.Add(-1)
		return errUnconfirmed
	}
	return err
}

func (b tap) note(name string, batch [][]byte, err error) {
	if name != topic && name != control || err != nil {
		return
	}
	p := b.player
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, data := range batch {
		if n := number(data); n > 0 {
			p.taken[n] = append(p.taken[n], time.Now())
		}
	}
}

func (b tap) Subscribe(ctx context.Context, name string, r pond.Receiver) (io.Closer, error) {
	if name == topic && b.player.history.logged {
		r = recorder{r, b.player}
	}
	c, err := b.BrokerLog.Subscribe(ctx, name, r)
	if name == control && err == nil {
		b.node.mu.Lock()
		defer b.node.mu.Unlock()
		b.node.controls = time.Now()
	}
	return c, err
}

func (b tap) Open(ctx context.Context, name string, keep pond.Retention) (pond.Position, error) {
	pos, err := b.BrokerLog.Open(ctx, name, keep)
	if err == nil {
		b.player.record(pos)
	}
	return pos, err
}

func (b tap) Since(ctx context.Context, name string, from pond.Position, limit int) (pond.Page, error) {
	page, err := b.BrokerLog.Since(ctx, name, from, limit)
	b.player.record(page.Top, page.Entries...)
	return page, err
}

// A recorder notes the entries that a receiver gets.
type recorder struct {
	pond.Receiver
	player *player
}

func (r recorder) Receive(e pond.Entry) {
	r.player.record(e.Pos, e)
	r.Receiver.Receive(e)
}

// number returns the number of a message or a command of ours, or 0.
func number(data []byte) (n int) {
	var m struct {
		Event, Reason string
		Payload       request
	}
	switch {
	case json.Unmarshal(data, &m) != nil:
	case m.Event == "said":
		return m.Payload.N
	case m.Reason != "":
		_, _ = fmt.Sscanf(m.Reason, reasonPrefix+"%d", &n) // or it is not a command
	}
	return n
}
