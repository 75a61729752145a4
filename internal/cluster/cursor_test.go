package cluster_test

import (
	"testing"

	"github.com/pondsocket/pond/internal/cluster"
)

func TestCursor(t *testing.T) {
	at := func(epoch string, offset uint64) cluster.Position {
		return cluster.Position{Epoch: epoch, Offset: offset}
	}
	var c cluster.Cursor
	c.Set(at("e", 10))
	for _, test := range []struct {
		p    cluster.Position
		prev uint64
		want cluster.Verdict
	}{
		{at("e", 11), 10, cluster.Deliver},
		{at("e", 17), 10, cluster.Deliver}, // offsets may have holes
		{at("e", 12), 11, cluster.Behind},
		{at("e", 17), 9, cluster.Behind}, // a log whose beginning is lost
		{at("e", 10), 9, cluster.Known},
		{at("e", 3), 2, cluster.Known},
		{at("f", 11), 10, cluster.NewEpoch},
		{at("f", 1), 0, cluster.NewEpoch},
	} {
		if got := c.Judge(test.p, test.prev); got != test.want {
			t.Errorf("Judge(%v, %d) = %v, want %v", test.p, test.prev, got, test.want)
		}
	}
	for _, test := range []struct {
		p    cluster.Position
		want bool
	}{
		{at("e", 10), false},
		{at("e", 9), false},
		{at("e", 11), true},
		{at("f", 1), true},
		{cluster.Position{}, false},
	} {
		if got := c.IsBehind(test.p); got != test.want {
			t.Errorf("IsBehind(%v) = %v, want %v", test.p, got, test.want)
		}
	}
}
