package load

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

func TestBucketsAreNarrow(t *testing.T) {
	last := -1
	for _, v := range edges() {
		i := bucket(v)
		if i < last {
			t.Errorf("%d is in bucket %d, and less in %d", v, i, last)
		}
		last = i
		if u := upper(i); u < v || float64(u-v) > 0.01*float64(v) {
			t.Errorf("%d is in a bucket up to %d", v, u)
		}
	}
	if v := int64(1<<63 - 1); bucket(v) != len(histogram{}.buckets)-1 {
		t.Errorf("the longest time is in bucket %d of %d", bucket(v), len(histogram{}.buckets))
	}
}

// edges are values at which buckets start and become wider, in order.
func edges() (all []int64) {
	for v := range int64(3 << precision) {
		all = append(all, v)
	}
	for shift := precision + 2; shift < 63; shift++ {
		for _, d := range []int64{-1, 0, 1, 1 << (shift - 1), 1<<(shift-1) + 1<<(shift-3)} {
			all = append(all, 1<<shift+d)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

func TestQuantilesAreWithinOnePercent(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var values []int64
	halves := [2]histogram{}
	for i := range 10_001 {
		v := int64(r.ExpFloat64() * 5e6)
		values = append(values, v)
		halves[i%2].record(v)
	}
	var h histogram
	h.add(&halves[0])
	h.add(&halves[1])
	slices.Sort(values)
	got := h.latency()
	for _, tt := range []struct {
		got  time.Duration
		rank int
	}{
		{got.P50, 5000}, {got.P90, 9000}, {got.P99, 9900}, {h.quantile(0), 0}, {h.quantile(1), 10_000},
	} {
		if want := values[tt.rank]; int64(tt.got) < want || float64(tt.got) > 1.01*float64(want) {
			t.Errorf("value %d in order: %d, want %d and up to 1 %% more", tt.rank, tt.got, want)
		}
	}
	var sum int64
	for _, v := range values {
		sum += v
	}
	if got.Count != 10_001 || int64(got.Max) != values[10_000] || int64(got.Mean) != sum/10_001 {
		t.Errorf("%+v, want %d values, the longest of %d, %d in the mean", got, len(values), values[10_000], sum/10_001)
	}
}

func TestHistogramOfLittle(t *testing.T) {
	var h histogram
	if got := h.latency(); got != nil {
		t.Errorf("of nothing: %+v", got)
	}
	h.record(-5) // a clock that goes back must not crash
	h.record(1000)
	if got, want := *h.latency(), (Latency{2, 500, 0, 1000, 1000, 1000}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}
