package pondclient_test

import (
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/pondsocket/pond/pondclient"
)

// The client acts according to the table in docs/goclient.md.
func TestRequirement9TheTableIsPublished(t *testing.T) {
	page, err := os.ReadFile("../docs/goclient.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, ok := strings.Cut(string(page), "<!-- table: actions -->")
	if !ok {
		t.Fatal("no table")
	}
	table, _, _ = strings.Cut(table, "\n\n")
	number := regexp.MustCompile(`\b\d{3,4}\b`)
	seen := 0
	for row := range strings.Lines(table) {
		cells := strings.Split(row, "|")
		if len(cells) < 4 {
			continue
		}
		want := regexp.MustCompile(`retry|refresh|stop`).FindString(cells[2])
		numbers := number.FindAllString(cells[1], -1)
		if strings.Contains(cells[1], " to ") { // 4000 + a status
			for status := 400; status <= 599; status++ {
				of, as := pondclient.DefaultAction(&pondclient.ConnectionError{Code: 4000 + status}), pondclient.DefaultAction(&pondclient.ConnectionError{Status: status})
				if of != as {
					t.Errorf("%d: %v, want %v", 4000+status, of, as)
				}
			}
			continue
		}
		for _, n := range numbers {
			seen++
			code, _ := strconv.Atoi(n)
			e := &pondclient.ConnectionError{Code: code}
			if code < 1000 {
				e = &pondclient.ConnectionError{Status: code}
			}
			if got := pondclient.DefaultAction(e); got.String() != want {
				t.Errorf("%d: %v, the page says %v", code, got, want)
			}
		}
		for _, other := range []struct {
			text  string
			codes []int
		}{
			{"other 3xx and 4xx", []int{300, 308, 402, 418, 451, 499}},
			{"other 5xx", []int{507, 508, 599}},
		} {
			for _, status := range other.codes {
				if got := pondclient.DefaultAction(&pondclient.ConnectionError{Status: status}); strings.Contains(cells[1], other.text) && got.String() != want {
					t.Errorf("%d: %v, the page says %v", status, got, want)
				}
			}
		}
	}
	if seen < 30 {
		t.Errorf("only %d numbers in the table", seen)
	}
	if got := pondclient.DefaultAction(&pondclient.ConnectionError{Err: pondclient.ErrSilence}); got != pondclient.Retry {
		t.Errorf("without a number: %v", got)
	}
}
