package load

import (
	"math/bits"
	"time"
)

// Latency is a distribution of durations.
type Latency struct {
	Count int64         `json:"count"`
	Mean  time.Duration `json:"mean"`
	P50   time.Duration `json:"p50"`
	P90   time.Duration `json:"p90"`
	P99   time.Duration `json:"p99"`
	Max   time.Duration `json:"max"` // exact; the percentiles are up to 1 % too long
}

// precision is the binary logarithm of the number of buckets per power of two.
const precision = 7

// A histogram counts durations in buckets of equal relative width.
type histogram struct {
	buckets [(64 - precision) << precision]uint64
	count   int64
	sum     int64
	longest int64
}

// bucket returns the index of the bucket of v, which must not be negative.
func bucket(v int64) int {
	u := uint64(v) //nolint:gosec // not negative
	shift := max(0, bits.Len64(u)-precision-1)
	return shift<<precision + int(u>>shift) //nolint:gosec // less than 1<<(precision+1)
}

// upper returns the largest value of a bucket.
func upper(i int) int64 {
	if i < 2<<precision {
		return int64(i)
	}
	shift := i>>precision - 1
	return (int64(i-shift<<precision)+1)<<shift - 1
}

func (h *histogram) record(v int64) {
	v = max(0, v)
	h.buckets[bucket(v)]++
	h.count++
	h.sum += v
	h.longest = max(h.longest, v)
}

func (h *histogram) add(other *histogram) {
	for i, n := range other.buckets {
		h.buckets[i] += n
	}
	h.count += other.count
	h.sum += other.sum
	h.longest = max(h.longest, other.longest)
}

// quantile returns the smallest upper bound for the fraction q of all values.
func (h *histogram) quantile(q float64) time.Duration {
	rank := uint64(q*float64(h.count) + 0.999999)
	var seen uint64
	for i, n := range h.buckets {
		if seen += n; n > 0 && seen >= rank {
			return time.Duration(min(upper(i), h.longest))
		}
	}
	return time.Duration(h.longest)
}

// latency returns the distribution, or nil if the histogram is empty.
func (h *histogram) latency() *Latency {
	if h.count == 0 {
		return nil
	}
	return &Latency{
		Count: h.count,
		Mean:  time.Duration(h.sum / h.count),
		P50:   h.quantile(0.5),
		P90:   h.quantile(0.9),
		P99:   h.quantile(0.99),
		Max:   time.Duration(h.longest),
	}
}
