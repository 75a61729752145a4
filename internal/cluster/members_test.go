package cluster_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pondsocket/pond/internal/cluster"
)

// roster describes members: the nodes of each user, and h for hearsay.
func roster(m *cluster.Members, users ...string) string {
	var list []string
	for _, user := range users {
		c, ok := m.Get(user)
		if !ok {
			continue
		}
		text := user + "@" + c.Node
		if !c.Firsthand {
			text += "?"
		}
		list = append(list, text)
	}
	return strings.Join(list, " ")
}

func TestMembers(t *testing.T) {
	own := func(node string) cluster.Claim { return cluster.Claim{Node: node, Firsthand: true} }
	heard := func(node string) cluster.Claim { return cluster.Claim{Node: node} }
	for _, test := range []struct {
		name string
		do   func(m *cluster.Members)
		want string
	}{
		{"two nodes", func(m *cluster.Members) { m.Put("ann", own("a")); m.Put("bob", own("b")) }, "ann@a bob@b"},
		{"hearsay", func(m *cluster.Members) { m.Put("ann", heard("b")) }, "ann@b?"},
		{"the node itself counts more", func(m *cluster.Members) { m.Put("ann", heard("b")); m.Put("ann", own("a")) }, "ann@a"},
		{"hearsay comes too late", func(m *cluster.Members) { m.Put("ann", own("a")); m.Put("ann", heard("b")) }, "ann@a"},
		{"hearsay leaves no trace", func(m *cluster.Members) {
			m.Put("ann", heard("b"))
			m.Put("ann", own("a"))
			m.Remove("a", "ann")
		}, ""},
		{"a node knows its own", func(m *cluster.Members) { m.Put("ann", own("a")); m.Put("ann", heard("a")) }, "ann@a"},
		{"same ID on two nodes", func(m *cluster.Members) { m.Put("ann", own("a")); m.Put("ann", own("b")) }, "ann@b"},
		{"one of two leaves", func(m *cluster.Members) {
			m.Put("ann", own("a"))
			m.Put("ann", own("b"))
			m.Remove("b", "ann")
		}, "ann@a"},
		{"a leave of another node", func(m *cluster.Members) { m.Put("ann", own("a")); m.Remove("b", "ann") }, "ann@a"},
		{"a leave from the real node", func(m *cluster.Members) { m.Put("ann", heard("b")); m.Remove("a", "ann") }, ""},
		{"a dead node", func(m *cluster.Members) {
			m.Put("ann", own("a"))
			m.Put("bob", own("b"))
			m.Put("eve", heard("a"))
			removed, doubt := m.RemoveNode("a")
			if !slices.Equal(removed, []string{"ann"}) || !slices.Equal(doubt, []string{"eve"}) {
				panic(fmt.Sprint(removed, doubt))
			}
		}, "bob@b eve@a?"},
		{"doubt is removed", func(m *cluster.Members) {
			m.Put("ann", heard("a"))
			m.Put("eve", heard("a"))
			_, doubt := m.RemoveNode("a")
			m.Put("ann", own("b"))
			m.RemoveDoubted("a", doubt)
		}, "ann@b"},
		{"a whole state", func(m *cluster.Members) {
			m.Put("ann", own("a"))
			m.Put("bob", own("a"))
			m.Put("eve", own("b"))
			m.Retain("a", map[string]struct{}{"bob": {}})
		}, "bob@a eve@b"},
	} {
		t.Run(test.name, func(t *testing.T) {
			var m cluster.Members
			test.do(&m)
			if got := roster(&m, "ann", "bob", "eve"); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
			if want := len(strings.Fields(test.want)); m.Len() != want {
				t.Errorf("Len is %d, want %d", m.Len(), want)
			}
			for _, node := range m.Nodes() { // no user is left in the index
				for _, user := range m.Of(node) {
					if _, ok := m.From(node, user); !ok {
						t.Errorf("%s is in the index of %s", user, node)
					}
				}
			}
		})
	}
}

func TestNodes(t *testing.T) {
	start := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
	at := func(seconds int) time.Time { return start.Add(time.Duration(seconds) * time.Second) }
	n := cluster.NewNodes(10 * time.Second)
	seen := func(node string, seconds int, returns bool) {
		t.Helper()
		known, returned := n.Seen(node, node == "ours", at(seconds))
		if !known || returned != returns {
			t.Errorf("Seen(%s) at %d s: known %v, returned %v", node, seconds, known, returned)
		}
	}
	dead := func(seconds int, want ...string) {
		t.Helper()
		if got := n.Sweep(at(seconds)); !slices.Equal(got, want) {
			t.Errorf("dead after %d s: %q, want %q", seconds, got, want)
		}
	}
	seen("ours", 0, false)
	seen("other", 5, false)
	dead(9)
	dead(10, "ours")
	if n.Ours("other") || n.Len() != 1 {
		t.Error("another node is ours, or a dead one counts")
	}
	seen("ours", 11, true)
	seen("ours", 12, false)
	n.Hold(at(14)) // the node itself received nothing until then
	dead(22)
	dead(23)
	if got := n.Sweep(at(24)); len(got) != 2 {
		t.Errorf("dead after 24 s: %q, want both", got)
	}
	if n.Len() != 0 {
		t.Errorf("%d nodes are alive, want none", n.Len())
	}
	n.Sweep(at(200))
	seen("ours", 201, false) // it was forgotten
}
