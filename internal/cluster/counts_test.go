package cluster_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pondsocket/pond/internal/cluster"
)

// The count of a topic that is used goes on. That of another one is forgotten, and does not
// give an event the number of an earlier one.
func TestCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var last cluster.Count
		l := cluster.NewLanes(cluster.LanesConfig{
			Number:    func(message []byte, _ uint64, c cluster.Count) []byte { last = c; return message },
			Send:      func(context.Context, string, any, uint64, [][]byte) error { return nil },
			Permanent: func(error) bool { return false },
			Counts:    10, LaneBytes: 2000, TotalBytes: 1 << 20, Timeout: time.Second, Patience: time.Second,
		})
		push := func(topic string, event bool, want cluster.Count) {
			t.Helper()
			if err := l.Push(topic, cluster.Item{Event: event}); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			if last != want {
				t.Errorf("%s has the count %v, want %v", topic, last, want)
			}
		}
		for n := range uint64(5) {
			push("old", true, cluster.Count{Events: n + 1})
		}
		push("used", true, cluster.Count{Events: 1})
		push("silent", false, cluster.Count{})
		for range 3 {
			l.ExpireCounts()
			push("used", false, cluster.Count{Events: 1})
		}
		push("used", true, cluster.Count{Events: 2})
		if n := l.Events("old"); n < 5 {
			t.Errorf("a forgotten count became %d, want at least 5", n)
		}
		push("old", false, cluster.Count{})
		push("old", true, cluster.Count{Events: 6, Base: 5})
		push("old", true, cluster.Count{Events: 7, Base: 5})
		push("new", true, cluster.Count{Events: 6, Base: 5})
		for i := range 20 { // too many topics
			if err := l.Push(fmt.Sprint(i), cluster.Item{Event: true}); err != nil {
				t.Fatal(err)
			}
			if i == 10 {
				push("new", true, cluster.Count{Events: 7, Base: 5})
			}
		}
		push("new", true, cluster.Count{Events: 8, Base: 5})
		push("used", true, cluster.Count{Events: 8, Base: 7})
		if err := l.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
}
