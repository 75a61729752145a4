//go:build linux

package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pondsocket/pond/internal/load"

	"github.com/pondsocket/pond/bench/internal/fleet"
)

// Every scenario with each of its servers: all deliveries arrive, once and in order, or
// the run fails.
func TestAllScenariosWithAllServers(t *testing.T) {
	for _, server := range fleet.Servers() {
		t.Run(server.Name, func(t *testing.T) {
			b := &bench{fleet: installed(t, server), timeout: time.Minute}
			for _, s := range scenarios() {
				for _, row := range rows(s) {
					if s.out[row] != "" || serverOf(row) != server.Name || s.failure.inject != nil && slow(s, row) {
						continue
					}
					t.Run(s.name+" "+row, func(t *testing.T) {
						if s.failure.inject != nil {
							t.Parallel() // it waits most of the time
						}
						testOnce(t, b, tiny(s), row)
					})
				}
			}
		})
	}
}

// slow reports whether a failure takes a long time, or is similar to another one.
func slow(s scenario, row string) bool {
	return serverOf(row) == "centrifuge" && (s.name != "cluster-kill" || row == "centrifuge"+thenQuiet)
}

// faulty reports whether faults of a server are a result of the scenario: Socket.IO does not
// promise that a client recovers.
func (s scenario) faulty(server string) bool {
	return s.load.Scenario == load.Recover && server == "socket.io"
}

// tiny returns s with ten clients, and a few messages instead of a duration.
func tiny(s scenario) scenario {
	s.load.Clients, s.load.Messages = 10, 20
	s.load.Rooms = min(s.load.Rooms, 2)
	s.load.Stalled = min(s.load.Stalled, 1)
	if s.name == clusterRooms {
		s.load.Place = halfOfEachRoom(s.load.Rooms)
	}
	if s.load.Scenario == load.Recover {
		s.load.Resets, s.load.Away = 100, 20*time.Millisecond
	}
	s.load.LostAfter = 20 * time.Second
	if f := &s.failure; f.inject != nil {
		f.before, f.lasts, f.after, f.settle = 200*time.Millisecond, min(f.lasts, 300*time.Millisecond), 300*time.Millisecond, 100*time.Millisecond
		f.wait = f.settle
	}
	return s
}

func testOnce(t *testing.T, b *bench, s scenario, row string) {
	rec := b.run(t.Context(), s, row, 0)
	if rec.Failure != "" && (rec.Load == nil || !s.faulty(row)) {
		t.Fatal(rec.Failure)
	}
	if rec.Deflate != nil {
		if rec.Deflate.Deliveries == 0 {
			t.Error("nothing was delivered")
		}
		return
	}
	if f := rec.Failed; f != nil {
		if f.Published < 10 || f.Latest == 0 {
			t.Errorf("%+v", f)
		}
		if row == "pond"+thenQuiet && f.Silent > 0 {
			t.Errorf("lost silently: %+v", f)
		}
		return
	}
	r := rec.Load
	switch {
	case r.Scenario == load.Echo && r.Faults.Expected < 20:
		t.Errorf("%d answers", r.Faults.Expected)
	case slices.Contains([]load.Scenario{load.Fanout, load.Rate, load.Rooms}, r.Scenario):
		if want := 20 * int64(r.Clients/r.Rooms); r.Faults.Expected < want {
			t.Errorf("%d deliveries were expected, want %d at least", r.Faults.Expected, want)
		}
	case r.Scenario == load.Presence && r.PresenceComplete != 10:
		t.Errorf("%d lists are complete", r.PresenceComplete)
	case r.Scenario == load.Recover && r.Recovery.Reconnects == 0:
		t.Error("no client was reset")
	case r.Joins < 10:
		t.Errorf("%d joins", r.Joins)
	}
	if r.Server == nil || r.Server.RSSMax == 0 {
		t.Error("the server's process was not measured")
	}
}

// installed returns a fleet with a server installed. It installs packages from registries
// only in CI, where a skipped test would not be noticed.
func installed(t *testing.T, server fleet.Server) *fleet.Fleet {
	t.Helper()
	source, err := filepath.Abs(".")
	if err != nil {
		t.Fatal(err)
	}
	f := &fleet.Fleet{Source: source, Artifacts: filepath.Join(source, "artifacts")}
	if !f.Installed(server) && os.Getenv("CI") == "" {
		t.Skipf("%s is not installed: make quick installs it", server.Name)
	}
	if err := f.Install(t.Context(), server); err != nil {
		t.Fatal(err)
	}
	return f
}

func TestNamesAreUnique(t *testing.T) {
	all := slices.Sorted(slices.Values(slices.Concat(names(scenarios()), serverNames())))
	if unique := slices.Compact(slices.Clone(all)); len(unique) != len(all) {
		t.Errorf("these names are not unique: %q", all)
	}
	for _, s := range scenarios() {
		for name := range s.out {
			if !slices.Contains(rows(s), name) {
				t.Errorf("%s excludes %q, which is not a server", s.name, name)
			}
		}
		for name := range s.few {
			if !slices.Contains(rows(s), name) {
				t.Errorf("%s limits %q, which is not a server", s.name, name)
			}
		}
	}
}

func TestOnlyChoosesScenariosAndServers(t *testing.T) {
	b := &bench{only: []string{"fanout", "pond", "melody"}}
	var fanout, presence []string
	for _, s := range scenarios() {
		switch s.name {
		case "fanout":
			fanout = b.servers(s, 0)
		case "presence":
			presence = b.servers(s, 0)
		}
	}
	if !slices.Equal(fanout, []string{"pond", "melody"}) || !slices.Equal(presence, []string{"pond"}) {
		t.Errorf("fanout: %q, presence: %q", fanout, presence)
	}
	if !b.chosen("fanout", names(scenarios())) || b.chosen("echo", names(scenarios())) {
		t.Error("other scenarios than fanout")
	}
	b.only = []string{"cluster-*", "pond"}
	if b.check() != nil || !b.chosen("cluster-rooms", names(scenarios())) || b.chosen("rooms", names(scenarios())) {
		t.Error("cluster-* does not choose the scenarios with two nodes")
	}
	if b.only = []string{"nobody"}; b.check() == nil {
		t.Error("no names")
	}
}

func TestVersionsAreKnown(t *testing.T) {
	f := &fleet.Fleet{Source: "."}
	for _, s := range fleet.Servers() {
		ours := s.Name == "pond" || strings.HasPrefix(s.Name, "epoll")
		if v := f.Version(s); (v == "") != ours {
			t.Errorf("%s has version %q", s.Name, v)
		}
	}
}
