package redisbroker_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/pondsocket/pond"
)

// BenchmarkPublish publishes batches to one topic with a subscriber; the numbers are per
// message.
func BenchmarkPublish(b *testing.B) {
	for _, size := range []int{1, 16, 128} {
		b.Run(fmt.Sprint("batch=", size), func(b *testing.B) {
			node, batch := benchNode(b, size)
			for n := 0; n < b.N; n += size {
				if err := node.Publish(b.Context(), "t", batch); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkAppend appends batches to one log with a subscriber; the numbers are per
// message.
func BenchmarkAppend(b *testing.B) {
	for _, size := range []int{1, 16, 128} {
		b.Run(fmt.Sprint("batch=", size), func(b *testing.B) {
			node, batch := benchNode(b, size)
			keep := keep
			keep.Messages = 1000
			for n := 0; n < b.N; n += size {
				_, err := node.Append(b.Context(), "t", pond.Batch{Producer: "boot", First: uint64(n + 1), Data: batch, Keep: keep})
				if err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func benchNode(b *testing.B, size int) (node pond.BrokerLog, batch [][]byte) {
	b.Helper()
	node = newNodes(b, startServer(b)).add().(pond.BrokerLog)
	b.Cleanup(func() { closeBroker(b, node) })
	subscribe(b, node, "t")
	for range size {
		batch = append(batch, []byte(`{"payload":"`+strings.Repeat("x", 380)+`"}`))
	}
	b.ReportAllocs()
	b.ResetTimer()
	return node, batch
}
