package channel_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pondsocket/pond"
	"github.com/pondsocket/pond/internal/suite/kit"
	"github.com/pondsocket/pond/pondtest"
)

// While the tabs of some persons come and go in all ways at the same time, OnIdentityJoin
// and OnIdentityLeave of each strictly alternate and never overlap.
func TestIdentitiesAlternate(t *testing.T) {
	for _, procs := range []int{1, runtime.GOMAXPROCS(0)} {
		for _, tr := range pondtest.Transports {
			for _, wait := range []time.Duration{0, 5 * time.Millisecond} {
				t.Run(fmt.Sprintf("%s on %d, grace %v", tr, procs, wait), func(t *testing.T) {
					defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(procs))
					for seed := range uint64(8) {
						comeAndGo(t, tr, wait, seed)
					}
				})
			}
		}
	}
}

func comeAndGo(t *testing.T, tr pondtest.Transport, wait time.Duration, seed uint64) {
	t.Helper()
	type key struct{ who, channel string }
	var mu sync.Mutex
	present, running, ins := map[key]bool{}, map[key]bool{}, 0
	hook := func(u pond.User, ch *pond.Channel, in bool) {
		k := key{u.Identity(), ch.Name()}
		mu.Lock()
		if running[k] || present[k] == in {
			t.Errorf("%v: in %t while running %t, present %t", k, in, running[k], present[k])
		}
		running[k] = true
		if in {
			ins++
		}
		mu.Unlock()
		time.Sleep(time.Millisecond)
		mu.Lock()
		running[k], present[k] = false, in
		mu.Unlock()
	}
	p := pond.New(pond.WithLogger(kit.Silent))
	e := p.Endpoint("/socket", identified)
	l := e.Lobby("/chat/:room", kit.Admit, pond.WithLeaveGrace(wait))
	l.OnIdentityJoin(func(ctx *pond.JoinContext) error {
		if rand.IntN(8) == 0 {
			return errors.New("no")
		}
		hook(ctx.User(), ctx.Channel(), true)
		return nil
	})
	l.OnIdentityLeave(func(ctx *pond.LeaveContext) error { hook(ctx.User(), ctx.Channel(), false); return nil })
	l.OnLeave(func(ctx *pond.LeaveContext) error {
		mu.Lock()
		defer mu.Unlock()
		if k := (key{ctx.User().Identity(), ctx.Channel().Name()}); !present[k] {
			t.Errorf("%v leaves and is not present", k)
		}
		return nil
	})
	pondtest.Run(t, p, func(t *testing.T, d *pondtest.Driver) {
		r := rand.New(rand.NewPCG(seed, 1))
		var sessions [6]*pondtest.Session
		for range 150 {
			i := r.IntN(len(sessions))
			s := sessions[i]
			if s == nil || s.Ended() {
				s = d.Connect(tr, fmt.Sprintf("/socket?who=p%d", i%2))
				sessions[i] = s
			}
			name := fmt.Sprintf("/chat/%d", r.IntN(2))
			ch, live := e.Channel(name)
			switch r.IntN(12) {
			case 0, 1, 2, 3, 4:
				s.SendJoin(name, nil)
			case 5, 6:
				s.Reset()
				sessions[i] = nil
			case 7:
				s.SendRaw(fmt.Appendf(nil, `{"action":"LEAVE_CHANNEL","event":"LEAVE_CHANNEL","channelName":%q,"requestId":"l","payload":{}}`, name))
			case 8:
				if live {
					_ = ch.EvictIdentity(fmt.Sprintf("p%d", i%2), "")
				}
			case 9:
				if live && r.IntN(3) == 0 {
					ch.Close("")
				}
			case 10:
				_ = e.DisconnectIdentity(fmt.Sprintf("p%d", i%2), 0, "")
			case 11:
				time.Sleep(time.Duration(r.IntN(8)) * time.Millisecond)
			}
			if r.IntN(3) == 0 {
				synctest.Wait()
			}
		}
		if err := p.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		mu.Lock()
		defer mu.Unlock()
		for k, in := range present {
			if in {
				t.Errorf("%v is present", k)
			}
		}
		if ins < 2 {
			t.Errorf("%d came", ins)
		}
	})
}
