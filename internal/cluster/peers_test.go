package cluster_test

import (
	"strings"
	"testing"
	"time"

	"github.com/pondsocket/pond/internal/cluster"
)

// A connection ID is valid for its key and its endpoint only, and any change makes it
// invalid.
func TestStreamID(t *testing.T) {
	key := cluster.NewKey()
	id := key.StreamID("socket", "SECRET", "mark")
	if !key.Signed("socket", id) || cluster.StreamMark(id) != "mark" || !strings.HasPrefix(id, "SECRET.mark.") {
		t.Fatalf("%s is not valid", id)
	}
	if key.Signed("other", id) || cluster.NewKey().Signed("socket", id) {
		t.Error("it is valid for another endpoint or key")
	}
	for i := range id {
		changed := id[:i] + "_" + id[i+1:]
		if changed != id && key.Signed("socket", changed) {
			t.Errorf("%s is valid", changed)
		}
	}
	for _, id := range []string{"", ".", "..", "a", "a.b", "a.b.", ".b.c", "a..c"} {
		if mark := cluster.StreamMark(id); mark != "" || key.Signed("socket", id) {
			t.Errorf("%q has the mark %q", id, mark)
		}
	}
}

func TestPeers(t *testing.T) {
	var p cluster.Peers
	if !p.Asking() {
		t.Error("new peers are complete")
	}
	_, ok, complete, changed := p.Find("m")
	if ok || !complete.IsZero() {
		t.Fatal("a peer was found")
	}
	woken := func() bool {
		select {
		case <-changed:
			return true
		default:
			return false
		}
	}
	for _, bad := range [][2]string{{"", "key"}, {"m", ""}} {
		if p.Add(bad[0], "node", cluster.Key(bad[1])); woken() {
			t.Errorf("%q was added", bad)
		}
	}
	p.Add("m", "node", "key")
	if peer, ok, _, _ := p.Find("m"); !ok || peer.Node != "node" || !woken() {
		t.Errorf("found %v, %v", peer, ok)
	}
	now := time.Now()
	p.Fail("m", now)
	p.Fail("other", now)
	p.Add("m", "node", "key") // heartbeats do not clear a failure
	if peer, _, _, _ := p.Find("m"); !peer.Failed.Equal(now) {
		t.Errorf("failed at %v", peer.Failed)
	}
	p.Complete(now)
	p.Remove("other", "node")
	if _, ok, complete, _ := p.Find("m"); ok || !complete.Equal(now) || p.Asking() {
		t.Error("the peer is still there, or the peers are not complete")
	}
}

// The table does not grow without a limit.
func TestPeersLimit(t *testing.T) {
	var p cluster.Peers
	added := 0
	for i := range 1<<14 + 10 {
		mark := strings.Repeat("m", i%7+1) + string(rune('a'+i%26)) + time.Duration(i).String()
		p.Add(mark, mark, "key")
		if _, ok, _, _ := p.Find(mark); ok {
			added++
		}
	}
	if added != 1<<14 {
		t.Errorf("%d peers", added)
	}
}
