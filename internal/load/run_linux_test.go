package load_test

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/pondsocket/pond/internal/load"
)

var transports = []load.Transport{load.WebSocket, load.SSE}

func run(t *testing.T, cfg load.Config) load.Result {
	t.Helper()
	if cfg.LostAfter == 0 {
		cfg.LostAfter = time.Minute // a slow machine must not fail the test
	}
	res, err := load.Run(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return res
}

func TestScenarios(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		load.Config
		messages, deliveries int64
	}{
		{load.Config{Scenario: load.Idle, Clients: 20}, 0, 0},
		{load.Config{Scenario: load.Fanout, Clients: 20, Messages: 200}, 200, 4000},
		{load.Config{Scenario: load.Fanout, Clients: 20, Messages: 200, Threads: 3}, 200, 4000},
		{load.Config{Scenario: load.Fanout, Clients: 20, Rooms: 4, Messages: 200}, 200, 1000},
		{load.Config{Scenario: load.Rate, Clients: 20, Messages: 50, Rate: 20_000}, 50, 1000},
		{load.Config{Scenario: load.Rooms, Clients: 20, Rooms: 5, Messages: 400}, 400, 1600},
		{load.Config{Scenario: load.Rooms, Clients: 20, Rooms: 2, Messages: 400, InFlight: 3, Threads: 4}, 400, 4000},
		{load.Config{Scenario: load.Echo, Clients: 20, Messages: 500}, 500, 500},
		{load.Config{Scenario: load.Echo, Clients: 2, Messages: 500, InFlight: 100, Threads: 2}, 500, 500},
		{load.Config{Scenario: load.Presence, Clients: 20}, 0, 0},
		{load.Config{Scenario: load.Presence, Clients: 20, Rooms: 4}, 0, 0},
		{load.Config{Scenario: load.Presence, Clients: 20, Rooms: 2, Dialect: diffDialect}, 0, 0},
		{load.Config{Scenario: load.Churn, Clients: 20, Messages: 100}, 0, 0},
		{load.Config{Scenario: load.Slow, Clients: 20, Stalled: 5, Messages: 100, Size: 1000}, 100, 1500},
	} {
		for _, tr := range transports {
			t.Run(string(tt.Scenario)+"/"+string(tr), func(t *testing.T) {
				t.Parallel()
				cfg := tt.Config
				if cfg.Dialect == nil {
					cfg.Dialect = pondDialect
				}
				cfg.Addr, cfg.Transport, cfg.PIDs = servePond(t), tr, []int{os.Getpid()}
				res := run(t, cfg)
				if err := res.Err(); err != nil {
					t.Error(err)
				}
				if res.Messages != tt.messages || res.Deliveries != tt.deliveries {
					t.Errorf("%d messages, %d deliveries, want %d and %d",
						res.Messages, res.Deliveries, tt.messages, tt.deliveries)
				}
				if res.Faults.Expected != res.Deliveries {
					t.Errorf("%d deliveries expected, %d arrived", res.Faults.Expected, res.Deliveries)
				}
				if (res.Latency != nil) != (tt.deliveries > 0) || res.Latency != nil && res.Latency.Count != tt.deliveries {
					t.Errorf("latency of %+v, want that of %d deliveries", res.Latency, tt.deliveries)
				}
				if want := max(int64(cfg.Clients), cfg.Messages); res.Scenario == load.Churn && res.Joins < cfg.Messages ||
					res.Scenario != load.Churn && res.Joins != int64(cfg.Clients) {
					t.Errorf("%d joins, want %d", res.Joins, want)
				}
				if res.Scenario == load.Presence && res.PresenceComplete != int64(cfg.Clients) {
					t.Errorf("%d lists are complete", res.PresenceComplete)
				}
				if res.Server.RSSBefore == 0 || res.Server.RSSAfter == 0 {
					t.Errorf("memory of the server: %+v", res.Server)
				}
			})
		}
	}
}

// Warm-up is not part of the measurement, but is checked.
func TestWarmup(t *testing.T) {
	res := run(t, load.Config{
		Scenario: load.Fanout, Dialect: pondDialect, Addr: servePond(t), Clients: 5,
		Warmup: 50 * time.Millisecond, Duration: 50 * time.Millisecond,
	})
	if err := res.Err(); err != nil {
		t.Error(err)
	}
	if res.Deliveries == 0 || res.Deliveries >= res.Faults.Expected {
		t.Errorf("%d of all %d deliveries measured", res.Deliveries, res.Faults.Expected)
	}
}

func TestInvalidConfig(t *testing.T) {
	t.Parallel()
	addr := servePond(t)
	for name, tt := range map[string]struct {
		cfg  load.Config
		want string
	}{
		"no dialect":       {load.Config{Scenario: load.Idle}, "no dialect"},
		"unknown scenario": {load.Config{Scenario: "x", Dialect: pondDialect}, "unknown scenario"},
		"transport":        {load.Config{Scenario: load.Idle, Dialect: pondDialect, Transport: "x"}, "no transport"},
		"uneven rooms":     {load.Config{Scenario: load.Rooms, Dialect: pondDialect, Clients: 5, Rooms: 2}, "spread"},
		"stalled publisher": {
			load.Config{Scenario: load.Slow, Dialect: pondDialect, Clients: 5, Stalled: 5}, "at most 4 clients can stall",
		},
		"nothing to reset": {
			load.Config{Scenario: load.Recover, Dialect: pondDialect, Clients: 5, Rooms: 5}, "publishers are not reset",
		},
		"away too long": {
			load.Config{Scenario: load.Recover, Dialect: pondDialect, Away: time.Minute}, "away must be shorter",
		},
		"no history": {
			load.Config{Scenario: load.Recover, Dialect: pondDialect, Addr: addr, LostAfter: lostAfter},
			"only 0 of 100 clients joined: rejected: the channel has no history",
		},
		"too many files": {load.Config{Scenario: load.Idle, Dialect: pondDialect, Addr: addr, Clients: 1 << 24}, "ulimit"},
		"address":        {load.Config{Scenario: load.Idle, Dialect: pondDialect, Addr: "nonsense"}, "nonsense"},
		"no server":      {load.Config{Scenario: load.Fanout, Dialect: pondDialect, Addr: "127.0.0.1:1"}, "only 0 of 100 clients joined"},
		"no endpoint": {
			load.Config{Scenario: load.Fanout, Dialect: load.Pond{Path: "/x", Channel: "/chat/1"}, Addr: addr}, "404",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if _, err := load.Run(t.Context(), tt.cfg); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want %q in it", err, tt.want)
			}
		})
	}
}

func TestRunEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	_, err := load.Run(ctx, load.Config{
		Scenario: load.Fanout, Dialect: pondDialect, Addr: servePond(t), Duration: time.Hour,
		Progress: func(p load.Progress) {
			if p.Deliveries > 0 {
				cancel()
			}
		},
	})
	if err == nil || ctx.Err() == nil {
		t.Errorf("error %v, want that of the context", err)
	}
}
