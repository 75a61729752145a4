//go:build linux && !386 && !race

package transport_test

import (
	"testing"

	"github.com/pondsocket/pond/internal/transport"
)

func BenchmarkNewFrame(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		frame(sample)
	}
}

// BenchmarkEnqueue commits broadcasts to busy shards, which is the time that a
// publisher waits.
func BenchmarkEnqueue(b *testing.B) {
	c := newCrowd(b, "")
	release := c.hub.Hold()
	f := frame(sample)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		var w transport.Work
		c.group.Broadcast(&w, f, false)
		w.Do()
		if i%1024 == 0 {
			c.hub.Drop()
		}
	}
	c.hub.Drop()
	release()
}

// BenchmarkDelivery delivers to connections on loopback that this process also reads:
// single messages, and sixteen combined into one write.
func BenchmarkDelivery(b *testing.B) {
	for name, joined := range map[string]int{"alone": 1, "joined": 16} {
		b.Run(name, func(b *testing.B) {
			c := newCrowd(b, "")
			b.ReportAllocs()
			n := 0
			before := c.writes.Load()
			for b.Loop() {
				c.broadcast(joined, plainSize, true)
				n++
			}
			deliveries := float64(n * joined * members)
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/deliveries, "ns/delivery")
			b.ReportMetric(float64(c.writes.Load()-before)/deliveries, "writes/delivery")
		})
	}
}
