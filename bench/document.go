//go:build linux

package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/pondsocket/pond/bench/internal/fleet"
	"github.com/pondsocket/pond/bench/internal/report"
)

// results is what is kept of all runs.
type results struct {
	Time    string   `json:"time"`
	Commit  string   `json:"commit"`
	Machine []string `json:"machine"`
	Rounds  int      `json:"rounds"`
	Quick   bool     `json:"quick"`
	Runs    []record `json:"runs"`
}

func (b *bench) resultsFile() string { return filepath.Join(b.fleet.Artifacts, "results.json") }

// keep writes the raw results.
func (b *bench) keep(ctx context.Context) (results, error) {
	all := results{report.Now(), b.fleet.Commit(ctx), report.Machine(ctx), b.rounds, b.quick, b.records}
	raw, err := json.MarshalIndent(all, "", "\t")
	if err != nil {
		return all, err
	}
	return all, os.WriteFile(b.resultsFile(), raw, 0o600)
}

// again reads the raw results of an earlier run.
func (b *bench) again() (all results, err error) {
	raw, err := os.ReadFile(b.resultsFile())
	if err == nil {
		err = json.Unmarshal(raw, &all)
	}
	b.records, b.rounds, b.quick = all.Runs, all.Rounds, all.Quick
	return all, err
}

// write prints the tables, and writes the report if it was asked for.
func (b *bench) write(all results) error {
	text := b.summary() + b.tables()
	fmt.Print("\n", text)
	if b.doc == "" {
		return nil
	}
	text = b.preface(all) + text + postscript
	return os.WriteFile(b.doc, []byte(strings.TrimSpace(text)+"\n"), 0o644) //nolint:gosec // a document
}

func (b *bench) table(s scenario) report.Table {
	table := report.Table{
		Title: s.title, Text: s.text, Caveat: s.caveat,
		Columns: s.columns, Servers: rows(s),
	}
	for _, r := range b.records {
		if r.Scenario == s.name {
			table.Runs = append(table.Runs, r.Run)
		}
	}
	return table
}

func (b *bench) tables() string {
	var text strings.Builder
	for _, s := range scenarios() {
		table := b.table(s)
		if len(table.Runs) == 0 {
			continue
		}
		table.Absent = b.absent(s)
		text.WriteString(table.Markdown())
	}
	return text.String()
}

// summary is all scenarios in one table.
func (b *bench) summary() string {
	var lines []report.Line
	for _, s := range scenarios() {
		table := b.table(s)
		if len(table.Runs) == 0 {
			continue
		}
		columns := s.best
		if columns == nil {
			columns = s.columns[:1]
		}
		for _, c := range columns {
			lines = append(lines, report.Line{Table: table, Column: c})
		}
	}
	return "## Summary\n\nMedians, and × what they are of pond's. More is better where it says `/s`, and less everywhere else.\n\n" +
		report.Summary(lines, serverNames()) + "\n"
}

// absent says who was left out, and why, once for each reason.
func (b *bench) absent(s scenario) (lines []string) {
	var reasons []string
	by := map[string][]string{}
	for _, server := range rows(s) {
		why := cmp.Or(s.out[server], b.missing[server])
		if why == "" {
			continue
		}
		if by[why] == nil {
			reasons = append(reasons, why)
		}
		by[why] = append(by[why], server)
	}
	for _, why := range reasons {
		lines = append(lines, strings.Join(by[why], ", ")+": "+why+".")
	}
	return lines
}

func (b *bench) preface(all results) string {
	var text strings.Builder
	text.WriteString("# Benchmarks\n\n" +
		"pond beside its peers, on one machine, each in a process of its own. `make -C bench` measures it all again and\n" +
		"writes this page; the raw results are in `bench/artifacts/results.json`.\n\n")
	if b.quick {
		text.WriteString("**This is a quick run with a tenth of the clients, to see that everything works. Its numbers mean nothing.**\n\n")
	}
	rounds := "1 round"
	if b.rounds != 1 {
		rounds = fmt.Sprintf("%d rounds", b.rounds)
	}
	fmt.Fprintf(&text, "Measured on %s in %s, each run %v after %v of warm-up, at commit %s:\n\n",
		all.Time, rounds, b.duration, b.warmup, all.Commit)
	for _, line := range all.Machine {
		fmt.Fprintf(&text, "- %s\n", line)
	}
	text.WriteString("\n| Server | Version | What it is |\n|---|---|---|\n")
	for _, s := range fleet.Servers() {
		fmt.Fprintf(&text, "| %s | %s | %s |\n", s.Name, cmp.Or(b.fleet.Version(s), "this commit"), s.About)
	}
	text.WriteString(method)
	return text.String()
}

const method = `
## How to read it

- A cell is the median of all runs, the lowest and the highest in parentheses, and × what it is of pond's median.
- One load generator of one thread (` + "`internal/load`" + `) and one server share the machine. The generator checks every
  delivery: a lost, doubled or reordered one is a failure of that run, and shown. So is a client that was disconnected.
- Messages of so many bytes are as the client sends them, with what the protocol puts around its text.
- Some long scenarios are measured in fewer rounds, and longer: the column "Runs" says how often.
- Rounds go through all scenarios, and in each through all servers, which take turns to begin. What the neighbours on
  the machine do hits all of them alike; trust a ratio only if the ranges do not overlap.
- The CPU of a server is its process's, in user and system mode. It says more than the rate: the generator takes the
  other part of the machine, and where "load" is near 100 % of a core, the rate is the generator's and not the server's.
- On loopback the sender also pays for what the receiver's kernel does. A real network is cheaper for the sender.
- All servers are as their documentation shows them, with their defaults; what differs is said in their sources, in
  ` + "`bench/servers`" + `. None was tuned, and none was held back.
- Socket.IO and uvicorn run in one thread by nature. More processes would serve more clients, with an adapter between them.

`

const postscript = `## Again

` + "```sh" + `
make -C bench             # everything, about half an hour; writes this page
make -C bench quick       # one short round with a tenth of the clients
cd bench
go run . -only fanout,pond,centrifuge -rounds 3
go run . -again           # this page once more, from the raw results
go run . -list
` + "```" + `
`
