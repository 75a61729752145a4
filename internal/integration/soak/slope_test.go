package main

import (
	"math"
	"testing"
)

func series(n int, value func(i int) float64) []point {
	var points []point
	for i := range n {
		points = append(points, point{float64(10 * i), value(i)})
	}
	return points
}

func TestGrowth(t *testing.T) {
	for name, tc := range map[string]struct {
		points []point
		want   float64
	}{
		"nothing":               {nil, 0},
		"one point":             {series(1, func(int) float64 { return 7 }), 0},
		"level":                 {series(50, func(int) float64 { return 7 }), 0},
		"a leak":                {series(51, func(i int) float64 { return 100 + float64(i) }), 50},
		"shrinking":             {series(51, func(i int) float64 { return 100 - float64(i) }), -50},
		"up and down":           {series(51, func(i int) float64 { return float64(i % 5) }), 0},
		"a few peaks, no trend": {series(50, func(i int) float64 { return float64(i/45) * 1000 }), 0},
		"a leak behind peaks":   {series(51, func(i int) float64 { return float64(i) - float64(i%10/9)*1000 }), 50},
	} {
		if got := growth(tc.points); math.Abs(got-tc.want) > 0.5 {
			t.Errorf("%s: growth %v, want %v", name, got, tc.want)
		}
	}
}

func TestVerdict(t *testing.T) {
	level := series(30, func(int) float64 { return 50 << 20 })
	leak := series(30, func(i int) float64 { return float64(50<<20 + i<<18) })
	if err := judge(map[string][]point{"rss": level, "goroutines": level}); err != nil {
		t.Errorf("level: %v", err)
	}
	if err := judge(map[string][]point{"rss": leak}); err == nil {
		t.Error("7 MiB in five minutes is not reported as a leak")
	}
	if err := judge(map[string][]point{"fds": series(30, func(i int) float64 { return float64(i / 10) })}); err == nil {
		t.Error("two descriptors are not reported as a leak")
	}
	if err := judge(map[string][]point{"rss": level[:2]}); err == nil {
		t.Error("two samples are reported as enough")
	}
}
