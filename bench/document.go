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

// write keeps the raw results, prints the tables, and writes the report if it
// was asked for.
func (b *bench) write(ctx context.Context) error {
	machine := report.Machine(ctx)
	raw, err := json.MarshalIndent(struct {
		Time    string   `json:"time"`
		Machine []string `json:"machine"`
		Rounds  int      `json:"rounds"`
		Quick   bool     `json:"quick"`
		Runs    []record `json:"runs"`
	}{report.Now(), machine, b.rounds, b.quick, b.records}, "", "\t")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(b.fleet.Artifacts, "results.json"), raw, 0o600); err != nil {
		return err
	}
	tables := b.tables()
	fmt.Print("\n", tables)
	if b.doc == "" {
		return nil
	}
	text := b.preface(ctx, machine) + tables + postscript
	return os.WriteFile(b.doc, []byte(strings.TrimSpace(text)+"\n"), 0o644) //nolint:gosec // a document
}

func (b *bench) tables() string {
	var text strings.Builder
	for _, s := range scenarios() {
		table := report.Table{
			Title: s.title, Text: s.text, Caveat: s.caveat,
			Columns: s.columns, Servers: rows(s),
		}
		for _, r := range b.records {
			if r.Scenario == s.name {
				table.Runs = append(table.Runs, r.Run)
			}
		}
		if len(table.Runs) == 0 {
			continue
		}
		table.Absent = b.absent(s)
		text.WriteString(table.Markdown())
	}
	return text.String()
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

func (b *bench) preface(ctx context.Context, machine []string) string {
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
		report.Now(), rounds, b.duration, b.warmup, b.fleet.Commit(ctx))
	for _, line := range machine {
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
go run . -list
` + "```" + `
`
