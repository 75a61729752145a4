//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/pondsocket/pond/internal/load"

	"github.com/pondsocket/pond/bench/internal/deflate"
	"github.com/pondsocket/pond/bench/internal/dialect"
	"github.com/pondsocket/pond/bench/internal/failures"
	"github.com/pondsocket/pond/bench/internal/fleet"
	"github.com/pondsocket/pond/bench/internal/process"
	"github.com/pondsocket/pond/bench/internal/report"
)

// plain is the row of pond without compression in the table about compression.
const plain = "pond, plain"

// A record holds all measurements of one run.
type record struct {
	report.Run

	Load    *load.Result     `json:"load,omitempty"`
	Deflate *deflate.Result  `json:"deflate,omitempty"`
	Failed  *failures.Result `json:"failed,omitempty"`
}

// dialectOf returns the protocol of a server.
func dialectOf(server string, s scenario) load.Dialect {
	switch server {
	case "pond", plain, "pondsocket-asgi":
		channel := "/chat/%d"
		if s.load.Scenario == load.Recover || s.load.Positions {
			channel = "/log/%d"
		}
		return load.Pond{Name: server, Path: "/socket", Channel: channel}
	case "centrifuge":
		return dialect.NewCentrifuge()
	case "socket.io":
		return dialect.SocketIO{}
	}
	return dialect.Plain{Name: server, Echo: s.load.Scenario == load.Echo}
}

// run measures one server once. A failure is part of the record.
func (b *bench) run(ctx context.Context, s scenario, server string, round int) record {
	if s.failure.inject != nil {
		s = s.of(server)
	}
	rec := record{Run: report.Run{Scenario: s.name, Server: server, Round: round}}
	timeout := b.timeout + s.failure.lasts + s.failure.wait
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	err := b.measure(ctx, s, server, &rec)
	switch {
	case ctx.Err() != nil:
		rec.Failure = fmt.Sprintf("not finished after %v", timeout)
	case err != nil:
		rec.Failure = err.Error()
	}
	return rec
}

func (b *bench) measure(ctx context.Context, s scenario, server string, rec *record) (err error) {
	if s.cluster {
		return b.measureCluster(ctx, s, server, rec)
	}
	of, _ := fleet.Named(serverOf(server))
	var flags []string
	if s.deflate && server != plain {
		flags = append(flags, "compress")
	}
	if s.load.Scenario == load.Recover && server == "socket.io" {
		flags = append(flags, "recover") // off by default
	}
	p, err := b.fleet.Start(ctx, of, flags...)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.Stop()) }()
	if s.deflate {
		return b.measureDeflate(ctx, s, server, p, rec)
	}
	return b.measureLoad(ctx, s, server, p, rec)
}

// lasts returns the duration of a measurement.
func (b *bench) lasts(s scenario, server string) time.Duration {
	return b.duration * time.Duration(max(1, s.longer)) * time.Duration(max(1, s.slower[server]))
}

func (b *bench) measureDeflate(ctx context.Context, s scenario, server string, p *process.Process, rec *record) error {
	r, err := deflate.Run(ctx, deflate.Config{
		Dialect: dialectOf(server, s), Addr: p.Addr, Compress: server != plain,
		Clients: s.load.Clients, Size: s.load.Size, InFlight: s.load.InFlight,
		Warmup: b.warmup, Duration: b.lasts(s, server), Messages: int(s.load.Messages), CPU: p.CPU,
	})
	if err != nil {
		return err
	}
	rec.Deflate = &r
	n := float64(r.Deliveries)
	rec.Values = map[string]float64{
		"rate": n / r.Elapsed.Seconds(),
		"cpu":  micros(r.CPU) / n,
		"wire": float64(r.Bytes) / n,
	}
	return nil
}

func (b *bench) measureLoad(ctx context.Context, s scenario, server string, p *process.Process, rec *record) error {
	config := s.load
	config.Dialect, config.Addr, config.PIDs = dialectOf(server, s), p.Addr, []int{p.PID()}
	config.Warmup, config.Duration = b.warmup, b.lasts(s, server)
	if config.Scenario == load.Idle {
		config.Collect = p.Collect
	}
	before, err := p.CPU()
	if err != nil {
		return err
	}
	r, err := load.Run(ctx, config)
	if err != nil {
		return err
	}
	after, err := p.CPU()
	if err != nil {
		return fmt.Errorf("%w, after %w", err, r.Err())
	}
	rec.Load = &r
	rec.Values = valuesOf(r, after-before)
	if r.Messages > 0 && r.Deliveries == 0 {
		rec.Values = nil
		return errors.Join(fmt.Errorf("no deliveries within %v", config.Duration), r.Err())
	}
	return r.Err()
}

// valuesOf returns the values of the columns. The CPU time of the server includes
// connecting and leaving.
func valuesOf(r load.Result, all time.Duration) map[string]float64 {
	v := map[string]float64{
		"rate":     r.DeliveriesPerSecond,
		"joins":    r.JoinsPerSecond,
		"cpuJoin":  micros(all) / float64(r.Joins),
		"cpuAll":   millis(all),
		"bytes":    float64(r.BytesIn) / 1e6,
		"gap":      millis(r.LongestGap),
		"complete": millis(r.PresenceTime),
		"engine":   100 * r.Load.Busy,
	}
	if r.Latency != nil {
		v["p50"], v["p99"] = millis(r.Latency.P50), millis(r.Latency.P99)
	}
	if r.SendLag != nil {
		v["lag"] = millis(r.SendLag.P99)
	}
	if rec := r.Recovery; rec != nil {
		v["reconnects"], v["holes"] = float64(rec.Reconnects), float64(rec.Holes)
		v["lost"], v["twice"], v["unrecovered"] = float64(r.Faults.Lost), float64(r.Faults.Duplicated), float64(r.Faults.Unrecovered)
		if rec.CaughtUp != nil {
			v["caughtUp50"], v["caughtUp99"] = millis(rec.CaughtUp.P50), millis(rec.CaughtUp.P99)
		}
	}
	if s := r.Server; s != nil {
		v["rss"] = float64(s.RSSMax) / 1e6
		v["perClient"] = float64(s.RSSPerClient)
		if r.Deliveries > 0 {
			v["cpu"] = micros(s.CPU) / float64(r.Deliveries)
		}
	}
	if r.Scenario == load.Presence && r.PresenceTime == 0 {
		delete(v, "complete") // the lists were never complete
	}
	return v
}

func micros(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

func millis(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
