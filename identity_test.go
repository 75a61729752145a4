package pond

import (
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"
)

// An identityIndex is equal to the lists of a simple program, and stores nothing of
// removed members.
func TestIdentityIndex(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var x identityIndex[*conn]
	model := map[string][]*conn{}
	conns := make([]*conn, 300)
	for i := range conns {
		conns[i] = &conn{}
		if n := r.IntN(10); n > 0 { // some have no identity, and the last one has many
			conns[i].identity = strconv.Itoa(min(n, 4))
		}
	}
	for range 20_000 {
		c := conns[r.IntN(len(conns))]
		i := slices.Index(model[c.identity], c)
		if i < 0 && c.identity != "" {
			x.add(c)
			model[c.identity] = append(model[c.identity], c)
		} else {
			x.remove(c)
			if i >= 0 {
				model[c.identity] = slices.Delete(model[c.identity], i, i+1)
			}
		}
		for identity, want := range model {
			if len(x[identity]) != len(want) {
				t.Fatalf("%d of %q, want %d", len(x[identity]), identity, len(want))
			}
		}
		for _, found := range x[c.identity] {
			if !slices.Contains(model[c.identity], found) {
				t.Fatalf("%q has one that was removed", c.identity)
			}
		}
	}
	for _, c := range conns {
		x.add(&conn{}) // without identity
		x.remove(c)
	}
	if len(x) != 0 {
		t.Errorf("%d identities are left", len(x))
	}
}
