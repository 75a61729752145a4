package report

import (
	"fmt"
	"strings"
)

// A Line is a row of the summary: the most important column of a scenario.
type Line struct {
	Table  Table
	Column Column
}

// Summary returns a table of all scenarios, with the median of each server and its ratio
// to that of the reference.
func Summary(lines []Line, servers []string) string {
	var b strings.Builder
	b.WriteString("| Scenario | Measure |")
	for _, s := range servers {
		fmt.Fprintf(&b, " %s |", s)
	}
	b.WriteString("\n|---|---|" + strings.Repeat("---:|", len(servers)) + "\n")
	for _, l := range lines {
		fmt.Fprintf(&b, "| [%s](#%s) | %s |", l.Table.Title, anchor(l.Table.Title), l.Column.Title)
		column := l.Column
		column.Plain = false
		reference := values(l.Table.of(Reference), column.Key)
		for _, s := range servers {
			cell := "-"
			if all := values(l.Table.of(s), column.Key); len(all) > 0 {
				cell = column.cell([]float64{Median(all)}, reference)
			}
			fmt.Fprintf(&b, " %s |", cell)
		}
		b.WriteString("\n")
	}
	return b.String()
}

// anchor returns the anchor of a heading.
func anchor(title string) string {
	keep := func(r rune) rune {
		switch {
		case r == ' ':
			return '-'
		case r == '-' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z':
			return r
		}
		return -1
	}
	return strings.Map(keep, strings.ToLower(title))
}
