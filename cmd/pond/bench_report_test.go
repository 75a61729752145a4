package main

import (
	"strings"
	"testing"
	"time"

	"github.com/pondsocket/pond/internal/load"
)

const (
	µs = time.Microsecond
	ms = time.Millisecond
)

// measured returns the base of the results in these tests.
func measured(s load.Scenario) load.Result {
	return load.Result{
		Scenario: s, Target: "http://10.0.0.1/socket", Transport: load.WebSocket,
		Clients: 1000, Rooms: 1, Size: 128, InFlight: 16,
		Joins: 1000, JoinTime: 50 * ms, JoinsPerSecond: 20_000,
		Elapsed: 5 * time.Second,
		Server: &load.Server{
			CPU: time.Second, RSSBefore: 9 << 20, RSSJoined: 15 << 20, RSSMax: 20 << 20, RSSAfter: 10 << 20, RSSPerClient: 6291,
		},
		Load: load.Load{Threads: 1, CPU: 1500 * ms, Busy: 0.3},
	}
}

func talked(s load.Scenario) load.Result {
	r := measured(s)
	r.Messages, r.Deliveries, r.DeliveriesPerSecond, r.BytesIn = 5000, 5_000_000, 1_000_000, 640<<20
	r.Latency = &load.Latency{Count: 5_000_000, Mean: ms, P50: 900 * µs, P90: 1200 * µs, P99: 15 * ms, Max: 120 * ms}
	r.Faults.Expected = 6_000_000
	r.Server.CPUPerDelivery = 200
	return r
}

const (
	memoryRow = "              memory 9.00 MiB before, 15.0 MiB with clients (6.14 KiB each), 20.0 MiB maximum, 10.0 MiB after\n"
	loadRow   = "  load        CPU 30 % of a core, in 1 thread\n"
	talkRows  = `
  joins       1,000 in 50.0 ms: 20,000/s
  deliveries  1,000,000/s for 5.00 s: 1,000 messages/s, 128 MiB/s received
  latency     p50 900 µs, p90 1.20 ms, p99 15.0 ms, max 120 ms
`
	wellRows = `  verified    6,000,000 deliveries: none lost, none duplicated, none out of order, none misdelivered
  server      CPU 20 % of a core, 200 ns per delivery
` + memoryRow + loadRow
	talkedWell = talkRows + "              from when a message was sent to each delivery\n" + wellRows
)

func TestReport(t *testing.T) {
	for name, tt := range map[string]struct {
		result load.Result
		change func(*report)
		want   string
	}{
		"idle": {
			measured(load.Idle), func(r *report) { r.Clients = 10_000 },
			`idle over WebSocket at http://10.0.0.1/socket
10,000 clients connect and join, and do nothing more.

  joins       1,000 in 50.0 ms: 20,000/s
  verified    all clients: none rejected, none closed, none failed to connect
  server      CPU 20 % of a core, 1.00 ms per join
` + memoryRow + loadRow,
		},
		"fanout": {
			talked(load.Fanout), func(r *report) { r.own = true },
			`fanout over WebSocket at http://10.0.0.1/socket, a Pond started by bench
One of 1,000 members publishes messages of 128 bytes, with 16 in flight.
` + talkedWell,
		},
		"fanout in rooms": {
			talked(load.Fanout), func(r *report) { r.Rooms, r.Transport = 20, load.SSE },
			`fanout over Server-Sent Events at http://10.0.0.1/socket
In each of 20 rooms, one of 50 members publishes messages of 128 bytes, with 16 in flight.
` + talkedWell,
		},
		"rate": {
			talked(load.Rate), func(r *report) {
				r.Rate = 1_000_000
				r.SendLag = &load.Latency{Count: 5000, P50: 50 * µs, P90: 60 * µs, P99: 70 * µs, Max: 8 * ms}
			},
			`rate over WebSocket at http://10.0.0.1/socket
One of 1,000 members publishes messages of 128 bytes at a fixed rate of 1,000,000 deliveries per second.
` + talkRows + `              from when a message was scheduled to each delivery
  sent late   p50 50.0 µs, p90 60.0 µs, p99 70.0 µs, max 8.00 ms: the part caused by the load generator
` + wellRows,
		},
		"rooms": {
			talked(load.Rooms), func(r *report) { r.Rooms, r.InFlight = 100, 1 },
			`rooms over WebSocket at http://10.0.0.1/socket
All members of 100 rooms with 10 members each publish messages of 128 bytes, with 1 in flight per member.
` + talkedWell,
		},
		"echo": {
			talked(load.Echo), func(*report) {},
			`echo over WebSocket at http://10.0.0.1/socket
1,000 clients send requests of 128 bytes, with 16 in flight.
` + talkedWell,
		},
		"slow": {
			talked(load.Slow), func(r *report) { r.Stalled, r.Faults.StalledClosed, r.LongestGap = 10, 3, 40*ms },
			`slow over WebSocket at http://10.0.0.1/socket
One of 1,000 members publishes messages of 128 bytes, with 16 in flight; 10 stop reading.
` + strings.Replace(talkedWell, "  verified",
				"  gap         at most 40.0 ms without a delivery, for clients that read\n"+
					"  stalled     10 clients, of which the server closed 3\n  verified", 1),
		},
		"latest": {
			talked(load.Latest), func(r *report) {
				r.Rate, r.Stalled, r.Away = 50_000, 10, 60*1000*ms
				r.SendLag = &load.Latency{Count: 5000, P50: 50 * µs, P90: 60 * µs, P99: 70 * µs, Max: 8 * ms}
				r.Catchup = &load.Catchup{
					Resumed: 10, Outdated: 7000, Skipped: 18_000,
					UpToDate: &load.Latency{Count: 10, P50: 400 * µs, P90: 3 * ms, P99: 5 * ms, Max: 7 * ms},
				}
			},
			`latest over WebSocket at http://10.0.0.1/socket
One of 1,000 members publishes messages of 128 bytes at a fixed rate of 50,000 deliveries per second;
10 stop reading, and read again after 60.0 s.
` + talkRows + `              from when a message was scheduled to each delivery
  sent late   p50 50.0 µs, p90 60.0 µs, p99 70.0 µs, max 8.00 ms: the part caused by the load generator
  resumed     10 of 10 members that stopped reading
              they received 7,000 outdated messages first, and 18,000 were skipped
  up to date  p50 400 µs, p90 3.00 ms, p99 5.00 ms, max 7.00 ms
              from when a member read again until it received the newest message
` + wellRows,
		},
		"recover": {
			talked(load.Recover), func(r *report) {
				r.Rate, r.Resets, r.Away = 50_000, 500, 500*ms
				r.SendLag = &load.Latency{Count: 5000, P50: 50 * µs, P90: 60 * µs, P99: 70 * µs, Max: 8 * ms}
				r.Recovery = &load.Recovery{
					Reconnects: 2000, Replayed: 24_000,
					CaughtUp: &load.Latency{Count: 2000, P50: 400 * µs, P90: 3 * ms, P99: 5 * ms, Max: 7 * ms},
				}
			},
			`recover over WebSocket at http://10.0.0.1/socket
One of 1,000 members publishes messages of 128 bytes at a fixed rate of 50,000 deliveries per second.
500 connections per second are reset at random; their clients reconnect within 500 ms and recover.
` + talkRows + `              from when a message was scheduled to each delivery to a connected client
  sent late   p50 50.0 µs, p90 60.0 µs, p99 70.0 µs, max 8.00 ms: the part caused by the load generator
  reconnects  2,000, with 24,000 missed deliveries
  caught up   p50 400 µs, p90 3.00 ms, p99 5.00 ms, max 7.00 ms
              from when a client was scheduled to reconnect until it received all messages that it missed
` + strings.Replace(wellRows, "none misdelivered", "none misdelivered, none unrecovered", 1),
		},
		"presence": {
			measured(load.Presence), func(r *report) { r.PresenceTime, r.PresenceComplete, r.BytesIn = 700*ms, 1000, 90<<20 },
			`presence over WebSocket at http://10.0.0.1/socket
1,000 clients join at once, until the list of every client is complete.

  joins       1,000 in 50.0 ms: 20,000/s
  complete    all 1,000 lists in 700 ms, 90.0 MiB received
  verified    all clients: none rejected, none closed, none failed to connect
  server      CPU 20 % of a core, 1.00 ms per join
` + memoryRow + loadRow,
		},
		"incomplete presence": {
			measured(load.Presence), func(r *report) { r.PresenceComplete, r.BytesIn, r.Server.CPU = 998, 90<<20, 30*ms },
			`presence over WebSocket at http://10.0.0.1/socket
1,000 clients join at once, until the list of every client is complete.

  joins       1,000 in 50.0 ms: 20,000/s
  complete    998 of 1,000 lists, 90.0 MiB received
  verified    all clients: none rejected, none closed, none failed to connect
  server      CPU 30.0 ms, in steps of 10 ms
` + memoryRow + loadRow,
		},
		"churn": {
			measured(load.Churn), func(r *report) { r.JoinTime, r.Joins, r.Server.RSSJoined = 5*time.Second, 100_000, 0 },
			`churn over WebSocket at http://10.0.0.1/socket
1,000 clients connect, join and leave, repeatedly.

  joins       100,000 in 5.00 s: 20,000/s
  verified    all clients: none rejected, none closed, none failed to connect
  server      CPU 20 % of a core, 10.0 µs per join
              memory 9.00 MiB before, 20.0 MiB maximum, 10.0 MiB after
` + loadRow,
		},
		"faults": {
			talked(load.Fanout), func(r *report) {
				r.Faults = load.Faults{Expected: 6_000_000, Lost: 1, Duplicated: 2, Reordered: 3, Misdelivered: 4, Rejected: 5, Closed: 6, Failed: 7000}
			},
			`fanout over WebSocket at http://10.0.0.1/socket
One of 1,000 members publishes messages of 128 bytes, with 16 in flight.
` + strings.Replace(talkedWell, "none lost, none duplicated, none out of order, none misdelivered",
				"1 LOST, 2 DUPLICATED, 3 OUT OF ORDER, 4 MISDELIVERED, 5 REJECTED, 6 CLOSED, 7,000 FAILED TO CONNECT", 1) + `
note: rejected messages are not expected to arrive; if the handler needs another payload, use -payload
`,
		},
		"a server elsewhere": {
			talked(load.Fanout), func(r *report) { r.Server, r.Load.Busy = nil, 0.95 },
			`fanout over WebSocket at http://10.0.0.1/socket
One of 1,000 members publishes messages of 128 bytes, with 16 in flight.
` + strings.Replace(talkedWell, "  server      CPU 20 % of a core, 200 ns per delivery\n"+memoryRow, "", 1) + `
note: the load generator used all its CPU time: the numbers show its limit, not the server's; try -threads 2
note: CPU and memory of the server are unknown, because it is on another machine or belongs to another user; -pid selects a process
`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := report{Result: tt.result}
			tt.change(&r)
			var b strings.Builder
			if err := r.print(&b, false); err != nil {
				t.Fatal(err)
			}
			if b.String() != tt.want {
				t.Errorf("prints\n%s\nwant\n%s", b.String(), tt.want)
			}
		})
	}
}

func TestReportNotes(t *testing.T) {
	for want, change := range map[string]func(*report){
		"the numbers show its limit":         func(r *report) { r.Load.Threads, r.Load.Busy = 2, 1.9 },
		"try -threads 3":                     func(r *report) { r.Load.Threads, r.Load.Busy = 2, 1.9 },
		"server and load generator used all": func(r *report) { r.Server.CPU = 1000 * r.Elapsed },
		"-pid selects a process":             func(r *report) { r.Server = nil },
		"try -clients 10000":                 func(r *report) { r.Scenario = load.Idle },
		"2,000,000 deliveries/s were scheduled, but only 1,000,000 were made": func(r *report) { r.Rate = 2_000_000 },
		"because it sent late": func(r *report) {
			r.Rate, r.SendLag = 1_000_000, &load.Latency{P99: 8 * ms}
		},
	} {
		r := report{Result: talked(load.Fanout)}
		if notes := r.notes(); len(notes) > 0 {
			t.Fatalf("unexpected notes: %q", notes)
		}
		change(&r)
		if notes := r.notes(); len(notes) != 1 || !strings.Contains(notes[0], want) {
			t.Errorf("%q, want %q in it", notes, want)
		}
	}
}

func TestThreeDigits(t *testing.T) {
	for got, want := range map[string]string{
		formatDuration(0):                      "0.00 ns",
		formatDuration(7):                      "7.00 ns",
		formatDuration(999):                    "999 ns",
		formatDuration(1234 * time.Nanosecond): "1.23 µs",
		formatDuration(45_678 * µs):            "45.7 ms",
		formatDuration(100 * time.Second):      "100 s",
		formatDuration(12_345 * time.Second):   "12345 s",
		size(0):                                "0 B",
		size(1023):                             "1023 B",
		size(-1024):                            "-1.00 KiB",
		size(5 << 20):                          "5.00 MiB",
		size(123 << 30):                        "123 GiB",
		number(0):                              "0",
		number(999):                            "999",
		number(1000):                           "1,000",
		number(-123456):                        "-123,456",
		number(1234567):                        "1,234,567",
		percent(0, 0):                          "0 %",
		percent(3*time.Second, 2*time.Second):  "150 %",
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
