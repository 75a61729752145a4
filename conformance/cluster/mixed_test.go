package cluster_test

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/pondsocket/pond"
	"github.com/pondsocket/pond/internal/testserver"
	"github.com/pondsocket/pond/redisbroker"
)

// startPond starts a node with the handlers of node.py, and returns its address. It ends
// with the test, or when shutdown is called.
func startPond(t *testing.T, redis *testserver.Server, nodeTimeout time.Duration, opts ...pond.LobbyOption) (addr string, shutdown func()) {
	t.Helper()
	logger := slog.New(slog.DiscardHandler)
	b, err := redisbroker.New("redis://"+redis.Addr, redisbroker.WithLogger(logger))
	if err != nil {
		t.Fatal(err)
	}
	p := pond.New(pond.WithBroker(b), pond.WithNodeTimeout(nodeTimeout), pond.WithLogger(logger))
	l := p.Endpoint("/socket", func(ctx *pond.ConnectionContext) error { return ctx.Accept() }).Lobby("/chat/:room", enter, opts...)
	for event, h := range map[string]pond.Handler[*pond.EventContext]{
		"say":    func(ctx *pond.EventContext) error { return ctx.Broadcast("said", ctx.Payload()) },
		"others": func(ctx *pond.EventContext) error { return ctx.Others().Broadcast("said", ctx.Payload()) },
		"status": func(ctx *pond.EventContext) error { return ctx.Update(ctx.Payload()) },
		"hide":   func(ctx *pond.EventContext) error { return ctx.Untrack() },
		"who":    who,
	} {
		l.OnMessage(event, h)
	}
	pond.On(l, whispered, func(ctx *pond.EventContext, w whisper) error {
		return ctx.Channel().To(w.To...).Broadcast("said", text(w.Text))
	})
	pond.On(l, assigned, func(ctx *pond.EventContext, assigns map[string]any) error {
		for key, value := range assigns {
			ctx.Assign(key, value)
		}
		return nil
	})
	pond.On(l, evicted, func(ctx *pond.EventContext, e eviction) error { return ctx.Channel().Evict(e.ID, e.Reason) })
	srv := httptest.NewServer(p)
	shutdown = sync.OnceFunc(func() {
		ctx, cancel := context.WithTimeout(context.Background(), timeout)
		defer cancel()
		if err := p.Shutdown(ctx); err != nil {
			t.Error(err)
		}
		srv.Close()
	})
	t.Cleanup(shutdown)
	eventually(t, "the connection to the cluster", func() bool { return p.Degraded() == nil })
	return srv.Listener.Addr().String(), shutdown
}

const (
	whispered pond.Event[whisper]        = "whisper"
	assigned  pond.Event[map[string]any] = "assign"
	evicted   pond.Event[eviction]       = "evict"
)

type whisper struct {
	Text string   `json:"text"`
	To   []string `json:"to"`
}

type eviction struct {
	ID     string `json:"id"`
	Reason string `json:"reason"`
}

func enter(ctx *pond.JoinContext) error {
	var params struct {
		Role   string `json:"role"`
		Status string `json:"status"`
	}
	if err := ctx.Bind(&params); err != nil {
		return err
	}
	if params.Role == "" {
		params.Role = "guest"
	}
	ctx.Assign("role", params.Role)
	if err := ctx.Accept(); err != nil || params.Status == "" {
		return err
	}
	return ctx.Track(map[string]string{"status": params.Status})
}

// who tells what the node knows of all members, on all nodes.
func who(ctx *pond.EventContext) error {
	presence, assigns := map[string]json.RawMessage{}, map[string]any{}
	for u := range ctx.Channel().Users() {
		assigns[u.ID] = u.Assigns()
		if p := u.Presence(); p != nil {
			presence[u.ID] = p
		}
	}
	return ctx.Reply("known", map[string]any{"presence": presence, "assigns": assigns})
}

// A node of ours and one in Python are one cluster, in both directions.
func TestMixedCluster(t *testing.T) {
	interpreter(t)
	for name, opts := range map[string][]pond.LobbyOption{
		"without history": nil,
		"with history":    {pond.WithHistory(pond.History{})}, // our messages have a position, and theirs have none
	} {
		t.Run(name, func(t *testing.T) {
			redis := startRedis(t)
			ours, _ := startPond(t, redis, time.Minute, opts...)
			theirs, _ := startPython(t, redis, time.Minute)
			t.Run("ours first", func(t *testing.T) { mixed(t, "/chat/1", ours, theirs) })
			t.Run("theirs first", func(t *testing.T) { mixed(t, "/chat/2", theirs, ours) })
		})
	}
}

// mixed lets ann at one node and bob at another one do everything that a node may have to
// tell the other one.
func mixed(t *testing.T, channel, first, second string) {
	t.Helper()
	ann := join(t, first, channel, map[string]any{"role": "admin", "status": "online"})
	bob := join(t, second, channel, map[string]any{"status": "here"}) // later
	annIs, bobIs := known{`{"role":"admin"}`, `{"status":"online"}`}, known{`{"role":"guest"}`, `{"status":"here"}`}
	for _, m := range []*member{ann, bob} {
		m.awaitKnown(ann.id(), annIs)
		m.awaitKnown(bob.id(), bobIs)
	}

	// Recipients in each form, from both nodes. With a history, messages to named users can
	// overtake others.
	ann.send("say", text("ann to all"))
	ann.send("others", text("ann to others"))
	bob.hears("ann to all", "ann to others")
	ann.send("whisper", map[string]any{"text": "ann to bob", "to": []string{bob.id()}})
	bob.hears("ann to all", "ann to others", "ann to bob")
	bob.send("say", text("bob to all"))
	bob.hears("ann to all", "ann to others", "ann to bob", "bob to all")
	bob.send("others", text("bob to others"))
	ann.hears("ann to all", "bob to all", "bob to others")
	bob.send("whisper", map[string]any{"text": "bob to both", "to": []string{ann.id(), bob.id()}})
	ann.hears("ann to all", "bob to all", "bob to others", "bob to both")
	bob.hears("ann to all", "ann to others", "ann to bob", "bob to all", "bob to both")

	// Presence and assigns.
	for m, other := range map[*member]*member{ann: bob, bob: ann} {
		m.send("status", map[string]string{"status": "busy"})
		m.send("assign", map[string]any{"role": "owner"})
		other.awaitKnown(m.id(), known{`{"role":"owner"}`, `{"status":"busy"}`})
		m.send("hide", nil)
		other.awaitKnown(m.id(), known{Assigns: `{"role":"owner"}`})
	}

	// One who is new, and who leaves.
	cid := join(t, first, channel, nil)
	bob.awaitKnown(cid.id(), known{Assigns: `{"role":"guest"}`})
	cid.awaitKnown(bob.id(), known{Assigns: `{"role":"owner"}`})
	if err := cid.Leave(limited(t)); err != nil {
		t.Error(err)
	}
	bob.awaitUnknown(cid.id())

	// Evictions of members of the other node.
	dee := join(t, second, channel, nil)
	ann.awaitKnown(dee.id(), known{Assigns: `{"role":"guest"}`})
	ann.send("evict", map[string]string{"id": dee.id(), "reason": "spam"})
	eventually(t, "the end of dee", func() bool { return dee.ended() != nil })
	ann.awaitUnknown(dee.id())
	bob.awaitUnknown(dee.id())
	bob.send("evict", map[string]string{"id": ann.id(), "reason": "spam"})
	eventually(t, "the end of ann", func() bool { return ann.ended() != nil })
	bob.awaitUnknown(ann.id())
}

// A cluster of both gets over a restart of Redis, a Redis that does nothing for so long
// that the node in Python takes ours for dead, the death of a node and the shutdown of
// another one.
func TestMixedClusterFailures(t *testing.T) {
	interpreter(t)
	const nodeTimeout = 3 * time.Second
	redis := startRedis(t)
	ours, shutdown := startPond(t, redis, nodeTimeout)
	theirs, kill := startPython(t, redis, nodeTimeout)
	ann, bob := join(t, theirs, room, map[string]any{"status": "online"}), join(t, ours, room, nil)
	annIs, bobIs := known{`{"role":"guest"}`, `{"status":"online"}`}, known{Assigns: `{"role":"guest"}`}
	bob.awaitKnown(ann.id(), annIs)
	ann.awaitKnown(bob.id(), bobIs)

	redis.Restart()
	began := time.Now()
	reaches(t, ann, bob)
	reaches(t, bob, ann)
	bob.awaitKnown(ann.id(), annIs)
	ann.awaitKnown(bob.id(), bobIs)
	t.Logf("after the restart of Redis: %v", time.Since(began).Round(time.Millisecond))

	resume := redis.Stop()
	ann.awaitUnknown(bob.id())
	resume()
	began = time.Now()
	ann.awaitKnown(bob.id(), bobIs)
	bob.awaitKnown(ann.id(), annIs)
	reaches(t, ann, bob)
	reaches(t, bob, ann)
	t.Logf("after a pause of Redis: %v", time.Since(began).Round(time.Millisecond))

	kill()
	began = time.Now()
	bob.awaitUnknown(ann.id())
	t.Logf("after the death of a node with a timeout of %v: %v", nodeTimeout, time.Since(began).Round(time.Millisecond))

	theirs, _ = startPython(t, redis, time.Minute)
	cid := join(t, theirs, room, nil)
	cid.awaitKnown(bob.id(), bobIs)
	began = time.Now()
	shutdown()
	cid.awaitUnknown(bob.id())
	t.Logf("after a shutdown: %v", time.Since(began).Round(time.Millisecond))
}

// reaches waits until messages of one member arrive at another one.
func reaches(t *testing.T, from, to *member) {
	t.Helper()
	eventually(t, "a message", func() bool {
		from.send("say", text("from "+from.id()))
		<-time.After(10 * time.Millisecond)
		return slices.Contains(to.texts(), "from "+from.id())
	})
}
