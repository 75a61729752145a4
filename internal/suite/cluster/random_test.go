package cluster_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/pondsocket/pond/brokertest/memorybroker"
	"github.com/pondsocket/pond/pondtest"
)

// A walk does things at random to a cluster.
type walk struct {
	*cluster
	random  *rand.Rand
	servers []*server
	clients []*pondtest.Session
	sent    int
	logged  bool
	paused  bool
}

// After a random history of joins, leaves, evictions, presence, stops of nodes and faults
// of the broker, all nodes soon see exactly the clients that are connected, with their
// presence. No client gets a message twice, and those of a sender are in order. With a log,
// all clients get the same messages in the same order, and none is missing.
func TestRandomHistories(t *testing.T) {
	for _, withLog := range []bool{false, true} {
		for seed := range uint64(25) {
			t.Run(fmt.Sprintf("log %v/seed %d", withLog, seed), func(t *testing.T) {
				var configure []func(*cluster)
				if withLog {
					configure = append(configure, withHistory)
				}
				runOne(t, 3, pondtest.WebSocket, func(_ *testing.T, c *cluster, s []*server) {
					w := &walk{cluster: c, random: rand.New(rand.NewPCG(seed, 1)), servers: s, logged: withLog}
					for range 80 {
						w.step()
					}
					w.check()
				}, configure...)
			})
		}
	}
}

func (w *walk) pick() *server { return w.servers[w.random.IntN(len(w.servers))] }

func (w *walk) step() {
	time.Sleep(time.Duration(w.random.IntN(400)) * time.Millisecond)
	switch n := w.random.IntN(21); {
	case n < 5 && len(w.clients) < 10:
		client := w.connect(w.pick())
		w.clients = append(w.clients, client)
		client.SendJoin(room, nil, pondtest.Want("recover"))
	case n < 9 && len(w.clients) > 0:
		client := w.clients[w.random.IntN(len(w.clients))]
		if client.Ended() {
			return
		}
		w.sent++
		client.Send(room, "say", json.RawMessage(fmt.Sprintf(`{"n":%d,"from":%q}`, w.sent, client.ID())))
		client.Send(room, []string{"track", "update", "untrack"}[w.random.IntN(3)], json.RawMessage(fmt.Sprintf(`{"n":%d}`, w.sent)))
	case n < 11 && len(w.clients) > 0:
		i := w.random.IntN(len(w.clients))
		w.clients[i].Close()
		w.clients = slices.Delete(w.clients, i, i+1)
	case n == 11:
		s := w.pick()
		if ch, ok := s.endpoint.Channel(room); ok {
			for u := range ch.Users() {
				_ = ch.Evict(u.ID, "at random")
				break
			}
		}
	case n == 12:
		w.bus.Partition([]string{"a"}, []string{"b", "c"})
	case n == 13:
		w.bus.Heal()
	case n == 14:
		w.pick().broker.Disconnect()
	case n == 15:
		w.pick().broker.Connect()
	case n == 16 && !w.paused:
		w.bus.Pause()
		w.paused = true
	case n == 17 && w.paused:
		w.bus.Resume()
		w.paused = false
	case n == 18:
		w.bus.SetFaults(memorybroker.Faults{
			Drop: w.random.Float64() / 3, Fail: w.random.Float64() / 3, TimeOut: w.random.Float64() / 3,
			Duplicate: w.random.Float64() / 3, MaxDelay: time.Duration(w.random.IntN(100)) * time.Millisecond,
		})
	case n == 19:
		w.bus.SetFaults(memorybroker.Faults{})
	case n == 20:
		i := w.random.IntN(len(w.servers))
		name := w.servers[i].name
		w.stop(w.servers[i])
		w.servers[i] = w.start(name)
		w.clients = slices.DeleteFunc(w.clients, func(client *pondtest.Session) bool { return client.Ended() })
	}
}

func (w *walk) check() {
	t := w.t
	if w.paused {
		w.bus.Resume()
	}
	w.bus.Heal()
	w.bus.SetFaults(memorybroker.Faults{})
	for _, s := range w.servers {
		s.broker.Connect()
	}
	w.pass(10 * time.Second) // joins and lanes that wait
	want := map[string]string{}
	for _, s := range w.servers {
		ch, ok := s.endpoint.Channel(room)
		if !ok {
			continue
		}
		for u := range ch.Users() {
			for _, client := range w.clients {
				if client.ID() == u.ID && s.hosts(u.ID) {
					want[u.ID] = string(u.Presence())
				}
			}
		}
	}
	for _, s := range w.servers {
		ch, ok := s.endpoint.Channel(room)
		if !ok {
			continue
		}
		got := map[string]string{}
		for u := range ch.Users() {
			got[u.ID] = string(u.Presence())
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("node %s sees\n%v, want\n%v", s.name, got, want)
		}
	}
	stored := map[uint64]int{} // what clients got at each offset
	for _, client := range w.clients {
		last, offset := map[string]int{}, uint64(0)
		for _, m := range client.Drain() {
			if m.Event != "said" {
				if m.Event == "GAP" {
					offset = 0
				}
				continue
			}
			var v struct {
				N    int
				From string
			}
			m.Bind(t, &v)
			if v.N <= last[v.From] {
				t.Errorf("client %s got %d of %s after %d", client.ID(), v.N, v.From, last[v.From])
			}
			last[v.From] = v.N
			if !w.logged {
				continue
			}
			if n, ok := stored[m.Offset]; ok && n != v.N {
				t.Errorf("clients got %d and %d at offset %d", n, v.N, m.Offset)
			}
			if offset > 0 && m.Offset != offset+1 {
				t.Errorf("client %s got offset %d after %d without a gap", client.ID(), m.Offset, offset)
			}
			stored[m.Offset], offset = v.N, m.Offset
		}
	}
}
