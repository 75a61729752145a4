//go:build linux

package main

import (
	"context"
	"errors"
	"math/rand/v2"
	"strings"

	"github.com/pondsocket/pond/internal/load"

	"github.com/pondsocket/pond/bench/internal/fleet"
	"github.com/pondsocket/pond/bench/internal/report"
)

// oneNode ends the name of a row with one node and no Redis server.
const oneNode = ", one node"

// clusterRows are the rows of scenarios with two nodes.
var clusterRows = []string{"pond", "pond" + oneNode, "centrifuge", "centrifuge" + oneNode}

// measureCluster measures two nodes, or one.
func (b *bench) measureCluster(ctx context.Context, s scenario, row string, rec *record) (err error) {
	name, one := serverOf(row), strings.HasSuffix(row, oneNode)
	of, _ := fleet.Named(name)
	nodes := 2
	if one {
		nodes = 1
	}
	c, err := b.fleet.StartCluster(ctx, of, nodes)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Stop()) }()
	if s.failure.inject != nil {
		return b.measureFailure(ctx, s, name, c, rec)
	}
	config := s.load
	config.Dialect, config.Addr, config.PIDs = dialectOf(name, s), c.Nodes[0].Addr, c.PIDs()
	config.Warmup, config.Duration = b.warmup, b.lasts(s, row)
	config.Place = nil
	if !one {
		config.Nodes, config.Place = []string{c.Nodes[1].Addr}, s.load.Place
	}
	r, err := load.Run(ctx, config)
	if err != nil {
		return err
	}
	rec.Load = &r
	rec.Values = valuesOf(r, r.Server.CPU)
	if n := float64(r.Deliveries); n > 0 {
		cpus := r.Server.CPUs
		rec.Values["cpuB"] = micros(cpus[nodes-1]) / n
		if !one {
			rec.Values["cpuA"], rec.Values["cpuRedis"] = micros(cpus[0])/n, micros(cpus[2])/n
		}
		rec.Values["messages"] = float64(r.Messages) / r.Elapsed.Seconds()
	}
	return r.Err()
}

const clusterRooms = "cluster-rooms"

// Where the clients of a cluster connect.
func publisherFirst(client int, _ bool) int { return min(client, 1) }

func anyNode(client int, again bool) int {
	if again {
		return rand.IntN(2) //nolint:gosec // not a secret
	}
	return client % 2
}

// halfOfEachRoom is for 1,000 rooms: client n is in room n modulo 1,000.
func halfOfEachRoom(rooms int) func(int, bool) int {
	return func(client int, _ bool) int { return client / rooms % 2 }
}

var (
	clusterMessages = report.Column{Key: "messages", Title: "messages/s"}
	cpuB            = report.Column{Key: "cpuB", Title: "CPU of node B, µs per delivery"}
	cpuA            = report.Column{Key: "cpuA", Title: "CPU of node A, µs per delivery", Plain: true}
	cpuRedis        = report.Column{Key: "cpuRedis", Title: "CPU of Redis, µs per delivery", Plain: true}
	clusterTable    = []report.Column{perSecond, cpuB, cpuA, cpuRedis, p50, p99, engine}
)

// onNodeB is a message to 1,000 members on node B, and to its publisher on node A.
func onNodeB(scenario load.Scenario, rate float64, positions bool) load.Config {
	return load.Config{
		Scenario: scenario, Clients: 1001, Size: 128, InFlight: 16, Rate: rate * 1001,
		Place: publisherFirst, Positions: positions,
	}
}

// clusterScenarios returns the scenarios with two nodes.
func clusterScenarios() []scenario {
	const setup = "Two nodes are connected by one Redis server on the same machine; `one node` is the same server alone, without Redis. "
	all := []scenario{
		{
			name: "cluster-fanout", title: "Two nodes: fan-out to 1,000",
			text: setup + "A client of node A publishes messages of 128 bytes, with 16 messages in flight, to itself and 1,000 members on node B.",
			load: onNodeB(load.Fanout, 0, false), columns: clusterTable, best: []report.Column{perSecond, cpuB},
		},
		{
			name: "cluster-fanout-log", title: "Two nodes: fan-out to 1,000 with history",
			text: "The same, in a channel with a history of 1,000 messages, which is in Redis if there are two nodes.",
			load: onNodeB(load.Fanout, 0, true), columns: clusterTable, best: []report.Column{perSecond, cpuB},
		},
		{
			name: "cluster-paced", title: "Two nodes: 50 messages per second to 1,000",
			text: "The same without history, with 50 messages per second.",
			load: onNodeB(load.Rate, 50, false), columns: []report.Column{p50, p99, cpuB, cpuA, cpuRedis, sendLag, engine},
			best: []report.Column{p99},
		},
		{
			name: clusterRooms, title: "Two nodes: 1,000 rooms of 10",
			text: "10,000 clients are in 1,000 rooms. Half of the members of each room are connected to each node. Every client publishes messages " +
				"of 128 bytes. It sends the next message when all ten members received the previous one.",
			load: load.Config{
				Scenario: load.Rooms, Clients: 10_000, Rooms: 1000, Size: 128, InFlight: 1, Place: halfOfEachRoom(1000),
			},
			columns: []report.Column{clusterMessages, cpuA, cpuB, cpuRedis, p50, p99, rss, engine}, rounds: 3,
		},
		{
			name: "cluster-recover", title: "Two nodes: 1,000 recover on any node",
			text: "One of 1,000 members publishes 50 messages of 128 bytes per second. Each second, 500 connections are reset at random, " +
				"and the clients reconnect to a random node within half a second.",
			load:    load.Config{Scenario: load.Recover, Clients: 1000, Size: 128, Place: anyNode},
			columns: []report.Column{caughtUp50, caughtUp99, reconnects, lost, twice, holes, unrecovered, engine}, longer: 2,
			best: []report.Column{caughtUp99},
		},
	}
	for i := range all {
		all[i].cluster = true
	}
	return append(all, failureScenarios()...)
}

// scaled returns s with a tenth of the clients.
func (s scenario) scaled() scenario {
	s.load.Clients /= 10
	s.load.Rooms /= 10
	s.load.Stalled /= 10
	if s.name == clusterRooms {
		s.load.Place = halfOfEachRoom(s.load.Rooms)
	}
	return s
}
