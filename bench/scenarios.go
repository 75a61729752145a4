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
	text    string // what the clients do
	caveat  string // how to interpret the numbers
	load    load.Config
	deflate bool // run by package deflate, with compression
	cluster bool // two nodes
	failure failure
	columns []report.Column
	best    []report.Column // for the summary; default: the first column

	longer int               // factor of the duration
	rounds int               // maximum number of rounds; 0 means no maximum
	few    map[string]int    // maximum number of rounds of slow servers
	slower map[string]int    // factor of the duration of slow servers
	out    map[string]string // excluded servers, with the reason
}

// Columns.
var (
	perSecond   = report.Column{Key: "rate", Title: "deliveries/s"}
	cpu         = report.Column{Key: "cpu", Title: "server CPU, µs per delivery"}
	p50         = report.Column{Key: "p50", Title: "p50, ms"}
	p99         = report.Column{Key: "p99", Title: "p99, ms"}
	rss         = report.Column{Key: "rss", Title: "maximum memory, MB"}
	engine      = report.Column{Key: "engine", Title: "load generator, % of a core", Plain: true}
	joins       = report.Column{Key: "joins", Title: "joins/s"}
	cpuJoin     = report.Column{Key: "cpuJoin", Title: "server CPU, µs per join"}
	perClient   = report.Column{Key: "perClient", Title: "bytes per connection"}
	caughtUp50  = report.Column{Key: "caughtUp50", Title: "caught up, p50, ms"}
	caughtUp99  = report.Column{Key: "caughtUp99", Title: "caught up, p99, ms"}
	reconnects  = report.Column{Key: "reconnects", Title: "reconnects", Plain: true}
	lost        = report.Column{Key: "lost", Title: "lost", Plain: true}
	twice       = report.Column{Key: "twice", Title: "duplicated", Plain: true}
	holes       = report.Column{Key: "holes", Title: "holes", Plain: true}
	unrecovered = report.Column{Key: "unrecovered", Title: "not recovered", Plain: true}
	gap         = report.Column{Key: "gap", Title: "longest gap, ms"}
	complete    = report.Column{Key: "complete", Title: "time until all lists are complete, ms"}
	cpuAll      = report.Column{Key: "cpuAll", Title: "server CPU, ms"}
	megabytes   = report.Column{Key: "bytes", Title: "MB to all clients"}
	wire        = report.Column{Key: "wire", Title: "bytes per delivery"}
	achieved    = report.Column{Key: "rate", Title: "deliveries/s", Plain: true}
	sendLag     = report.Column{Key: "lag", Title: "p99 caused by the load generator, ms", Plain: true}
	fanoutTable = []report.Column{perSecond, cpu, p50, p99, rss, engine}
	pacedTable  = []report.Column{achieved, cpu, p50, p99, sendLag, engine}
)

// Reasons to exclude a server.
const (
	noJoining  = "there are no frames to combine"
	noPresence = "no presence"
	noStream   = "no event streams"
	noDeflate  = "no compression"
	noRecovery = "no recovery of missed messages"
)

func paced(rate float64) load.Config {
	return load.Config{Scenario: load.Rate, Clients: 1000, Size: 128, Rate: rate}
}

// scenarios returns all scenarios, in the order of the report.
func scenarios() []scenario { return append(singleScenarios(), clusterScenarios()...) }

// singleScenarios returns the scenarios with one server.
func singleScenarios() []scenario {
	return []scenario{
		{
			name: "fanout", title: "Fan-out to 1,000",
			text: "One of 1,000 members of a room publishes messages of 128 bytes, with 16 messages in flight: " +
				"it sends the next message when all members received an earlier one.",
			caveat: "If a server receives messages faster than it can send them, it can combine the queued messages of a client into one write. " +
				"pond does so, and centrifuge does so within a frame. `epoll-join` shows how much of the difference this explains. " +
				"The server is never idle, so latency depends on throughput.",
			load: load.Config{Scenario: load.Fanout, Clients: 1000, Size: 128, InFlight: 16}, columns: fanoutTable,
			best: []report.Column{perSecond, cpu},
		},
		{
			name: "fanout10k", title: "Fan-out to 10,000",
			text:    "The same with 10,000 members and 8 messages in flight.",
			caveat:  "With every server, most of the time is needed for one write to each of 10,000 sockets.",
			load:    load.Config{Scenario: load.Fanout, Clients: 10_000, Size: 128, InFlight: 8},
			columns: fanoutTable, longer: 2, rounds: 3,
			few: map[string]int{"socket.io": 1, "pondsocket-asgi": 1}, slower: map[string]int{"pondsocket-asgi": 3},
		},
		{
			name: "paced10k", title: "10,000 deliveries per second",
			text: "One of 1,000 members publishes 10 messages of 128 bytes per second, without waiting for deliveries. " +
				"Latency is measured from when a message was scheduled.",
			caveat: "No messages are queued here, so none can be combined. Every server makes one write per delivery, and p50 is half " +
				"of the time that 1,000 writes take. The load generator on the same machine increases the highest latencies.",
			load: paced(10_000), columns: pacedTable, best: []report.Column{cpu, p99},
		},
		{
			name: "paced50k", title: "50,000 deliveries per second",
			text:   "The same with 50 messages per second.",
			caveat: "A server that cannot keep up with the rate falls behind, so its latency depends on the length of the run.",
			load:   paced(50_000), columns: pacedTable, best: []report.Column{cpu, p99},
		},
		{
			name: "rooms", title: "1,000 rooms of 10",
			text: "10,000 clients are in 1,000 rooms. Every client publishes messages of 128 bytes. It sends the next message when " +
				"all ten members received the previous one.",
			caveat: "melody searches all sessions for the ten members, as in its examples; with an index and " +
				"BroadcastMultiple it would not. Each of the 10,000 clients has a message in flight, so latency is high with every server.",
			load:    load.Config{Scenario: load.Rooms, Clients: 10_000, Rooms: 1000, Size: 128, InFlight: 1},
			columns: fanoutTable, rounds: 3,
			few: map[string]int{"socket.io": 1, "pondsocket-asgi": 1}, slower: map[string]int{"pondsocket-asgi": 5},
		},
		{
			name: "echo", title: "Echo",
			text:   "1,000 clients send requests of 128 bytes, with 64 requests in flight in total.",
			caveat: "melody, coder and epoll send the message back unchanged. The other servers decode the message, find its handler and encode a reply.",
			load:   load.Config{Scenario: load.Echo, Clients: 1000, Size: 128, InFlight: 64},
			columns: []report.Column{
				{Key: "rate", Title: "answers/s"},
				{Key: "cpu", Title: "server CPU, µs per answer"},
				p50, p99, rss, engine,
			},
			best: []report.Column{{Key: "rate", Title: "answers/s"}, {Key: "cpu", Title: "server CPU, µs per answer"}},
			out:  map[string]string{"epoll-join": noJoining},
		},
		{
			name: "idle", title: "10,000 idle clients",
			text: "10,000 clients join one room and send nothing. The result is resident memory after garbage collection, minus the memory of the empty server.",
			caveat: "Before the measurement, Go servers run debug.FreeOSMemory, Node.js gc(), and Python gc.collect and " +
				"malloc_trim. The memory of the kernel, about 5 KB per connection, is not included, nor is memory that remains after traffic.",
			load:    load.Config{Scenario: load.Idle, Clients: 10_000},
			columns: []report.Column{perClient, joins, engine}, rounds: 3,
			few: map[string]int{"socket.io": 1, "pondsocket-asgi": 1},
			out: map[string]string{"epoll-join": noJoining},
		},
		{
			name: "join", title: "Connect and join",
			text:    "1,000 clients connect at once and join one room.",
			caveat:  "Most of a handshake is the kernel's accept and the HTTP parser. With melody, coder and epoll, clients send no message to join, because the room is the path.",
			load:    load.Config{Scenario: load.Idle, Clients: 1000},
			columns: []report.Column{joins, cpuJoin},
			out:     map[string]string{"epoll-join": noJoining},
		},
		{
			name: "presence", title: "1,000 join with presence",
			text: "1,000 clients join one room with presence, all at once, until every client knows all members.",
			caveat: "pond and pondsocket-asgi send the whole list on every change, as their official clients require. " +
				"centrifuge sends the changes, and the list once to each client that requests it. This is less work for the same result.",
			load:    load.Config{Scenario: load.Presence, Clients: 1000},
			columns: []report.Column{complete, cpuAll, megabytes, rss}, rounds: 3,
			few: map[string]int{"pondsocket-asgi": 1},
			out: map[string]string{
				"melody": noPresence, "coder": noPresence, "socket.io": noPresence,
				"epoll": noPresence, "epoll-join": noPresence,
			},
		},
		{
			name: "churn", title: "Connect, join and leave",
			text:    "200 clients connect, join one of 20 rooms and leave, repeatedly.",
			caveat:  "The result includes the kernel's work for ports and half-closed connections.",
			load:    load.Config{Scenario: load.Churn, Clients: 200, Rooms: 20},
			columns: []report.Column{joins, cpuJoin, rss, engine},
			out:     map[string]string{"epoll-join": noJoining},
		},
		{
			name: "slow", title: "10 of 1,000 stop reading",
			text: "Fan-out to 1,000 with messages of 16 KiB and 4 messages in flight. Ten members stop reading. " +
				"How does this affect the other 990?",
			caveat: "The kernel buffers the first megabytes of each of the ten. Then pond, centrifuge and epoll queue " +
				"1 MiB and close the client. The room of coder closes it when 256 messages are queued, melody drops messages beyond 256, " +
				"and Socket.IO queues all messages.",
			load: load.Config{
				Scenario: load.Slow, Clients: 1000, Stalled: 10, Size: 16 << 10, InFlight: 4,
			},
			columns: []report.Column{perSecond, gap, p99, rss}, longer: 2, best: []report.Column{gap},
			out: map[string]string{"epoll-join": noJoining},
		},
		{
			name: "recover", title: "1,000 recover after resets",
			text: "One of 1,000 members publishes 50 messages of 128 bytes per second. Each second, 500 connections are reset at random. " +
				"Their clients reconnect within half a second, and ask for the messages that they missed. All must arrive, once and in order. " +
				"A client is caught up when it received all of them; the time begins when it was scheduled to reconnect.",
			caveat: "centrifuge sends the missed messages within the answer to the subscription, pond one by one. Socket.IO runs with its " +
				"connection state recovery, which is off by default. A hole is a client that the server told that it is recovered, although " +
				"it missed messages. A client that was not recovered knows that it must load its state again.",
			load:    load.Config{Scenario: load.Recover, Clients: 1000, Size: 128},
			columns: []report.Column{caughtUp50, caughtUp99, reconnects, lost, twice, holes, unrecovered, cpu, rss, engine}, longer: 2, best: []report.Column{caughtUp99},
			out: map[string]string{
				"melody": noRecovery, "coder": noRecovery, "pondsocket-asgi": noRecovery, "epoll": noRecovery, "epoll-join": noRecovery,
			},
		},
		{
			name: "sse", title: "Fan-out to 1,000 over event streams",
			text:    "Fan-out as above, over Server-Sent Events; messages are published with POST.",
			caveat:  "Here each published message is an HTTP request, and has 1,000 deliveries.",
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
				"and check every message. `pond, plain` is pond without compression, with the same clients. Only one message is in flight, " +
				"so that no messages are combined: that would depend on the speed of the clients.",
			caveat: "The clients need most of the CPU time, so this does not measure the throughput of a server: compare its CPU time and the bytes. " +
				"coder, melody, Socket.IO and uvicorn compress again for each client; centrifuge has an experimental cache, which is enabled.",
			load:    load.Config{Clients: 1000, Size: 512, InFlight: 1},
			deflate: true, columns: []report.Column{cpu, wire, perSecond},
			out: map[string]string{"epoll": noDeflate, "epoll-join": noDeflate},
		},
	}
}
