package cluster

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

func due(r *Requests, now time.Time, bytes int) [][]Request {
	r.RepeatSoon(false)
	r.next = time.Time{}
	pages, _ := r.Due(now, bytes)
	return pages
}

func ids(pages [][]Request) (ids []string) {
	for _, page := range pages {
		for _, r := range page {
			ids = append(ids, r.ID)
		}
	}
	return ids
}

// Requests are repeated for an hour.
func TestRequestsAge(t *testing.T) {
	var r Requests
	start := time.Now()
	if pages := due(&r, start, 1000); pages != nil {
		t.Errorf("%v without requests", pages)
	}
	r.Add(Request{ID: "a"}, start)
	r.Add(Request{ID: "b"}, start.Add(time.Minute))
	pages := due(&r, start.Add(time.Hour), 1000)
	if len(pages) != 1 || len(pages[0]) != 2 {
		t.Errorf("got %v", pages)
	}
	if got := fmt.Sprint(ids(due(&r, start.Add(time.Hour+time.Millisecond), 1000))); got != "[b]" {
		t.Errorf("after an hour: %v", got)
	}
	if got := due(&r, start.Add(3*time.Hour), 1000); got != nil {
		t.Errorf("after three hours: %v", got)
	}
}

// The memory is limited, and one request always fits.
func TestRequestsLimit(t *testing.T) {
	var r Requests
	now := time.Now()
	for i := range 5000 {
		r.Add(Request{ID: fmt.Sprint(i), Identity: "somebody"}, now)
	}
	got := ids(due(&r, now, 1000))
	if len(got) < 1000 || len(got) > 2000 || got[len(got)-1] != "4999" || got[0] != fmt.Sprint(5000-len(got)) {
		t.Errorf("%d requests, from %s to %s", len(got), got[0], got[len(got)-1])
	}
	r.Add(Request{ID: "long", Reason: strings.Repeat("x", 2*requestBytes)}, now)
	if got := fmt.Sprint(ids(due(&r, now, 1000))); got != "[long]" {
		t.Errorf("got %v", got)
	}
	r.Add(Request{ID: "short"}, now)
	if got := fmt.Sprint(ids(due(&r, now, 1000))); got != "[short]" {
		t.Errorf("got %v", got)
	}
}

func TestRequestsPages(t *testing.T) {
	var r Requests
	now := time.Now()
	for i := range 10 {
		r.Add(Request{ID: fmt.Sprint(i)}, now)
	}
	pages := due(&r, now, 4*(requestOverhead+1))
	if len(pages) != 3 || len(pages[0]) != 4 || len(pages[1]) != 4 || len(pages[2]) != 2 {
		t.Errorf("got %v", pages)
	}
	if got := fmt.Sprint(ids(pages)); got != "[0 1 2 3 4 5 6 7 8 9]" {
		t.Errorf("got %v", got)
	}
	if pages := due(&r, now, 1); len(pages) != 10 {
		t.Errorf("got %v", pages)
	}
}

// Requests are repeated when that is necessary, at most every five seconds.
func TestRequestsDue(t *testing.T) {
	var r Requests
	now := time.Now()
	check := func(after time.Duration, wantPages int, wantAsk bool) {
		t.Helper()
		now = now.Add(after)
		if pages, ask := r.Due(now, 1000); len(pages) != wantPages || ask != wantAsk {
			t.Errorf("%d pages, %v, want %d, %v", len(pages), ask, wantPages, wantAsk)
		}
	}
	check(0, 0, false)
	r.RepeatSoon(false)
	check(0, 0, false) // there are none
	r.RepeatSoon(true)
	check(repeatPause-1, 0, false)
	check(1, 1, true)
	r.Add(Request{ID: "a"}, now)
	check(repeatPause, 0, false)
	r.RepeatSoon(true)
	r.RepeatSoon(false)
	check(0, 1, true)
	r.RepeatSoon(false)
	check(repeatPause, 1, false)
}
