//go:build linux

// Command bench compares pond with other servers, and writes docs/benchmarks.md.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/pondsocket/pond/bench/internal/fleet"
)

// A bench holds the flags.
type bench struct {
	fleet    *fleet.Fleet
	rounds   int
	warmup   time.Duration
	duration time.Duration
	timeout  time.Duration // for one run
	quick    bool
	only     []string // names of scenarios and servers; empty means all
	doc      string   // file name of the report

	missing map[string]string // servers that could not be installed, with the reason
	records []record
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	b := &bench{fleet: &fleet.Fleet{}, missing: map[string]string{}}
	var only string
	flag.IntVar(&b.rounds, "rounds", 5, "number of rounds")
	flag.DurationVar(&b.warmup, "warmup", 500*time.Millisecond, "time before each measurement")
	flag.DurationVar(&b.duration, "duration", 2*time.Second, "time of each measurement")
	flag.DurationVar(&b.timeout, "timeout", time.Minute, "maximum time of one run")
	flag.BoolVar(&b.quick, "quick", false, "run one short round with a tenth of the clients, to check that everything works")
	flag.StringVar(&only, "only", "", "names of scenarios and servers, separated by commas; * matches any text")
	flag.StringVar(&b.doc, "doc", "", "file name of the report; the default is ../docs/benchmarks.md, and no file with -only")
	again := flag.Bool("again", false, "write the report from the last results, without measuring")
	list := flag.Bool("list", false, "print the names of scenarios and servers")
	flag.Parse()

	if *list {
		fmt.Println("scenarios:", strings.Join(names(scenarios()), " "))
		fmt.Println("servers:  ", strings.Join(serverNames(), " "))
		return nil
	}
	if only != "" {
		b.only = strings.Split(only, ",")
	} else if b.doc == "" {
		b.doc = filepath.Join("..", "docs", "benchmarks.md")
	}
	if b.quick {
		b.rounds, b.warmup, b.duration = 1, 100*time.Millisecond, 300*time.Millisecond
	}
	return b.all(ctx, *again)
}

func (b *bench) all(ctx context.Context, again bool) error {
	if err := b.check(); err != nil {
		return err
	}
	var err error
	if b.fleet.Source, err = filepath.Abs("."); err != nil {
		return err
	}
	b.fleet.Artifacts = filepath.Join(b.fleet.Source, "artifacts")
	if again {
		all, err := b.again()
		if err != nil {
			return err
		}
		return b.write(all)
	}
	b.install(ctx)
	b.measureAll(ctx)
	if len(b.records) == 0 {
		return fmt.Errorf("nothing was measured: %w", context.Cause(ctx))
	}
	if ctx.Err() != nil {
		b.doc = "" // keep the existing report
	}
	all, err := b.keep(context.WithoutCancel(ctx))
	if err != nil {
		return err
	}
	return b.write(all)
}

// check returns an error if a name in -only is unknown.
func (b *bench) check() error {
	known := slices.Concat(names(scenarios()), serverNames())
	for _, name := range b.only {
		if !slices.ContainsFunc(known, func(n string) bool { return matches(name, n) }) {
			return fmt.Errorf("unknown scenario or server %q: see -list", name)
		}
	}
	return nil
}

// chosen reports whether name was chosen with -only. If no element of all was, all are
// chosen.
func (b *bench) chosen(name string, all []string) bool {
	asked := slices.ContainsFunc(b.only, func(pattern string) bool {
		return slices.ContainsFunc(all, func(n string) bool { return matches(pattern, n) })
	})
	return !asked || slices.ContainsFunc(b.only, func(pattern string) bool { return matches(pattern, name) })
}

// matches reports whether a name matches an element of -only, which may contain *.
func matches(pattern, name string) bool {
	ok, err := path.Match(pattern, name)
	return ok && err == nil
}

func (b *bench) install(ctx context.Context) {
	for _, s := range fleet.Servers() {
		if !b.chosen(s.Name, serverNames()) {
			continue
		}
		if err := b.fleet.Install(ctx, s); err != nil {
			fmt.Fprintf(os.Stderr, "%s is excluded: %v\n", s.Name, err)
			b.missing[s.Name] = "could not be installed"
		}
	}
}

// measureAll runs the rounds. Each round runs all scenarios with all of their servers, so
// that other work on the machine affects all servers alike. Each round starts with a
// different server.
func (b *bench) measureAll(ctx context.Context) {
	began := time.Now()
	for round := range b.rounds {
		for _, s := range scenarios() {
			if !b.chosen(s.name, names(scenarios())) {
				continue
			}
			if b.quick {
				s = s.scaled()
			}
			servers := b.servers(s, round)
			for i := range servers {
				rec := b.run(ctx, s, servers[(i+round)%len(servers)], round)
				if ctx.Err() != nil {
					return // an interrupted run has no result
				}
				b.records = append(b.records, rec)
				fmt.Printf("%6.0f s  round %d  %-10s %-16s %s\n", time.Since(began).Seconds(), round+1, s.name, rec.Server, rec.brief(s))
			}
		}
	}
}

// servers returns the servers of a round.
func (b *bench) servers(s scenario, round int) (in []string) {
	if s.rounds > 0 && round >= s.rounds {
		return nil
	}
	for _, name := range rows(s) {
		switch limit, limited := s.few[name]; {
		case limited && round >= limit:
		case s.out[name] != "" || b.missing[serverOf(name)] != "":
		case !b.chosen(serverOf(name), serverNames()):
		default:
			in = append(in, name)
		}
	}
	return in
}

// serverOf returns the server of a row: the text before a comma.
func serverOf(row string) string {
	name, _, _ := strings.Cut(row, ",")
	return name
}

// rows returns all rows of a scenario's table.
func rows(s scenario) []string {
	if s.failure.inject != nil {
		return failureRows
	}
	if s.cluster {
		return clusterRows
	}
	all := serverNames()
	if s.deflate {
		all = slices.Insert(all, 1, plain)
	}
	return all
}

// brief returns a line about a run.
func (r record) brief(s scenario) string {
	if r.Values == nil {
		return "FAILED: " + r.Failure
	}
	var parts []string
	for _, c := range s.columns {
		if v, ok := r.Values[c.Key]; ok {
			parts = append(parts, fmt.Sprintf("%s %.4g", c.Title, v))
		}
	}
	if r.Failure != "" {
		parts = append(parts, "FAILED: "+r.Failure)
	}
	return strings.Join(parts, "; ")
}

func names(all []scenario) (n []string) {
	for _, s := range all {
		n = append(n, s.name)
	}
	return n
}

func serverNames() (n []string) {
	for _, s := range fleet.Servers() {
		n = append(n, s.Name)
	}
	return n
}
