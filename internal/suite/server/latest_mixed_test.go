package server_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pondsocket/pond"
	"github.com/pondsocket/pond/internal/suite/kit"
	"github.com/pondsocket/pond/pondtest"
)

// Replies and presence to a member that lags all arrive, in their places among the newest
// broadcasts, whether it gets lists or differences.
func TestKeepLatestWithRepliesAndPresence(t *testing.T) {
	for _, diffs := range []bool{false, true} {
		for _, tr := range pondtest.Transports {
			t.Run(fmt.Sprintf("%s, differences %t", tr, diffs), func(t *testing.T) {
				p := pond.New(pond.WithLogger(kit.Silent))
				e := p.Endpoint("/socket", kit.Accept)
				l := e.Lobby("/latest/:id", func(ctx *pond.JoinContext) error {
					if err := ctx.Accept(); err != nil {
						return err
					}
					return ctx.Track(map[string]string{"who": ctx.User().ID})
				}, pond.WithSlowClients(pond.KeepLatest(nil)), pond.WithPresenceDiffs())
				l.OnMessage("ask", func(ctx *pond.EventContext) error { return ctx.Reply("answer", ctx.Payload()) })
				pondtest.Run(t, p, func(t *testing.T, d *pondtest.Driver) {
					s := d.Connect(tr, "/socket")
					if diffs {
						s.Join("/latest/1", nil, pondtest.Want("diff"))
					} else {
						s.Join("/latest/1", nil)
					}
					synctest.Wait()
					time.Sleep(time.Second)
					s.Drain()
					ch, _ := e.Channel("/latest/1")
					s.Stall()
					must := func(err error) {
						t.Helper()
						if err != nil {
							t.Fatal(err)
						}
					}
					must(ch.Broadcast("tick", map[string]any{"n": 0, "fill": strings.Repeat("x", 100<<10)}))
					time.Sleep(time.Second)
					other := d.Connect(pondtest.WebSocket, "/socket")
					other.Join("/latest/1", nil)
					for n := 1; n <= 500; n++ {
						must(ch.Broadcast("tick", map[string]any{"n": n, "fill": strings.Repeat("x", 2<<10)}))
						if n%100 == 0 {
							must(ch.Update(other.ID(), map[string]int{"n": n}))
							s.SendID("/latest/1", "ask", fmt.Sprint("q", n), map[string]int{"n": n})
							synctest.Wait()
							time.Sleep(time.Second)
						}
					}
					s.Resume()
					synctest.Wait()
					time.Sleep(time.Second)
					var answers, ticks []int
					presence := ""
					for _, m := range s.Drain() {
						var v struct{ N int }
						switch m.Event {
						case "answer":
							m.Bind(t, &v)
							answers = append(answers, v.N)
						case "tick":
							m.Bind(t, &v)
							ticks = append(ticks, v.N)
						default:
							presence = string(m.Payload)
						}
					}
					if fmt.Sprint(answers) != "[100 200 300 400 500]" {
						t.Errorf("answers %v", answers)
					}
					if len(ticks) > 20 || ticks[len(ticks)-1] != 500 {
						t.Errorf("ticks %v", ticks)
					}
					if !strings.Contains(presence, `"n":500`) {
						t.Errorf("the last presence is %s", presence)
					}
				})
			})
		}
	}
}

// Keys of a megabyte are keys like others: a member that lags gets the newest message, and
// one that reads gets everything.
func TestKeepLatestWithHugeKeys(t *testing.T) {
	onBoards(t, func() *board {
		return newBoard(pond.KeepLatest(func(_ string, payload json.RawMessage) string {
			return byName("", payload) + strings.Repeat("k", 1<<20)
		}))
	}, func(t *testing.T, d *pondtest.Driver, tr pondtest.Transport, b *board) {
		reads, lags := d.Connect(tr, "/socket"), d.Connect(tr, "/socket")
		reads.Join("/latest/1", nil)
		lags.Join("/latest/1", nil)
		lags.Stall()
		b.tick(t, "/latest/1", "a", 100<<10)
		synctest.Wait()
		for range 20 {
			b.tick(t, "/latest/1", "a", 0)
			synctest.Wait()
		}
		time.Sleep(time.Second)
		lags.Resume()
		synctest.Wait()
		if got := len(ticksOf(t, reads.Drain())["a"]); got != 21 {
			t.Errorf("a member that reads got %d messages", got)
		}
		got := ticksOf(t, lags.Drain())["a"]
		if fmt.Sprint(got) != "[1 21]" || lags.Ended() {
			t.Errorf("the one that lags got %v", got)
		}
	})
}

// What a member of two channels gets from a lobby without KeepLatest is complete, also when
// it leaves the one with KeepLatest, and joins it again, while it lags.
func TestKeepLatestAndLeave(t *testing.T) {
	onBoards(t, func() *board { return newBoard(pond.KeepLatest(nil)) }, func(t *testing.T, d *pondtest.Driver, tr pondtest.Transport, b *board) {
		s := d.Connect(tr, "/socket")
		s.Join("/all/1", nil)
		s.Join("/latest/1", nil)
		s.Stall()
		b.tick(t, "/latest/1", "a", 100<<10)
		time.Sleep(time.Second)
		for i := range 200 {
			b.tick(t, "/all/1", "all", 1<<10)
			ch, ok := b.endpoint.Channel("/latest/1")
			if ok {
				b.tick(t, "/latest/1", "a", 1<<10)
			}
			switch i % 50 {
			case 20:
				if err := ch.Evict(s.ID(), ""); err != nil {
					t.Error(err)
				}
			case 40:
				s.SendJoin("/latest/1", nil)
			}
			synctest.Wait()
		}
		time.Sleep(500 * time.Millisecond)
		s.Resume()
		synctest.Wait()
		time.Sleep(time.Second)
		got := ticksOf(t, s.Drain())
		if len(got["all"]) != 200 {
			t.Errorf("%d messages of the lobby that keeps all", len(got["all"]))
		}
		if n := len(got["a"]); n == 0 {
			t.Errorf("%v", got["a"])
		}
		if s.Ended() {
			t.Error("closed")
		}
	})
}
