package cluster

import (
	"slices"
	"testing"
)

// An identity leaves four nodes one after the other, and each node knows any part of the
// earlier leaves. Unless the last node knows all of them, which then runs the handler at
// once, the handler runs on exactly one node, whatever the order of the IDs.
func TestAways(t *testing.T) {
	const n = 4
	for bits := range 1 << (n * (n - 1) / 2) {
		for _, ids := range permutations([]string{"a", "b", "c", "d"}) {
			aways := Aways{}
			done := false
			for i, bit := 0, 0; i < n; i++ {
				var others []string
				for j, id := range ids {
					if j < i {
						if bits&(1<<bit) == 0 {
							others = append(others, id) // it is not known that it left
						}
						bit++
					} else if j > i {
						others = append(others, id)
					}
				}
				done = done || len(others) == 0
				aways[ids[i]] = Away{others, true}
			}
			ran := 0
			for _, id := range ids {
				if aways.Mine(id) {
					ran++
				}
			}
			if ran != 1 && !done {
				t.Fatalf("%v: %d nodes run the handler", aways, ran)
			}
		}
	}
}

func permutations(list []string) (all [][]string) {
	if len(list) == 0 {
		return [][]string{nil}
	}
	for i := range list {
		rest := slices.Delete(slices.Clone(list), i, i+1)
		for _, p := range permutations(rest) {
			all = append(all, append([]string{list[i]}, p...))
		}
	}
	return all
}

// A node that shuts down cannot run the handler, so another one does.
func TestAwaysOfStoppingNode(t *testing.T) {
	aways := Aways{"a": {[]string{"b", "c"}, false}, "b": {[]string{"a", "c"}, true}, "c": {[]string{"a", "b"}, true}}
	if !aways.Mine("b") || aways.Mine("c") {
		t.Errorf("b: %v, c: %v", aways.Mine("b"), aways.Mine("c"))
	}
}
