package doctor

import (
	"os"
	"slices"
	"strings"
	"testing"
)

const page = "../../../../docs/doctor.md"

// explained returns the texts of findings that the documentation quotes, by check.
func explained(t *testing.T) map[Check][]string {
	t.Helper()
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	quotes := map[Check][]string{}
	for part := range strings.SplitSeq(string(text), "\n### ") {
		heading, part, _ := strings.Cut(part, "\n")
		part, _, _ = strings.Cut(part, "\n## ")
		check := Check(heading)
		quotes[check] = nil
		for line := range strings.Lines(part) {
			if cells, ok := strings.CutPrefix(line, "| `"); ok {
				quote, _, _ := strings.Cut(cells, "`")
				quotes[check] = append(quotes[check], quote)
			}
		}
	}
	return quotes
}

// requireExplanation fails the test if the documentation does not explain a finding.
func requireExplanation(t *testing.T, f Finding) {
	t.Helper()
	quotes, ok := explained(t)[f.Check]
	if !ok {
		t.Errorf("%s has no heading %q", page, f.Check)
	}
	if f.Severity != OK && !slices.ContainsFunc(quotes, func(q string) bool { return strings.Contains(f.Text, q) }) {
		t.Errorf("%s does not explain %q under %q", page, f.Text, f.Check)
	}
}
