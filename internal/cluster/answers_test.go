package cluster_test

import (
	"testing"
	"time"

	"github.com/pondsocket/pond/internal/cluster"
)

func TestAnswers(t *testing.T) {
	var a cluster.Answers[string]
	now := time.Now()
	r, other := cluster.Requester{Node: "a"}, cluster.Requester{Node: "b"}
	check := func(r cluster.Requester, number uint64, wantSeen bool, want string) {
		t.Helper()
		seen, answer := a.Seen(r, number)
		got := ""
		if answer != nil {
			got = *answer
		}
		if seen != wantSeen || got != want {
			t.Errorf("request %d: seen %v, answer %q, want %v, %q", number, seen, got, wantSeen, want)
		}
	}
	check(r, 3, false, "")
	a.Begin(r, 3, now)
	check(r, 3, true, "")
	check(other, 3, false, "")
	three, five := "three", "five"
	a.Finish(r, 3, &three)
	check(r, 3, true, three)
	check(r, 2, true, "")
	check(r, 4, false, "")
	a.Begin(r, 5, now)
	a.Finish(r, 3, &three) // too late
	check(r, 5, true, "")
	a.Begin(other, 1, now.Add(time.Minute))
	a.Finish(r, 5, &five)
	check(r, 5, true, five)
	a.Begin(other, 2, now.Add(119*time.Second))
	check(r, 5, true, five)
	a.Begin(other, 3, now.Add(121*time.Second))
	check(r, 5, false, "") // forgotten
}
