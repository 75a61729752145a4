package main

import (
	"context"
	"encoding/json"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pondsocket/pond"
	"github.com/pondsocket/pond/pondtest"

	"github.com/pondsocket/pond/examples/internal/client"
)

// live runs a test with each transport while the board ticks. It must stop the ticker,
// because a remaining goroutine fails the test.
func live(t *testing.T, test func(t *testing.T, d *pondtest.Driver, tr pondtest.Transport, board *Board)) {
	for _, tr := range pondtest.Transports {
		t.Run(string(tr), func(t *testing.T) {
			p := pond.New()
			board, mux := handler(p)
			pondtest.Run(t, mux, func(t *testing.T, d *pondtest.Driver) {
				defer p.Shutdown(t.Context())
				ctx, stop := context.WithCancel(t.Context())
				defer stop()
				go board.Tick(ctx)
				test(t, d, tr, board)
			})
		})
	}
}

func TestSnapshotFirstThenEachPointOnce(t *testing.T) {
	live(t, func(t *testing.T, d *pondtest.Driver, tr pondtest.Transport, _ *Board) {
		time.Sleep(3*interval + interval/2) // between two points
		ann := d.Connect(tr, "/socket")
		ann.Join("/metrics/clients", nil)
		time.Sleep(3 * interval)

		var all Snapshot
		if err := json.Unmarshal(ann.Expect("snapshot"), &all); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			var p Point
			if err := json.Unmarshal(ann.Expect("point"), &p); err != nil {
				t.Fatal(err)
			}
			all.Points = append(all.Points, p)
		}
		ann.Quiet()
		if len(all.Points) != 6 {
			t.Fatalf("%d points, want 6", len(all.Points))
		}
		for i, p := range all.Points {
			if i > 0 && p.At != all.Points[i-1].At+interval.Milliseconds() {
				t.Errorf("point %d is not an interval after the last one: %v", i, all.Points)
			}
			if want := float64(i / 3); p.Value != want { // no member at first, then Ann
				t.Errorf("point %d: %v clients, want %v", i, p.Value, want)
			}
		}
	})
}

func TestOnlyWatchedMetricsArePushed(t *testing.T) {
	live(t, func(t *testing.T, d *pondtest.Driver, tr pondtest.Transport, board *Board) {
		time.Sleep(interval / 2)
		ann := d.Connect(tr, "/socket")
		ann.Join("/metrics/watched", nil)
		ann.Join("/metrics/memory", nil)
		ann.Drain()
		time.Sleep(interval)
		if got := len(ann.Drain()); got != 2 {
			t.Errorf("%d points, want 2", got)
		}
		ann.Leave("/metrics/memory")
		time.Sleep(interval)
		var p Point
		if err := json.Unmarshal(ann.Expect("point"), &p); err != nil || p.Value != 1 {
			t.Errorf("%v channels are watched (%v), want 1", p.Value, err)
		}
		ann.Quiet()
	})
}

func TestHistoryIsBounded(t *testing.T) {
	live(t, func(t *testing.T, d *pondtest.Driver, tr pondtest.Transport, _ *Board) {
		time.Sleep(time.Hour) // of virtual time
		ann := d.Connect(tr, "/socket")
		ann.Join("/metrics/memory", nil)
		var all Snapshot
		if err := json.Unmarshal(ann.Expect("snapshot"), &all); err != nil || len(all.Points) != kept {
			t.Errorf("%d points (%v), want %d", len(all.Points), err, kept)
		}
		if answer := ann.Join("/metrics/secrets", nil); answer.Event != "UNAUTHORIZED" {
			t.Error(answer)
		}
	})
}

// Some clients stop reading for minutes. They are not disconnected, and when they read
// again they see the latest points at once.
func TestPagesThatWereAsleep(t *testing.T) {
	var dropped atomic.Int64
	p := pond.New(pond.WithObserver(&pond.Observer{
		Dropped: func(_ *pond.Channel, _ pond.User, n int) { dropped.Add(int64(n)) },
		Disconnected: func(_ *pond.Endpoint, _ string, _ pond.Transport, cause error) {
			if errors.Is(cause, pond.ErrSlowClient) {
				t.Error("a client was disconnected because it is slow")
			}
		},
	}))
	board, mux := handler(p)
	pondtest.Run(t, mux, func(t *testing.T, d *pondtest.Driver) {
		defer p.Shutdown(t.Context())
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		const clients, asleep, minutes = 40, 10, 4
		sessions := make([]*pondtest.Session, clients)
		for i := range sessions {
			sessions[i] = d.Connect(pondtest.Transports[i%2], "/socket")
			for name := range board.sources {
				sessions[i].Join("/metrics/"+name, nil)
			}
			sessions[i].Drain() // the snapshots
		}
		for _, s := range sessions[:asleep] {
			s.Stall()
		}
		go board.Tick(ctx)
		time.Sleep(minutes*time.Minute + interval/2)

		sent := minutes * 60 * len(board.sources)
		for i, s := range sessions {
			s.Resume()
			latest, received := map[string]int64{}, 0
			for _, m := range s.Drain() {
				var p Point
				m.Bind(t, &p)
				latest[m.Channel] = p.At
				received++
			}
			if all := received == sent; all == (i < asleep) {
				t.Errorf("client %d received %d points of %d", i, received, sent)
			}
			for channel, at := range latest {
				if want := time.Now().Add(-interval / 2).UnixMilli(); at != want {
					t.Errorf("client %d: the latest point of %s is %d ms old", i, channel, want-at)
				}
			}
		}
		if dropped.Load() == 0 {
			t.Error("no points were dropped")
		}
	})
}

func TestOnLoopback(t *testing.T) {
	for _, tr := range client.Transports {
		t.Run(string(tr), func(t *testing.T) {
			server := client.Serve(t, run)
			ann := client.Dial(t, tr, server.URL+"/socket", nil)
			ann.Join("/metrics/goroutines", nil)
			ann.Expect("snapshot")
			ann.Expect("point")
			server.Stop() // also waits for the ticker
			if code := ann.Closed(); tr == client.WebSocket && code != 1001 {
				t.Error("closed with", code)
			}
		})
	}
}
