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
	kept     = 60 // points of history for each metric
)

// A Point is one value of a metric.
type Point struct {
	At    int64   `json:"at"` // in milliseconds since 1970
	Value float64 `json:"value"`
}

// A Snapshot is what who joins has missed.
type Snapshot struct {
	Points []Point `json:"points"`
}

const (
	snapshot pond.Event[Snapshot] = "snapshot"
	pushed   pond.Event[Point]    = "point"
)

// A Board measures, remembers, and pushes.
type Board struct {
	endpoint *pond.Endpoint
	sources  map[string]func() float64 // by the name of the metric

	mu     sync.Mutex         // guards points, and orders snapshots and pushes
	points map[string][]Point // the oldest first
}

func newBoard(e *pond.Endpoint) *Board {
	b := &Board{endpoint: e, points: map[string][]Point{}}
	b.sources = map[string]func() float64{
		"clients":    func() float64 { return float64(e.Len()) },
		"goroutines": func() float64 { return float64(runtime.NumGoroutine()) },
		"memory":     heap,
		"watched":    b.watched,
	}
	e.Lobby("/metrics/:name", b.onJoin)
	return b
}

// heap returns what is allocated, in MiB.
func heap() float64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc) / (1 << 20)
}

// watched returns how many channels have somebody who looks.
func (b *Board) watched() float64 {
	n := 0
	for range b.endpoint.Channels() {
		n++
	}
	return float64(n)
}

// onJoin sends the history to the new member, and to nobody else. With the lock
// no point can come between Accept and the snapshot: the client gets each point
// once, and the snapshot first. Sending queues and does not wait, so holding a
// lock meanwhile holds up nobody.
func (b *Board) onJoin(ctx *pond.JoinContext) error {
	name := ctx.Channel().Param("name")
	if _, ok := b.sources[name]; !ok {
		return ctx.Decline(http.StatusNotFound, "no metric of that name")
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

// push sends to live channels only: what nobody looks at costs nothing.
func (b *Board) push(latest map[string]Point) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for name, point := range latest {
		points := append(b.points[name], point)
		b.points[name] = slices.Delete(points, 0, max(0, len(points)-kept))
	}
	for ch := range b.endpoint.Channels() {
		// Pushing has nobody to tell: a channel that has just ended needs no
		// point, and who is overloaded gets the next one.
		_ = ch.Broadcast(pushed.With(latest[ch.Param("name")]))
	}
}
