package main

import (
	"context"
	"encoding/json"
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
