// Package report makes tables from measurements.
package report

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Reference is the server with which the others are compared.
const Reference = "pond"

// A Column is a measured value.
type Column struct {
	Key    string // in the values of a [Run]
	Title  string
	Digits int  // significant digits
	Plain  bool // without a ratio to the reference
}

// A Run is one measurement of one server.
type Run struct {
	Scenario string             `json:"scenario"`
	Server   string             `json:"server"`
	Round    int                `json:"round"`
	Values   map[string]float64 `json:"values"`
	Failure  string             `json:"failure,omitempty"` // a failure of the server or of its clients
}

// A Table compares servers in one scenario.
type Table struct {
	Title   string
	Text    string // what the clients do
	Caveat  string // how to interpret the numbers
	Columns []Column
	Servers []string // in order
	Runs    []Run
	Absent  []string // excluded servers, with the reason
}

// Markdown returns the table and its texts.
func (t *Table) Markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "## %s\n\n%s\n\n", t.Title, Wrap(t.Text))
	b.WriteString("| Server | Runs |")
	for _, c := range t.Columns {
		fmt.Fprintf(&b, " %s |", c.Title)
	}
	b.WriteString("\n|---|---:|" + strings.Repeat("---:|", len(t.Columns)) + "\n")
	var failures []string
	for _, server := range t.Servers {
		runs := t.of(server)
		if len(runs) == 0 {
			continue
		}
		t.row(&b, server, runs)
		failures = append(failures, failuresOf(server, runs)...)
	}
	b.WriteString("\n")
	t.notes(&b, failures)
	return b.String()
}

func (t *Table) of(server string) (runs []Run) {
	for _, r := range t.Runs {
		if r.Server == server {
			runs = append(runs, r)
		}
	}
	return runs
}

func (t *Table) row(b *strings.Builder, server string, runs []Run) {
	failed := 0
	for _, r := range runs {
		if r.Failure != "" {
			failed++
		}
	}
	count := strconv.Itoa(len(runs))
	if failed > 0 {
		count = fmt.Sprintf("%d, %d failed", len(runs), failed)
	}
	fmt.Fprintf(b, "| %s | %s |", server, count)
	for _, c := range t.Columns {
		fmt.Fprintf(b, " %s |", c.cell(values(runs, c.Key), values(t.of(Reference), c.Key)))
	}
	b.WriteString("\n")
}

func (t *Table) notes(b *strings.Builder, failures []string) {
	for _, f := range failures {
		b.WriteString(item("Failed: " + f))
	}
	for _, a := range t.Absent {
		b.WriteString(item("Excluded: " + a))
	}
	if len(failures)+len(t.Absent) > 0 {
		b.WriteString("\n")
	}
	if t.Caveat != "" {
		b.WriteString(Wrap(t.Caveat) + "\n\n")
	}
}

// failuresOf counts equal failures once.
func failuresOf(server string, runs []Run) (lines []string) {
	count := map[string]int{}
	var order []string
	for _, r := range runs {
		if r.Failure == "" {
			continue
		}
		if count[r.Failure] == 0 {
			order = append(order, r.Failure)
		}
		count[r.Failure]++
	}
	for _, f := range order {
		lines = append(lines, fmt.Sprintf("%s, %d of %d runs: %s", server, count[f], len(runs), f))
	}
	return lines
}

// values returns the sorted values for key. Some runs may have none.
func values(runs []Run, key string) (all []float64) {
	for _, r := range runs {
		if v, ok := r.Values[key]; ok && !math.IsNaN(v) && !math.IsInf(v, 0) {
			all = append(all, v)
		}
	}
	slices.Sort(all)
	return all
}

// cell returns the median, the range, and the ratio of the median to the reference's.
func (c Column) cell(all, reference []float64) string {
	if len(all) == 0 {
		return "-"
	}
	m := Median(all)
	text := c.number(m)
	if len(all) > 1 {
		text += fmt.Sprintf(" (%s–%s)", c.number(all[0]), c.number(all[len(all)-1]))
	}
	if r := Median(reference); r > 0 && !c.Plain {
		text += " ×" + significant(m/r, 2)
	}
	return text
}

func (c Column) number(v float64) string { return significant(v, cmp.Or(c.Digits, 3)) }

// Median returns the median of sorted numbers, or 0 if there are none.
func Median(sorted []float64) float64 {
	n := len(sorted)
	if n == 0 {
		return 0
	}
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

// significant rounds v and adds thousands separators.
func significant(v float64, digits int) string {
	if v == 0 {
		return "0"
	}
	decimals := digits - 1 - int(math.Floor(math.Log10(math.Abs(v))))
	if decimals > 0 {
		return strconv.FormatFloat(v, 'f', decimals, 64)
	}
	unit := math.Pow10(-decimals)
	return grouped(strconv.FormatFloat(math.Round(v/unit)*unit, 'f', 0, 64))
}

func grouped(number string) string {
	sign := ""
	if strings.HasPrefix(number, "-") {
		sign, number = "-", number[1:]
	}
	for at := len(number) - 3; at > 0; at -= 3 {
		number = number[:at] + "," + number[at:]
	}
	return sign + number
}

// width is the maximum length of lines, except in tables.
const width = 118 // with what lists indent

// Wrap breaks the lines of a paragraph.
func Wrap(text string) string {
	var b strings.Builder
	column := 0
	for word := range strings.FieldsSeq(text) {
		n := utf8.RuneCountInString(word)
		switch {
		case column == 0:
		case column+1+n > width:
			b.WriteByte('\n')
			column = 0
		default:
			b.WriteByte(' ')
			column++
		}
		b.WriteString(word)
		column += n
	}
	return b.String()
}

// item returns an item of a list.
func item(text string) string {
	return strings.ReplaceAll(Wrap("- "+text), "\n", "\n  ") + "\n"
}
