package cluster_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"sync"
	"time"

	"github.com/pondsocket/pond"
	"github.com/pondsocket/pond/brokertest/memorybroker"
)

const (
	room        = "/chat/1"
	topic       = "socket:" + room // of the room
	nodeTimeout = 2 * time.Second
	kept        = 10000 // messages in the log: all of them
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

	mu     sync.Mutex     // guards the following fields
	here   map[string]int // memberships that began and did not end, by user
	joined map[string]int // memberships that began, by user
	left   map[string]int // calls of the leave handler, by user
	lost   int            // messages that the observer counted as lost
}

// start starts a node.
func (p *player) start(name string) *node {
	n := &node{
		player: p, name: name, broker: p.bus.Broker(name),
		here: map[string]int{}, joined: map[string]int{}, left: map[string]int{},
	}
	var b pond.Broker = tap{n.broker, p}
	if !p.history.logged {
		b = noLog{b}
	}
	n.pond = pond.New(pond.WithLogger(slog.New(slog.DiscardHandler)), pond.WithBroker(b), pond.WithNodeTimeout(nodeTimeout),
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
		}))
	n.endpoint = n.pond.Endpoint("/socket", func(ctx *pond.ConnectionContext) error { return ctx.Accept() },
		pond.WithPingInterval(24*time.Hour))
	var opts []pond.LobbyOption
	if p.history.logged {
		opts = append(opts, pond.WithHistory(pond.History{Messages: kept, Age: time.Hour, Bytes: 64 << 20, Newcomers: kept}))
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
type user struct{ presence, assign string }

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
		all[u.ID] = user{string(u.Presence()), assign}
	}
	if n := ch.Len(); n != len(all) {
		return nil, fmt.Errorf("Len is %d, and Users are %v", n, all)
	}
	return all, nil
}

// noLog hides that a broker has a log.
type noLog struct{ pond.Broker }

// A tap notes which messages the broker took.
type tap struct {
	pond.BrokerLog
	player *player
}

func (b tap) Publish(ctx context.Context, name string, batch [][]byte) error {
	err := b.BrokerLog.Publish(ctx, name, batch)
	b.note(name, batch, err)
	return err
}

func (b tap) Append(ctx context.Context, name string, batch pond.Batch) (pond.Position, error) {
	pos, err := b.BrokerLog.Append(ctx, name, batch)
	b.note(name, batch.Data, err)
	return pos, err
}

func (b tap) note(name string, batch [][]byte, err error) {
	if name != topic || err != nil {
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
	return b.BrokerLog.Subscribe(ctx, name, r)
}

// number returns the number of a message of ours, or 0.
func number(data []byte) int {
	var m struct {
		Event   string
		Payload request
	}
	if json.Unmarshal(data, &m) != nil || m.Event != "said" {
		return 0
	}
	return m.Payload.N
}
