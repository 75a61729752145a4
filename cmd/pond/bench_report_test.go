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

// measured is what all results of these tests begin as.
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
	memoryRow = "              memory 9.00 MiB before, 15.0 MiB with clients (6.14 KiB each), 20.0 MiB at most, 10.0 MiB after\n"
	loadRow   = "  this load   CPU 30 % of a core, in 1 thread\n"
	talkRows  = `
  joins       1,000 in 50.0 ms: 20,000/s
  deliveries  1,000,000/s for 5.00 s: 1,000 messages/s, 128 MiB/s received
  latency     p50 900 µs, p90 1.20 ms, p99 15.0 ms, max 120 ms
`
	wellRows = `  checked     6,000,000 deliveries: none lost, none twice, none out of order, none gone astray
  server      CPU 20 % of a core, 200 ns a delivery
` + memoryRow + loadRow
	talkedWell = talkRows + "              from sending a message to each receipt\n" + wellRows
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
  checked     all clients: none refused, none closed, none failed to connect
  server      CPU 20 % of a core, 1.00 ms a join
` + memoryRow + loadRow,
		},
		"fanout": {
			talked(load.Fanout), func(r *report) { r.own = true },
			`fanout over WebSocket at http://10.0.0.1/socket, a Pond of its own
One of 1,000 members publishes messages of 128 bytes and keeps 16 under way.
` + talkedWell,
		},
		"fanout in rooms": {
			talked(load.Fanout), func(r *report) { r.Rooms, r.Transport = 20, load.SSE },
			`fanout over Server-Sent Events at http://10.0.0.1/socket
In each of 20 rooms, one of 50 members publishes messages of 128 bytes and keeps 16 under way.
` + talkedWell,
		},
		"rate": {
			talked(load.Rate), func(r *report) {
				r.Rate = 1_000_000
				r.SendLag = &load.Latency{Count: 5000, P50: 50 * µs, P90: 60 * µs, P99: 70 * µs, Max: 8 * ms}
			},
			`rate over WebSocket at http://10.0.0.1/socket
One of 1,000 members publishes messages of 128 bytes: 1,000,000 deliveries are due in a second, whatever comes back.
` + talkRows + `              from when a message was due to each receipt
  sent late   p50 50.0 µs, p90 60.0 µs, p99 70.0 µs, max 8.00 ms: this program's part of it
` + wellRows,
		},
		"rooms": {
			talked(load.Rooms), func(r *report) { r.Rooms, r.InFlight = 100, 1 },
			`rooms over WebSocket at http://10.0.0.1/socket
All members of 100 rooms of 10 publish messages of 128 bytes, each with 1 under way.
` + talkedWell,
		},
		"echo": {
			talked(load.Echo), func(*report) {},
			`echo over WebSocket at http://10.0.0.1/socket
1,000 clients ask for answers of 128 bytes and keep 16 under way.
` + talkedWell,
		},
		"slow": {
			talked(load.Slow), func(r *report) { r.Stalled, r.Faults.StalledClosed, r.LongestGap = 10, 3, 40*ms },
			`slow over WebSocket at http://10.0.0.1/socket
One of 1,000 members publishes messages of 128 bytes and keeps 16 under way; 10 stop to read.
` + strings.Replace(talkedWell, "  checked",
				"  gap         40.0 ms at most without a delivery, for clients that read\n"+
					"  stalled     10, of which the server has closed 3\n  checked", 1),
		},
		"presence": {
			measured(load.Presence), func(r *report) { r.PresenceTime, r.PresenceComplete, r.BytesIn = 700*ms, 1000, 90<<20 },
			`presence over WebSocket at http://10.0.0.1/socket
1,000 clients join at once, until every list of members has everybody.

  joins       1,000 in 50.0 ms: 20,000/s
  complete    all 1,000 lists in 700 ms, 90.0 MiB received
  checked     all clients: none refused, none closed, none failed to connect
  server      CPU 20 % of a core, 1.00 ms a join
` + memoryRow + loadRow,
		},
		"presence that never was": {
			measured(load.Presence), func(r *report) { r.PresenceComplete, r.BytesIn, r.Server.CPU = 998, 90<<20, 30*ms },
			`presence over WebSocket at http://10.0.0.1/socket
1,000 clients join at once, until every list of members has everybody.

  joins       1,000 in 50.0 ms: 20,000/s
  complete    998 of 1,000 lists, 90.0 MiB received
  checked     all clients: none refused, none closed, none failed to connect
  server      CPU 30.0 ms, in steps of 10 ms
` + memoryRow + loadRow,
		},
		"churn": {
			measured(load.Churn), func(r *report) { r.JoinTime, r.Joins, r.Server.RSSJoined = 5*time.Second, 100_000, 0 },
			`churn over WebSocket at http://10.0.0.1/socket
1,000 clients connect, join and leave, again and again.

  joins       100,000 in 5.00 s: 20,000/s
  checked     all clients: none refused, none closed, none failed to connect
  server      CPU 20 % of a core, 10.0 µs a join
              memory 9.00 MiB before, 20.0 MiB at most, 10.0 MiB after
` + loadRow,
		},
		"faults": {
			talked(load.Fanout), func(r *report) {
				r.Faults = load.Faults{Expected: 6_000_000, Lost: 1, Duplicated: 2, Reordered: 3, Stray: 4, Refused: 5, Closed: 6, Failed: 7000}
			},
			`fanout over WebSocket at http://10.0.0.1/socket
One of 1,000 members publishes messages of 128 bytes and keeps 16 under way.
` + strings.Replace(talkedWell, "none lost, none twice, none out of order, none gone astray",
				"1 LOST, 2 TWICE, 3 OUT OF ORDER, 4 GONE ASTRAY, 5 REFUSED, 6 CLOSED, 7,000 FAILED TO CONNECT", 1),
		},
		"a server elsewhere": {
			talked(load.Fanout), func(r *report) { r.Server, r.Load.Busy = nil, 0.95 },
			`fanout over WebSocket at http://10.0.0.1/socket
One of 1,000 members publishes messages of 128 bytes and keeps 16 under way.
` + strings.Replace(talkedWell, "  server      CPU 20 % of a core, 200 ns a delivery\n"+memoryRow, "", 1) + `
note: this program was busy all the time: the numbers are its own limit, not the server's; try -threads 2
note: CPU and memory of the server are not known: it is on another machine, or not visible; -pid names a process of it
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
		"the numbers are its own limit": func(r *report) { r.Load.Threads, r.Load.Busy = 2, 1.9 },
		"try -threads 3":                func(r *report) { r.Load.Threads, r.Load.Busy = 2, 1.9 },
		"server and load used all":      func(r *report) { r.Server.CPU = 1000 * r.Elapsed },
		"-pid names a process":          func(r *report) { r.Server = nil },
		"try -clients 10000":            func(r *report) { r.Scenario = load.Idle },
		"2,000,000 deliveries/s were due, and 1,000,000 were made": func(r *report) { r.Rate = 2_000_000 },
		"this program's own, which sent late": func(r *report) {
			r.Rate, r.SendLag = 1_000_000, &load.Latency{P99: 8 * ms}
		},
	} {
		r := report{Result: talked(load.Fanout)}
		if notes := r.notes(); len(notes) > 0 {
			t.Fatalf("for nothing: %q", notes)
		}
		change(&r)
		if notes := r.notes(); len(notes) != 1 || !strings.Contains(notes[0], want) {
			t.Errorf("%q, want %q in it", notes, want)
		}
	}
}

func TestThreeDigits(t *testing.T) {
	for got, want := range map[string]string{
		lapse(0):                              "0.00 ns",
		lapse(7):                              "7.00 ns",
		lapse(999):                            "999 ns",
		lapse(1234 * time.Nanosecond):         "1.23 µs",
		lapse(45_678 * µs):                    "45.7 ms",
		lapse(100 * time.Second):              "100 s",
		lapse(12_345 * time.Second):           "12345 s",
		size(0):                               "0 B",
		size(1023):                            "1023 B",
		size(-1024):                           "-1.00 KiB",
		size(5 << 20):                         "5.00 MiB",
		size(123 << 30):                       "123 GiB",
		number(0):                             "0",
		number(999):                           "999",
		number(1000):                          "1,000",
		number(-123456):                       "-123,456",
		number(1234567):                       "1,234,567",
		percent(0, 0):                         "0 %",
		percent(3*time.Second, 2*time.Second): "150 %",
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
