package pond

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pondsocket/pond/pondtest"
)

// An identityIndex is equal to the lists of a simple program, and stores nothing of
// removed members.
func TestIdentityIndex(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var x identityIndex[*conn]
	model := map[string][]*conn{}
	conns := make([]*conn, 300)
	for i := range conns {
		conns[i] = &conn{}
		if n := r.IntN(10); n > 0 { // some have no identity, and the last one has many
			conns[i].identity = strconv.Itoa(min(n, 4))
		}
	}
	for range 20_000 {
		c := conns[r.IntN(len(conns))]
		i := slices.Index(model[c.identity], c)
		if i < 0 && c.identity != "" {
			x.add(c)
			model[c.identity] = append(model[c.identity], c)
		} else {
			x.remove(c)
			if i >= 0 {
				model[c.identity] = slices.Delete(model[c.identity], i, i+1)
			}
		}
		for identity, want := range model {
			if len(x[identity]) != len(want) {
				t.Fatalf("%d of %q, want %d", len(x[identity]), identity, len(want))
			}
		}
		for _, found := range x[c.identity] {
			if !slices.Contains(model[c.identity], found) {
				t.Fatalf("%q has one that was removed", c.identity)
			}
		}
	}
	for _, c := range conns {
		x.add(&conn{}) // without identity
		x.remove(c)
	}
	if len(x) != 0 {
		t.Errorf("%d identities are left", len(x))
	}
}

// What is kept of persons goes with them, in whatever order their clients come and go. A
// grace whose time is over does nothing if a client returned just before it could run.
func TestNothingStaysOfPersons(t *testing.T) {
	var out atomic.Int32
	p := New(WithLogger(slog.New(slog.DiscardHandler)))
	e := p.Endpoint("/socket", func(ctx *ConnectionContext) error {
		return errors.Join(ctx.Identify(ctx.Query().Get("who")), ctx.Accept())
	}, WithMaxConnsPerIdentity(100))
	l := e.Lobby("/chat/:room", func(ctx *JoinContext) error { return ctx.Accept() },
		WithLeaveGrace(time.Second), WithHistory(History{}))
	l.OnIdentityLeave(func(*LeaveContext) error { out.Add(1); return nil })
	pondtest.Run(t, p, func(t *testing.T, d *pondtest.Driver) {
		enter := func(who string) *pondtest.Session {
			s := d.Connect(pondtest.WebSocket, "/socket?who="+who)
			s.Join("/chat/1", nil)
			return s
		}
		count := func(want string) {
			t.Helper()
			synctest.Wait()
			ch, refs := e.registry.find("/chat/1"), 0
			ch.persons.mu.Lock()
			for _, p := range ch.persons.byIdentity {
				refs += p.refs
			}
			persons := len(ch.persons.byIdentity)
			ch.persons.mu.Unlock()
			e.mu.Lock()
			slots := len(e.perIdentity)
			e.mu.Unlock()
			e.graces.mu.Lock()
			graces, n := len(e.graces.byIdentity), e.graces.n[false]+e.graces.n[true]
			e.graces.mu.Unlock()
			e.registry.mu.Lock()
			channelRefs := ch.refs
			e.registry.mu.Unlock()
			got := fmt.Sprintf("%d persons with %d references, %d graces of %d, %d references to the channel, %d with slots, %d out",
				persons, refs, n, graces, channelRefs, slots, out.Load())
			if got != want {
				t.Errorf("%s\nwant %s", got, want)
			}
		}
		one, two, bob := enter("ann"), enter("ann"), enter("bob")
		count("2 persons with 3 references, 0 graces of 0, 3 references to the channel, 2 with slots, 0 out")
		one.Close()
		two.Close()
		count("2 persons with 2 references, 1 graces of 1, 2 references to the channel, 1 with slots, 0 out")
		three := enter("ann")
		count("2 persons with 2 references, 0 graces of 0, 2 references to the channel, 2 with slots, 0 out")
		three.Close()
		bob.Close()
		count("2 persons with 2 references, 2 graces of 2, 2 references to the channel, 0 with slots, 0 out")
		time.Sleep(time.Second)
		count("0 persons with 0 references, 0 graces of 0, 0 references to the channel, 0 with slots, 2 out")

		enter("ann").Close()
		synctest.Wait()
		g := e.registry.find("/chat/1").persons.byIdentity["ann"].grace
		if !e.graces.claim(g) || e.graces.claim(g) || e.graces.remove(g) {
			t.Error("a grace can be claimed once")
		}
		four := enter("ann")
		g.run()
		count("1 persons with 1 references, 0 graces of 0, 1 references to the channel, 1 with slots, 2 out")
		four.Leave("/chat/1")
		count("0 persons with 0 references, 0 graces of 0, 0 references to the channel, 1 with slots, 3 out")
	})
}

// An idleBroker does nothing.
type idleBroker struct{}

func (idleBroker) Publish(context.Context, string, [][]byte) error { return nil }
func (idleBroker) Subscribe(context.Context, string, Receiver) (io.Closer, error) {
	return io.NopCloser(nil), nil
}
func (idleBroker) MaxBytes() int               { return 1 << 20 }
func (idleBroker) Health() error               { return nil }
func (idleBroker) Close(context.Context) error { return nil }

// Requests for one stream of another node that begin, read their bodies and end at the same
// time do not block each other.
func TestRemoteTurnsAtOnce(t *testing.T) {
	e := New(WithBroker(idleBroker{})).Endpoint("/socket", func(*ConnectionContext) error { return nil })
	done := make(chan struct{})
	go func() {
		defer close(done)
		var tasks sync.WaitGroup
		for range 4 {
			tasks.Go(func() {
				for range 20_000 {
					s, turn := e.takeRemoteTurn("secret.mark.mac")
					if turn != nil {
						turn.reserve(1, 1<<20)
						turn.end()
					}
					s.release()
				}
			})
		}
		tasks.Wait()
	}()
	select {
	case <-done:
	case <-time.After(time.Minute):
		t.Fatal("the requests block each other")
	}
	if b := &e.forwards; b.requests != 0 || b.bytes.Load() != 0 || len(b.streams) != 0 {
		t.Errorf("%d requests, %d bytes and %d streams are left", b.requests, b.bytes.Load(), len(b.streams))
	}
}
