//go:build linux

package main

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/pondsocket/pond/bench/internal/failures"
	"github.com/pondsocket/pond/bench/internal/fleet"
	"github.com/pondsocket/pond/bench/internal/report"
)

// A failure is what happens to Redis in a scenario.
type failure struct {
	inject func(ctx context.Context, c *fleet.Cluster, d time.Duration) error // nil if nothing happens
	lasts  time.Duration
	before time.Duration // time of publishing before it
	after  time.Duration // and after it
	settle time.Duration // time to wait at the end
	wait   time.Duration // the same, while messages are missing and members were not told
}

// The times of a failure, without the failure itself.
const (
	beforeFailure = 2 * time.Second
	afterFailure  = 5 * time.Second
	quietAfter    = 100 * time.Millisecond // after a failure that takes no time, messages are lost shortly after it
	settle        = 3 * time.Second
	patience      = 75 * time.Second // for members that need a long time to notice that messages are missing
)

// measureFailure measures what the clients of a cluster receive when Redis fails.
func (b *bench) measureFailure(ctx context.Context, s scenario, server string, c *fleet.Cluster, rec *record) error {
	cfg := failures.Config{
		Dialect: dialectOf(server, s), Publisher: c.Nodes[0].Addr,
		Members: slices.Repeat([]string{c.Nodes[1].Addr}, s.load.Clients), Positions: s.load.Positions,
		Interval: time.Second / 50, Before: s.failure.before, After: s.failure.after,
		Settle: s.failure.settle, Wait: s.failure.wait,
		Fail: func(ctx context.Context) error { return s.failure.inject(ctx, c, s.failure.lasts) },
	}
	r, err := failures.Run(ctx, cfg)
	if err != nil {
		return err
	}
	rec.Failed = &r
	rec.Values = map[string]float64{
		"published": float64(r.Published), "refused": float64(r.Refused), "lost": r.Lost, "silent": r.Silent,
		"twice": r.Duplicated, "told": float64(r.Told), "latest": millis(r.Latest),
	}
	if r.Told > 0 {
		rec.Values["toldAt"] = millis(r.ToldAt)
	}
	if server == "pond" {
		rec.Values["counted"], err = countedBy(ctx, cfg.Publisher)
		if err != nil {
			return err
		}
	}
	return nil
}

// countedBy returns how many of its messages a node of pond reported as lost.
func countedBy(ctx context.Context, addr string) (float64, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/stats", http.NoBody)
	if err != nil {
		return 0, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	var stats struct{ Lost float64 }
	err = json.NewDecoder(resp.Body).Decode(&stats)
	return stats.Lost, err
}

func killed(ctx context.Context, c *fleet.Cluster, d time.Duration) error {
	if err := c.Redis.Kill(); err != nil {
		return err
	}
	<-time.After(d)
	return c.Redis.Run(context.WithoutCancel(ctx))
}

func cut(ctx context.Context, c *fleet.Cluster, _ time.Duration) error { return c.Redis.Cut(ctx) }

func stopped(_ context.Context, c *fleet.Cluster, d time.Duration) error {
	err := c.Redis.Pause()
	<-time.After(d)
	return errors.Join(err, c.Redis.Continue())
}

var failureTable = []report.Column{
	{Key: "published", Title: "published", Plain: true},
	{Key: "refused", Title: "refused", Plain: true},
	{Key: "lost", Title: "lost", Plain: true},
	{Key: "silent", Title: "silently lost", Plain: true},
	{Key: "counted", Title: "counted by node A", Plain: true},
	{Key: "twice", Title: "duplicated", Plain: true},
	{Key: "toldAt", Title: "told after, ms", Plain: true},
	{Key: "latest", Title: "latest delivery, ms", Plain: true},
}

// Variants of a row: the channel has a history, and nothing is published after the failure.
const (
	withHistory = ", history"
	thenQuiet   = ", history, then nothing is sent"
)

var failureRows = []string{
	"pond", "centrifuge", "pond" + withHistory, "centrifuge" + withHistory, "pond" + thenQuiet, "centrifuge" + thenQuiet,
}

// of returns the scenario for a row.
func (s scenario) of(row string) scenario {
	s.load.Positions = strings.Contains(row, withHistory)
	if strings.HasSuffix(row, thenQuiet) {
		s.failure.after, s.failure.wait = min(s.failure.after, quietAfter), patience
	}
	return s
}

// failureScenarios returns a scenario for each failure of Redis.
func failureScenarios() (all []scenario) {
	for _, f := range []struct {
		name, title string
		inject      func(ctx context.Context, c *fleet.Cluster, d time.Duration) error
		lasts       time.Duration
	}{
		{"cluster-kill", "Two nodes: Redis is killed, and empty after 1 s", killed, time.Second},
		{"cluster-cut", "Two nodes: Redis closes all connections", cut, 0},
		{"cluster-stop", "Two nodes: Redis stops for 8 s", stopped, 8 * time.Second},
	} {
		s := scenario{
			name: f.name, title: f.title, cluster: true, text: failureText, caveat: failureCaveat,
			columns: failureTable, best: failureTable[3:4], rounds: 3,
			failure: failure{inject: f.inject, lasts: f.lasts, before: beforeFailure, after: afterFailure, settle: settle, wait: settle},
		}
		s.load.Clients = 10
		all = append(all, s)
	}
	return all
}

const (
	failureText   = "A client of node A publishes 50 messages per second to 10 members on node B, before, during and after the failure."
	failureCaveat = "A message is refused if the publisher received an error. A message is lost if it was not refused and did not reach a member, " +
		"and silently lost if this member was not told either. The time until members are told begins with the failure. The numbers of " +
		"lost messages are means of the members."
)
