package main

import (
	"context"
	"net/http"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/pondsocket/pond"
)

const (
	interval = time.Second
	kept     = 60 // points of history per metric
)

// A Point is one value of a metric.
type Point struct {
	At    int64   `json:"at"` // in milliseconds since 1970
	Value float64 `json:"value"`
}

// A Snapshot is the history that a new member receives.
type Snapshot struct {
	Points []Point `json:"points"`
}

const (
	snapshot pond.Event[Snapshot] = "snapshot"
	pushed   pond.Event[Point]    = "point"
)

// A Board measures, stores and pushes metrics.
type Board struct {
	endpoint *pond.Endpoint
	sources  map[string]func() float64 // by the name of the metric

	mu     sync.Mutex         // guards points, and orders snapshots and pushes
	points map[string][]Point // oldest first
}

func newBoard(e *pond.Endpoint) *Board {
	b := &Board{endpoint: e, points: map[string][]Point{}}
	b.sources = map[string]func() float64{
		"clients":    func() float64 { return float64(e.Len()) },
		"goroutines": func() float64 { return float64(runtime.NumGoroutine()) },
		"memory":     heap,
		"watched":    b.watched,
	}
	// Each point makes the earlier ones obsolete. A page that was asleep needs the latest.
	e.Lobby("/metrics/:name", b.onJoin, pond.WithSlowClients(pond.KeepLatest(nil)))
	return b
}

// heap returns the allocated memory, in MiB.
func heap() float64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc) / (1 << 20)
}

// watched returns the number of channels that have members.
func (b *Board) watched() float64 {
	n := 0
	for range b.endpoint.Channels() {
		n++
	}
	return float64(n)
}

// onJoin sends the history to the new member. Because of the lock, no point is pushed
// between Accept and the snapshot, so the client receives the snapshot first and each point
// once. The snapshot is a reply, which is never dropped. Sending only queues and does not block, so it is safe while holding a lock.
func (b *Board) onJoin(ctx *pond.JoinContext) error {
	name := ctx.Channel().Param("name")
	if _, ok := b.sources[name]; !ok {
		return ctx.Decline(http.StatusNotFound, "metric not found")
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := ctx.Accept(); err != nil {
		return err
	}
	return ctx.Reply(snapshot.With(Snapshot{b.points[name]}))
}

// Tick measures and pushes until ctx is done.
func (b *Board) Tick(ctx context.Context) {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-ticker.C:
			b.push(b.measure(now))
		}
	}
}

func (b *Board) measure(now time.Time) map[string]Point {
	latest := map[string]Point{}
	for name, source := range b.sources {
		latest[name] = Point{now.UnixMilli(), source()}
	}
	return latest
}

// push sends only to live channels, so metrics without members cost nothing.
func (b *Board) push(latest map[string]Point) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for name, point := range latest {
		points := append(b.points[name], point)
		b.points[name] = slices.Delete(points, 0, max(0, len(points)-kept))
	}
	for ch := range b.endpoint.Channels() {
		// Errors can be ignored: a channel that just ended needs no point, and if the
		// server is overloaded, the members receive the next point.
		_ = ch.Broadcast(pushed.With(latest[ch.Param("name")]))
	}
}
