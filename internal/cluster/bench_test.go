package cluster_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/pondsocket/pond/internal/cluster"
	"github.com/pondsocket/pond/internal/clusterwire"
)

// BenchmarkLanes pushes messages to 1,000 topics in turns; the numbers are per message.
func BenchmarkLanes(b *testing.B) {
	const topics, flush = 1000, 5000
	l := cluster.NewLanes(cluster.LanesConfig{
		Number: func(message []byte, seq uint64, events cluster.Count) []byte {
			return clusterwire.AppendSeq(message, seq, events.Events, events.Base)
		},
		Send:      func(context.Context, string, any, uint64, [][]byte) error { return nil },
		Permanent: func(error) bool { return false },
		GaveUp:    func(string, int, cluster.Span, error) {},
		Counts:    topics, LaneBytes: 8 << 20, TotalBytes: 64 << 20, Timeout: time.Second, Patience: time.Second,
	})
	defer func() { _ = l.Close(b.Context()) }()
	names := make([]string, topics)
	for i := range names {
		names[i] = fmt.Sprint("topic", i)
	}
	m := clusterwire.Message{
		Type: clusterwire.UserMessage, ID: clusterwire.NewID(time.Now()), Source: clusterwire.NewID(time.Now()), Endpoint: "/socket",
		Channel: "/chat/1", Timestamp: 1, Event: "message", RequestID: "1", From: "CHANNEL",
		Payload: fmt.Appendf(nil, `{"text":"%0128d"}`, 0), Ext: clusterwire.Ext{Boot: "boot"},
	}
	m.Recipients.To = clusterwire.AllUsers
	b.ReportAllocs()
	for n := 0; b.Loop(); n++ {
		data, err := clusterwire.Append(nil, &m)
		if err != nil {
			b.Fatal(err)
		}
		if err := l.Push(names[n%topics], cluster.Item{Data: data, Event: true}); err != nil {
			b.Fatal(err)
		}
		if n%flush == flush-1 {
			if err := l.Flush(b.Context()); err != nil {
				b.Fatal(err)
			}
		}
	}
}
