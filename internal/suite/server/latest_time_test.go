package server_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/pondsocket/pond"
	"github.com/pondsocket/pond/pondtest"
)

// A client that reads nothing is closed when the time of the policy has passed, whether
// its connection is full or not. An event stream that is not full stays.
func TestKeepLatestTimeout(t *testing.T) {
	for name, tc := range map[string]struct {
		policy pond.SlowClientPolicy
		after  time.Duration
	}{
		"default":               {pond.KeepLatest(nil), 5 * time.Minute},
		"longer":                {pond.KeepLatest(nil).WithTimeout(time.Hour), time.Hour},
		"shorter than a write":  {pond.KeepLatest(nil).WithTimeout(time.Second), 30 * time.Second},
		"disconnect, for which": {pond.SlowClientPolicy{}, 30 * time.Second},
	} {
		for _, full := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, full %t", name, full), func(t *testing.T) {
				onBoards(t, func() *board { return newBoard(tc.policy) }, func(t *testing.T, d *pondtest.Driver, tr pondtest.Transport, b *board) {
					s := d.Connect(tr, "/socket")
					s.Join("/latest/1", nil)
					s.Stall()
					if full {
						b.tick(t, "/latest/1", "a", 100<<10)
					} else {
						b.tick(t, "/latest/1", "a", 0)
					}
					began := time.Now()
					time.Sleep(tc.after - time.Second)
					if left := b.left(); len(left) > 0 {
						t.Fatalf("the member left: %v", left)
					}
					if tr == pondtest.SSE && !full {
						return
					}
					for len(b.reasons) == 0 && time.Since(began) < 2*tc.after+time.Hour {
						time.Sleep(time.Second)
					}
					// Without a full connection, heartbeats decide, which are seldom.
					if took := time.Since(began); took > tc.after+time.Minute {
						t.Errorf("the member left after %v", took)
					}
					want := map[bool]pond.LeaveReason{true: pond.LeaveSlow, false: pond.LeaveDisconnected}[full]
					if left := b.left(); !slices.Equal(left, []pond.LeaveReason{want}) {
						t.Errorf("the member left: %v, want %s", left, want)
					}
				})
			})
		}
	}
}

// Each pause has the whole time of the policy, and it ends when the client leaves the
// lobby.
func TestKeepLatestTimeOfEachPause(t *testing.T) {
	onBoards(t, func() *board { return newBoard(pond.KeepLatest(nil)) }, func(t *testing.T, d *pondtest.Driver, tr pondtest.Transport, b *board) {
		s := d.Connect(tr, "/socket")
		s.Join("/latest/1", nil)
		s.Join("/all/1", nil)
		for _, size := range []int{0, 100 << 10} {
			for range 3 {
				s.Stall()
				b.tick(t, "/latest/1", "a", size)
				time.Sleep(4 * time.Minute)
				s.Resume()
				time.Sleep(time.Minute)
			}
		}
		if left := b.left(); len(left) > 0 {
			t.Fatalf("the member left: %v", left)
		}
		s.Leave("/latest/1")
		<-b.reasons
		s.Stall()
		b.tick(t, "/all/1", "a", 100<<10) // more than the network takes
		time.Sleep(time.Minute)
		if left := b.left(); !slices.Equal(left, []pond.LeaveReason{pond.LeaveSlow}) {
			t.Errorf("the client that left the lobby left other channels: %v", left)
		}
	})
}
