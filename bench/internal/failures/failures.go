//go:build linux

// Package failures measures what members of a channel receive, and what they are told, when
// the Redis server of a cluster fails.
package failures

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/pondsocket/pond/internal/load"
)

// Config configures [Run].
type Config struct {
	Dialect   load.Dialect
	Publisher string   // address of the node of the publisher
	Members   []string // addresses of the nodes of the members
	Positions bool     // the members ask for recovery, so the channel must have a history

	Interval time.Duration                   // between two messages
	Before   time.Duration                   // time before the failure
	Fail     func(ctx context.Context) error // makes the failure, and returns when it is over
	After    time.Duration                   // time of publishing after the failure
	Wait     time.Duration                   // maximum time to wait, after that, until nothing is missing or everybody was told
	Settle   time.Duration                   // minimum of the same
}

// A Result describes one failure. Times are since its start.
type Result struct {
	Published int `json:"published"`
	Refused   int `json:"refused"` // messages that the publisher was told are not accepted

	// Means of all members.
	Lost       float64 `json:"lost"`       // accepted messages that did not arrive
	Silent     float64 `json:"silent"`     // those of members that were not told that messages are missing
	Duplicated float64 `json:"duplicated"` // messages that arrived again

	Told     int           `json:"told"` // members that were told
	ToldAt   time.Duration `json:"toldAt,omitempty"`
	LastTold time.Duration `json:"lastTold,omitempty"`
	Latest   time.Duration `json:"latest"` // the longest time from a message until its arrival
}

// Run runs one failure.
func Run(ctx context.Context, cfg Config) (Result, error) {
	clients, stop := context.WithCancel(ctx)
	var running sync.WaitGroup
	defer running.Wait()
	defer stop()
	publisher := newClient(cfg.Dialect, cfg.Publisher, 0, cfg.Positions)
	all := []*client{publisher}
	for i, addr := range cfg.Members {
		all = append(all, newClient(cfg.Dialect, addr, i+1, cfg.Positions))
	}
	for _, c := range all {
		running.Go(func() { c.run(clients) })
		select {
		case <-c.joined:
		case <-ctx.Done():
			return Result{}, fmt.Errorf("client %d did not join: %w", c.state.Number, ctx.Err())
		}
	}
	r := &run{cfg: cfg, publisher: publisher, members: all[1:]}
	return r.run(ctx)
}

type run struct {
	cfg       Config
	publisher *client
	members   []*client
	sent      []time.Time // by sequence number
}

func (r *run) run(ctx context.Context) (Result, error) {
	if err := r.publish(ctx, time.After(r.cfg.Before)); err != nil {
		return Result{}, err
	}
	failed, over, fault := time.Now(), make(chan time.Time), make(chan error, 1)
	go func() {
		defer close(over)
		fault <- r.cfg.Fail(ctx)
	}()
	err := r.publish(ctx, over)
	if err := errors.Join(err, <-fault); err != nil {
		return Result{}, err
	}
	if r.cfg.After > 0 {
		if err := r.publish(ctx, time.After(r.cfg.After)); err != nil {
			return Result{}, err
		}
	}
	r.wait(ctx)
	return r.result(failed), ctx.Err()
}

// publish publishes at the rate until the channel is ready.
func (r *run) publish(ctx context.Context, until <-chan time.Time) error {
	tick := time.NewTicker(r.cfg.Interval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-until:
			return nil
		case <-tick.C:
			seq := uint32(len(r.sent))
			r.sent = append(r.sent, time.Now())
			if err := r.publisher.publish(ctx, seq); err != nil {
				return fmt.Errorf("publish: %w", err)
			}
		}
	}
}

// wait waits until all members received all messages or were told, but at most cfg.Wait.
func (r *run) wait(ctx context.Context) {
	minimum, maximum := time.Now().Add(r.cfg.Settle), time.Now().Add(r.cfg.Wait)
	for time.Now().Before(maximum) && ctx.Err() == nil {
		complete := !slices.ContainsFunc(r.members, func(c *client) bool {
			return c.received() < len(r.sent)-r.publisher.refused() && !c.knows()
		})
		if complete && time.Now().After(minimum) {
			return
		}
		<-time.After(10 * time.Millisecond)
	}
}

func (r *run) result(failed time.Time) Result {
	res := Result{Published: len(r.sent)}
	res.Refused = r.publisher.refused()
	for _, c := range r.members {
		c.mu.Lock()
		lost := 0
		for seq, at := range r.sent {
			if got, ok := c.got[uint32(seq)]; ok {
				res.Latest = max(res.Latest, got.Sub(at))
			} else {
				lost++
			}
		}
		lost = max(0, lost-res.Refused)
		res.Lost += float64(lost)
		res.Duplicated += float64(c.again)
		if len(c.told) > 0 {
			first := c.told[0].Sub(failed)
			if res.Told == 0 || first < res.ToldAt {
				res.ToldAt = first
			}
			res.LastTold = max(res.LastTold, first)
			res.Told++
		} else {
			res.Silent += float64(lost)
		}
		c.mu.Unlock()
	}
	n := float64(len(r.members))
	res.Lost, res.Silent, res.Duplicated = res.Lost/n, res.Silent/n, res.Duplicated/n
	return res
}
