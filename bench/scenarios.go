//go:build linux

package main

import (
	"github.com/pondsocket/pond/internal/load"

	"github.com/pondsocket/pond/bench/internal/report"
)

// A scenario is one table.
type scenario struct {
	name    string
	title   string
	text    string // what is done
	caveat  string // what the numbers do not say
	load    load.Config
	deflate bool // by package deflate, with compression
	columns []report.Column
	best    []report.Column // those that sum it up; none: the first one

	longer int               // how many times as long as others it is measured
	rounds int               // at most; 0: as many as are asked for
	few    map[string]int    // at most, for servers that take long
	slower map[string]int    // how many times as long these servers are measured
	out    map[string]string // servers that are left out, and why
}

// Columns.
var (
	perSecond   = report.Column{Key: "rate", Title: "deliveries/s"}
	cpu         = report.Column{Key: "cpu", Title: "server CPU, µs a delivery"}
	p50         = report.Column{Key: "p50", Title: "p50, ms"}
	p99         = report.Column{Key: "p99", Title: "p99, ms"}
	rss         = report.Column{Key: "rss", Title: "most memory, MB"}
	engine      = report.Column{Key: "engine", Title: "load, % of a core", Plain: true}
	joins       = report.Column{Key: "joins", Title: "joins/s"}
	cpuJoin     = report.Column{Key: "cpuJoin", Title: "server CPU, µs a join"}
	perClient   = report.Column{Key: "perClient", Title: "bytes a connection"}
	gap         = report.Column{Key: "gap", Title: "longest silence, ms"}
	complete    = report.Column{Key: "complete", Title: "until all lists are complete, ms"}
	cpuAll      = report.Column{Key: "cpuAll", Title: "server CPU, ms"}
	megabytes   = report.Column{Key: "bytes", Title: "MB to all clients"}
	wire        = report.Column{Key: "wire", Title: "bytes a delivery"}
	achieved    = report.Column{Key: "rate", Title: "deliveries/s", Plain: true}
	sendLag     = report.Column{Key: "lag", Title: "of it the load's, p99, ms", Plain: true}
	fanoutTable = []report.Column{perSecond, cpu, p50, p99, rss, engine}
	pacedTable  = []report.Column{achieved, cpu, p50, p99, sendLag, engine}
)

// Reasons to be left out.
const (
	noJoining  = "nothing is there to be joined"
	noPresence = "no presence"
	noStream   = "no event streams"
	noDeflate  = "no compression"
)

func paced(rate float64) load.Config {
	return load.Config{Scenario: load.Rate, Clients: 1000, Size: 128, Rate: rate}
}

// scenarios are all of them, in the order of the report.
func scenarios() []scenario {
	return []scenario{
		{
			name: "fanout", title: "Fan-out to 1,000",
			text: "One of 1,000 members of a room publishes messages of 128 bytes and keeps 16 of them under way: " +
				"the next one is sent when somebody's last delivery has come.",
			caveat: "A server that is given more than it can send at once can join what waits for a client into one write. " +
				"pond does, centrifuge does within a frame, and the floor with joining shows how much of the difference that is. " +
				"Latency is that of a server that is never idle: it follows from the rate.",
			load: load.Config{Scenario: load.Fanout, Clients: 1000, Size: 128, InFlight: 16}, columns: fanoutTable,
			best: []report.Column{perSecond, cpu},
		},
		{
			name: "fanout10k", title: "Fan-out to 10,000",
			text:    "The same with 10,000 members and 8 messages under way.",
			caveat:  "One write to each of 10,000 sockets is most of the time here, whatever the server.",
			load:    load.Config{Scenario: load.Fanout, Clients: 10_000, Size: 128, InFlight: 8},
			columns: fanoutTable, longer: 2, rounds: 3,
			few: map[string]int{"socket.io": 1, "pondsocket-asgi": 1}, slower: map[string]int{"pondsocket-asgi": 3},
		},
		{
			name: "paced10k", title: "10,000 deliveries a second",
			text: "One of 1,000 members publishes 10 messages of 128 bytes a second, whatever comes back. " +
				"Latency is from when a message was meant to be sent.",
			caveat: "Here nothing waits, so nothing can be joined: every server writes once for each delivery, and p50 is half " +
				"of the time that 1,000 writes take. The tails are those of a machine that also runs the load.",
			load: paced(10_000), columns: pacedTable, best: []report.Column{cpu, p99},
		},
		{
			name: "paced50k", title: "50,000 deliveries a second",
			text:   "The same with 50 messages a second.",
			caveat: "A server whose limit is below the rate falls behind, and its latency is then the length of the run.",
			load:   paced(50_000), columns: pacedTable, best: []report.Column{cpu, p99},
		},
		{
			name: "rooms", title: "1,000 rooms of 10",
			text: "10,000 clients in 1,000 rooms. All of them publish messages of 128 bytes, each the next one when " +
				"all ten members have got the last one.",
			caveat: "melody looks at all sessions to find ten, as its examples do; with an index of your own and " +
				"BroadcastMultiple it would not. Every one of 10,000 clients has a message under way, so latency is high for all.",
			load:    load.Config{Scenario: load.Rooms, Clients: 10_000, Rooms: 1000, Size: 128, InFlight: 1},
			columns: fanoutTable, rounds: 3,
			few: map[string]int{"socket.io": 1, "pondsocket-asgi": 1}, slower: map[string]int{"pondsocket-asgi": 5},
		},
		{
			name: "echo", title: "Echo",
			text:   "1,000 clients ask for an answer of 128 bytes, 64 of them at a time.",
			caveat: "melody, coder and the floor send back what they get without looking at it. The others decode a message, find its handler and encode a reply.",
			load:   load.Config{Scenario: load.Echo, Clients: 1000, Size: 128, InFlight: 64},
			columns: []report.Column{
				{Key: "rate", Title: "answers/s"},
				{Key: "cpu", Title: "server CPU, µs an answer"},
				p50, p99, rss, engine,
			},
			best: []report.Column{{Key: "rate", Title: "answers/s"}, {Key: "cpu", Title: "server CPU, µs an answer"}},
			out:  map[string]string{"epoll-join": noJoining},
		},
		{
			name: "idle", title: "10,000 idle clients",
			text: "10,000 clients join one room and are silent. Resident memory after a collection, less what the empty server had.",
			caveat: "The server is asked to collect: Go runs runtime.GC and debug.FreeOSMemory, Node.js gc(), Python gc.collect and " +
				"malloc_trim. The kernel's part, about 5 KB a connection, is not in it, nor is what traffic leaves behind.",
			load:    load.Config{Scenario: load.Idle, Clients: 10_000},
			columns: []report.Column{perClient, joins, engine}, rounds: 3,
			few: map[string]int{"socket.io": 1, "pondsocket-asgi": 1},
			out: map[string]string{"epoll-join": noJoining},
		},
		{
			name: "join", title: "Connect and join",
			text:    "1,000 clients connect at once and join one room.",
			caveat:  "A handshake is mostly the kernel's accept and the HTTP parser. melody, coder and the floor need no message to join: the path is the room.",
			load:    load.Config{Scenario: load.Idle, Clients: 1000},
			columns: []report.Column{joins, cpuJoin},
			out:     map[string]string{"epoll-join": noJoining},
		},
		{
			name: "presence", title: "1,000 join with presence",
			text: "1,000 clients join one room with presence, all at once, until every one of them knows of all.",
			caveat: "pond and pondsocket-asgi send the whole list on every change, as their official clients want it. " +
				"centrifuge sends what has changed, and the list once to each client that asks: less work for the same knowledge.",
			load:    load.Config{Scenario: load.Presence, Clients: 1000},
			columns: []report.Column{complete, cpuAll, megabytes, rss}, rounds: 3,
			few: map[string]int{"pondsocket-asgi": 1},
			out: map[string]string{
				"melody": noPresence, "coder": noPresence, "socket.io": noPresence,
				"epoll": noPresence, "epoll-join": noPresence,
			},
		},
		{
			name: "churn", title: "Coming and going",
			text:    "200 clients connect, join one of 20 rooms, leave, and begin again.",
			caveat:  "Ports and half-closed connections of the kernel are part of it.",
			load:    load.Config{Scenario: load.Churn, Clients: 200, Rooms: 20},
			columns: []report.Column{joins, cpuJoin, rss, engine},
			out:     map[string]string{"epoll-join": noJoining},
		},
		{
			name: "slow", title: "10 of 1,000 stop reading",
			text: "Fan-out to 1,000 with messages of 16 KiB, 4 of them under way, of which 10 members read nothing any more. " +
				"What do the other 990 notice?",
			caveat: "The kernel's buffers take the first megabytes for each of the ten. Then pond, centrifuge and the floor keep " +
				"1 MiB and close the client, coder's room closes it when 256 messages wait, melody drops what is more than 256, " +
				"and Socket.IO keeps all of it.",
			load: load.Config{
				Scenario: load.Slow, Clients: 1000, Stalled: 10, Size: 16 << 10, InFlight: 4,
			},
			columns: []report.Column{perSecond, gap, p99, rss}, longer: 2, best: []report.Column{gap},
			out: map[string]string{"epoll-join": noJoining},
		},
		{
			name: "sse", title: "Fan-out to 1,000 over event streams",
			text:    "Fan-out as above, over Server-Sent Events; messages are published by POST.",
			caveat:  "A message in costs an HTTP request here; there are 1,000 deliveries for each of them.",
			load:    load.Config{Scenario: load.Fanout, Transport: load.SSE, Clients: 1000, Size: 128, InFlight: 16},
			columns: fanoutTable,
			out: map[string]string{
				"melody": noStream, "coder": noStream, "socket.io": noStream,
				"epoll": noStream, "epoll-join": noStream,
			},
		},
		{
			name: "deflate", title: "Compressed fan-out to 1,000",
			text: "Fan-out to 1,000 with text of 512 bytes and permessage-deflate, without context takeover, to clients that inflate " +
				"and check every message. `pond, plain` is pond without compression, with the same clients. One message is under way " +
				"at a time, so that nothing can be joined: how much of that happens would depend on the clients.",
			caveat: "The clients need most of the machine, so this is no measure of what a server could deliver: compare its CPU and the bytes. " +
				"coder, melody, Socket.IO and uvicorn compress for each client again; centrifuge has an experimental cache, which is on.",
			load:    load.Config{Clients: 1000, Size: 512, InFlight: 1},
			deflate: true, columns: []report.Column{cpu, wire, perSecond},
			out: map[string]string{"epoll": noDeflate, "epoll-join": noDeflate},
		},
	}
}
