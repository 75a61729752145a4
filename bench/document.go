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

// results are the raw results of all runs.
type results struct {
	Time    string   `json:"time"`
	Commit  string   `json:"commit"`
	Machine []string `json:"machine"`
	Rounds  int      `json:"rounds"`
	Quick   bool     `json:"quick"`
	Runs    []record `json:"runs"`
}

func (b *bench) resultsFile() string { return filepath.Join(b.fleet.Artifacts, "results.json") }

// keep writes the raw results to a file.
func (b *bench) keep(ctx context.Context) (results, error) {
	all := results{report.Now(), b.fleet.Commit(ctx), report.Machine(ctx), b.rounds, b.quick, b.records}
	raw, err := json.MarshalIndent(all, "", "\t")
	if err != nil {
		return all, err
	}
	return all, os.WriteFile(b.resultsFile(), raw, 0o600)
}

// again reads the raw results of an earlier run from the file.
func (b *bench) again() (all results, err error) {
	raw, err := os.ReadFile(b.resultsFile())
	if err == nil {
		err = json.Unmarshal(raw, &all)
	}
	b.records, b.rounds, b.quick = all.Runs, all.Rounds, all.Quick
	return all, err
}

// write prints the tables, and writes the report if b.doc is set.
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

// summary returns a table of all scenarios.
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
	return "## Summary\n\nThe table shows medians, and their ratio (×) to pond's median. Higher is better for measures with `/s`; lower is better for all others.\n\n" +
		report.Summary(lines, serverNames()) + "\n"
}

// absent returns the excluded servers, with one line per reason.
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
		"This page compares pond with other servers, on one machine, each in its own process. `make -C bench` repeats all measurements\n" +
		"and writes this page. The raw results are in `bench/artifacts/results.json`.\n\n")
	if b.quick {
		text.WriteString("**This is a quick run with a tenth of the clients, to check that everything works. Its numbers are meaningless.**\n\n")
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
	text.WriteString("\n| Server | Version | Description |\n|---|---|---|\n")
	for _, s := range fleet.Servers() {
		fmt.Fprintf(&text, "| %s | %s | %s |\n", s.Name, cmp.Or(b.fleet.Version(s), "this commit"), s.About)
	}
	text.WriteString(method)
	return text.String()
}

const method = `
## How to read the tables

- A cell shows the median of all runs, the range in parentheses, and the ratio (×) to pond's median.
- A load generator with one thread (` + "`internal/load`" + `) and one server share the machine. The load generator verifies every
  delivery. A lost, duplicated or reordered delivery is a failure of that run, and is shown. So is a disconnected client.
- The size of a message is its size as a client sends it, including the envelope of the protocol.
- Some long scenarios have fewer rounds and a longer duration. The column "Runs" shows the number of runs.
- Each round runs all scenarios, and each scenario runs all servers, starting with a different server in each round.
  So other work on the machine affects all servers alike. Trust a ratio only if the ranges do not overlap.
- The CPU time of a server is that of its process, in user and system mode. It is more reliable than the rate, because
  the load generator uses the rest of the machine. If the load generator uses almost 100 % of a core, the rate shows
  its limit and not the server's.
- On loopback, the sender also does the work of the receiver's kernel. On a real network, sending is cheaper.
- All servers have their default settings and follow the examples in their documentation. The sources in
  ` + "`bench/servers`" + ` document all differences. No server was tuned or slowed down.
- The nodes of a cluster, Redis and the load generator share the two cores, so a cluster can be slower here than one node. On
  separate machines, each node has its own. CPU times do not depend on this.
- Socket.IO and uvicorn use one thread by design. Several processes with an adapter could serve more clients.

`

const postscript = `## Repeat the measurements

` + "```sh" + `
make -C bench             # all measurements, about an hour; writes this page
make -C bench cluster     # only those with two nodes and Redis
make -C bench quick       # one short round with a tenth of the clients
cd bench
go run . -only fanout,pond,centrifuge -rounds 3
go run . -again           # writes this page again from the raw results
go run . -list
` + "```" + `
`
