package cluster_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/pondsocket/pond/internal/cluster"
)

// Each event counts once, however the spans overlap.
func TestLossesCountOnce(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 1000 {
		var l cluster.Losses
		lost := map[uint64]bool{}
		for range r.IntN(20) {
			s := cluster.Span{After: r.Uint64N(100)}
			s.Upto = s.After + r.Uint64N(20)
			var want uint64
			for n := s.After + 1; n <= s.Upto; n++ {
				if !lost[n] {
					lost[n] = true
					want++
				}
			}
			if got := l.Add("t", s); got != want {
				t.Fatalf("added %d of %v, want %d", got, s, want)
			}
		}
	}
}

func TestLossesOfTopics(t *testing.T) {
	var l cluster.Losses
	for _, step := range []struct {
		topic string
		span  cluster.Span
		want  uint64
	}{
		{"a", cluster.Span{After: 1, Upto: 3}, 2},
		{"b", cluster.Span{After: 1, Upto: 3}, 2},
		{"a", cluster.Span{After: 1, Upto: 3}, 0},
		{"a", cluster.Span{}, 0},
		{"a", cluster.Span{After: 9, Upto: 4}, 0},
		{"a", cluster.Span{After: 1<<64 - 2, Upto: 1<<64 - 1}, 1},
	} {
		if got := l.Add(step.topic, step.span); got != step.want {
			t.Errorf("%s: added %d of %v, want %d", step.topic, got, step.span, step.want)
		}
	}
	for n := range uint64(1000) { // far more than are stored
		if got := l.Add("c", cluster.Span{After: 2 * n, Upto: 2*n + 1}); got != 1 {
			t.Fatalf("added %d, want 1", got)
		}
	}
}

// All events are in reports of a limited size for the nodes that sent them, and count there
// up to the number of events that there were.
func TestMissedReports(t *testing.T) {
	var m cluster.Misses
	const topics = 1000
	for i := range topics {
		for _, node := range []string{"a", "b"} {
			m.Add(node, fmt.Sprint(i, strings.Repeat("\"", 200)), cluster.Span{After: 3, Upto: 7})
		}
	}
	count, reports := m.Take()
	if count != 2*topics*4 {
		t.Errorf("%d events, want %d", count, 2*topics*4)
	}
	losses := map[string]*cluster.Losses{"a": {}, "b": {}}
	lost := map[string]uint64{}
	for range 2 { // again, they count nothing
		for _, r := range reports {
			payload, err := json.Marshal(r)
			if err != nil || len(payload) > 33<<10 {
				t.Fatalf("a report of %d bytes: %v", len(payload), err)
			}
			lost[r.Node] += losses[r.Node].AddReport(payload, func(string) uint64 { return 6 })
		}
	}
	if lost["a"] != 3*topics || lost["b"] != 3*topics {
		t.Errorf("%v, want %d", lost, 3*topics)
	}
	if got := losses["a"].AddReport([]byte(`{"spans":3}`), func(string) uint64 { return 6 }); got != 0 {
		t.Errorf("an invalid report: %d", got)
	}
	if count, reports := m.Take(); count != 0 || reports != nil {
		t.Errorf("again: %d events, %v", count, reports)
	}
}
