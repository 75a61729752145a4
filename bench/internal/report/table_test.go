package report

import (
	"strings"
	"testing"
	"unicode/utf8"
)

func TestNumbersAreShort(t *testing.T) {
	for v, want := range map[float64]string{
		0: "0", 0.01234: "0.0123", 1: "1.00", 12.34: "12.3", 123.4: "123", 1234: "1,230", 1_234_567: "1,230,000",
		-1234: "-1,230", 999.9: "1,000", 9.999: "10.00",
	} {
		if got := significant(v, 3); got != want {
			t.Errorf("%v: got %q, want %q", v, got, want)
		}
	}
}

func TestMedian(t *testing.T) {
	for _, test := range []struct {
		sorted []float64
		want   float64
	}{{nil, 0}, {[]float64{3}, 3}, {[]float64{1, 3}, 2}, {[]float64{1, 2, 9}, 2}} {
		if got := Median(test.sorted); got != test.want {
			t.Errorf("%v: got %v, want %v", test.sorted, got, test.want)
		}
	}
}

func TestFailuresAreShown(t *testing.T) {
	table := Table{
		Title:   "Fan-out",
		Columns: []Column{{Key: "rate", Title: "per s"}, {Key: "cpu", Title: "CPU"}},
		Servers: []string{"pond", "peer", "absent"},
		Runs: []Run{
			{Server: "peer", Values: map[string]float64{"rate": 50}},
			{Server: "peer", Failure: "3 clients were disconnected"},
			{Server: "pond", Values: map[string]float64{"rate": 100}},
			{Server: "pond", Values: map[string]float64{"rate": 300}},
			{Server: "pond", Values: map[string]float64{"rate": 200}},
		},
		Absent: []string{"absent: has no rooms"},
	}
	got := table.Markdown()
	for _, want := range []string{
		"| pond | 3 | 200 (100–300) ×1.0 | - |\n| peer | 2, 1 failed | 50.0 ×0.25 | - |\n",
		"- Failed: peer, 1 of 2 runs: 3 clients were disconnected\n",
		"- Excluded: absent: has no rooms\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is not in\n%s", want, got)
		}
	}
}

func TestLinesAreWrapped(t *testing.T) {
	text := strings.TrimSpace(strings.Repeat("seven – ", 40))
	wrapped := item(text)
	for line := range strings.Lines(wrapped) {
		if n := utf8.RuneCountInString(strings.TrimRight(line, "\n")); n > 120 || n < 8 {
			t.Errorf("a line of %d: %q", n, line)
		}
	}
	if got := strings.Join(strings.Fields(wrapped), " "); got != "- "+text {
		t.Errorf("words were lost: %q", got)
	}
}

func TestSummaryComparesMedians(t *testing.T) {
	rate := Column{Key: "rate", Title: "per s", Plain: true}
	got := Summary([]Line{{
		Column: rate,
		Table: Table{Title: "Fan-out to 1,000", Runs: []Run{
			{Server: "pond", Values: map[string]float64{"rate": 100}},
			{Server: "pond", Values: map[string]float64{"rate": 300}},
			{Server: "peer", Values: map[string]float64{"rate": 50}},
		}},
	}}, []string{"pond", "peer", "absent"})
	want := "| [Fan-out to 1,000](#fan-out-to-1000) | per s | 200 ×1.0 | 50.0 ×0.25 | - |\n"
	if !strings.HasSuffix(got, want) {
		t.Errorf("got\n%s\nwant at its end\n%s", got, want)
	}
}
