package main

import (
	"encoding/json"
	"fmt"
	"io"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/pondsocket/pond/internal/load"
)

// A report is what bench prints.
type report struct {
	load.Result

	// Notes are what one has to know to read the numbers.
	Notes []string `json:"notes,omitempty"`

	// Problem is what is wrong with the server, if anything.
	Problem string `json:"problem,omitempty"`

	own bool // the server is one of ours
}

func (r report) print(w io.Writer, asJSON bool) error {
	r.Notes = r.notes()
	if err := r.Err(); err != nil {
		r.Problem = err.Error()
	}
	if !asJSON {
		_, err := io.WriteString(w, r.text())
		return err
	}
	text, err := json.MarshalIndent(r, "", "  ")
	if err == nil {
		_, err = fmt.Fprintln(w, string(text))
	}
	return err
}

// text is the report for people.
func (r report) text() string {
	var b strings.Builder
	whose := ""
	if r.own {
		whose = ", a Pond of its own"
	}
	over := map[load.Transport]string{load.WebSocket: "WebSocket", load.SSE: "Server-Sent Events"}[r.Transport]
	fmt.Fprintf(&b, "%s over %s at %s%s\n%s\n\n", r.Scenario, over, r.Target, whose, r.plot())
	for _, row := range r.rows() {
		fmt.Fprintf(&b, "  %-10s  %s\n", row[0], row[1])
	}
	for i, note := range r.Notes {
		if i == 0 {
			b.WriteString("\n")
		}
		fmt.Fprintf(&b, "note: %s\n", note)
	}
	return b.String()
}

// plot tells what the scenario is about.
func (r report) plot() string {
	clients, members := number(int64(r.Clients))+" clients", number(int64(r.Clients/r.Rooms))
	publisher := "One of " + members + " members"
	if r.Rooms > 1 {
		publisher = "In each of " + number(int64(r.Rooms)) + " rooms, one of " + members + " members"
	}
	publishes := fmt.Sprintf("%s publishes messages of %d bytes", publisher, r.Size)
	pace := fmt.Sprintf(" and keeps %d under way", r.InFlight)
	if r.Rate > 0 {
		pace = fmt.Sprintf(": %s deliveries are due in a second, whatever comes back", number(int64(r.Rate)))
	}
	switch r.Scenario {
	case load.Idle:
		return clients + " connect and join, and do nothing more."
	case load.Rooms:
		return fmt.Sprintf("All members of %s of %s publish messages of %d bytes%s.",
			count(r.Rooms, "room"), members, r.Size, strings.Replace(pace, " and keeps", ", each with", 1))
	case load.Echo:
		return fmt.Sprintf("%s ask for answers of %d bytes%s.", clients, r.Size,
			strings.Replace(pace, " and keeps", " and keep", 1))
	case load.Presence:
		return clients + " join at once, until every list of members has everybody."
	case load.Churn:
		return clients + " connect, join and leave, again and again."
	case load.Slow:
		return fmt.Sprintf("%s%s; %s stop to read.", publishes, pace, number(int64(r.Stalled)))
	}
	return publishes + pace + "."
}

func (r report) rows() (rows [][2]string) {
	row := func(name, format string, args ...any) {
		rows = append(rows, [2]string{name, fmt.Sprintf(format, args...)})
	}
	row("joins", "%s in %s: %s/s", number(r.Joins), lapse(r.JoinTime), number(int64(r.JoinsPerSecond)))
	if r.Messages > 0 {
		row("deliveries", "%s/s for %s: %s messages/s, %s/s received", number(int64(r.DeliveriesPerSecond)),
			lapse(r.Elapsed), number(int64(float64(r.Messages)/r.Elapsed.Seconds())),
			size(int64(float64(r.BytesIn)/r.Elapsed.Seconds())))
	}
	if l := r.Latency; l != nil {
		row("latency", "%s", percentiles(l))
		if lag := r.SendLag; lag != nil {
			row("", "from when a message was due to each receipt")
			row("sent late", "%s: this program's part of it", percentiles(lag))
		} else {
			row("", "from sending a message to each receipt")
		}
	}
	switch r.Scenario {
	case load.Presence:
		if r.PresenceTime > 0 {
			row("complete", "all %s lists in %s, %s received", number(r.PresenceComplete), lapse(r.PresenceTime), size(r.BytesIn))
		} else {
			row("complete", "%s of %s lists, %s received", number(r.PresenceComplete), number(int64(r.Clients)), size(r.BytesIn))
		}
	case load.Slow:
		row("gap", "%s at most without a delivery, for clients that read", lapse(r.LongestGap))
		row("stalled", "%s, of which the server has closed %s", number(int64(r.Stalled)), number(r.Faults.StalledClosed))
	}
	row("checked", "%s", r.verdict())
	if r.Server != nil {
		row("server", "CPU %s", r.serverCPU())
		row("", "memory %s", r.serverMemory())
	}
	row("this load", "CPU %s of a core, in %s", percent(r.Load.CPU, r.Elapsed), count(r.Load.Threads, "thread"))
	return rows
}

// serverCPU leaves out what is too little to be told from the clock's tick.
func (r report) serverCPU() string {
	cpu := r.Server.CPU
	text := percent(cpu, r.Elapsed) + " of a core"
	switch {
	case cpu < 100*time.Millisecond:
		return lapse(cpu) + ", in steps of 10 ms"
	case r.Deliveries > 0:
		return text + ", " + lapse(r.Server.CPUPerDelivery) + " a delivery"
	}
	return text + ", " + lapse(cpu/time.Duration(max(1, r.Joins))) + " a join"
}

func (r report) serverMemory() string {
	s := r.Server
	with := ""
	if s.RSSJoined > 0 {
		with = fmt.Sprintf("%s with clients (%s each), ", size(s.RSSJoined), size(s.RSSPerClient))
	}
	return fmt.Sprintf("%s before, %s%s at most, %s after", size(s.RSSBefore), with, size(s.RSSMax), size(s.RSSAfter))
}

// verdict names all faults, and those that there were in capitals.
func (r report) verdict() string {
	f := r.Faults
	var faults []string
	for _, fault := range []struct {
		n     int64
		name  string
		talks bool // is of messages
	}{
		{f.Lost, "lost", true},
		{f.Duplicated, "twice", true},
		{f.Reordered, "out of order", true},
		{f.Stray, "gone astray", true},
		{f.Refused, "refused", false},
		{f.Closed, "closed", false},
		{f.Failed, "failed to connect", false},
	} {
		switch {
		case fault.n > 0:
			faults = append(faults, number(fault.n)+" "+strings.ToUpper(fault.name))
		case fault.talks == (f.Expected > 0):
			faults = append(faults, "none "+fault.name)
		}
	}
	what := "all clients"
	if f.Expected > 0 {
		what = number(f.Expected) + " deliveries"
	}
	return what + ": " + strings.Join(faults, ", ")
}

// notes say when numbers are not what they look like.
func (r report) notes() (notes []string) {
	note := func(format string, args ...any) { notes = append(notes, fmt.Sprintf(format, args...)) }
	cores := runtime.NumCPU()
	if threads := float64(r.Load.Threads); r.Elapsed > 0 && r.Load.Busy > 0.9*threads {
		note("this program was busy all the time: the numbers are its own limit, not the server's; try -threads %d", r.Load.Threads+1)
	}
	if s := r.Server; s != nil && r.Elapsed > 0 && (s.CPU+r.Load.CPU).Seconds() > 0.9*float64(cores)*r.Elapsed.Seconds() {
		note("server and load used all %s of this machine: with one of its own, the server can do more", count(cores, "core"))
	}
	if r.Server == nil {
		note("CPU and memory of the server are not known: it is on another machine, or not visible; -pid names a process of it")
	}
	if r.Server != nil && r.Scenario == load.Idle && r.Clients < 5000 {
		note("what the server makes once is part of the memory of each of so few clients; try -clients 10000")
	}
	if r.Rate > 0 && r.DeliveriesPerSecond < 0.95*r.Rate && r.Elapsed > 0 && r.Deliveries > 0 {
		note("%s deliveries/s were due, and %s were made", number(int64(r.Rate)), number(int64(r.DeliveriesPerSecond)))
	}
	if r.SendLag != nil && r.SendLag.P99*2 > r.Latency.P99 && r.SendLag.P99 > time.Millisecond {
		note("much of the latency is this program's own, which sent late: it has too little CPU")
	}
	return notes
}

func percentiles(l *load.Latency) string {
	return fmt.Sprintf("p50 %s, p90 %s, p99 %s, max %s", lapse(l.P50), lapse(l.P90), lapse(l.P99), lapse(l.Max))
}

func percent(d, of time.Duration) string {
	if of <= 0 {
		return "0 %"
	}
	return fmt.Sprintf("%.0f %%", 100*d.Seconds()/of.Seconds())
}

// lapse is a time in three digits.
func lapse(d time.Duration) string {
	switch {
	case d < time.Microsecond:
		return digits(float64(d), "ns")
	case d < time.Millisecond:
		return digits(float64(d)/1e3, "µs")
	case d < time.Second:
		return digits(float64(d)/1e6, "ms")
	}
	return digits(d.Seconds(), "s")
}

// size is a number of bytes in three digits.
func size(n int64) string {
	sign := ""
	if n < 0 {
		sign, n = "-", -n
	}
	switch {
	case n < 1<<10:
		return fmt.Sprintf("%s%d B", sign, n)
	case n < 1<<20:
		return sign + digits(float64(n)/(1<<10), "KiB")
	case n < 1<<30:
		return sign + digits(float64(n)/(1<<20), "MiB")
	}
	return sign + digits(float64(n)/(1<<30), "GiB")
}

func digits(v float64, unit string) string {
	decimals := 2
	for limit := 10.0; decimals > 0 && v >= limit; limit *= 10 {
		decimals--
	}
	return fmt.Sprintf("%.*f %s", decimals, v, unit)
}

// number groups the digits of n.
func number(n int64) string {
	text := strconv.FormatInt(n, 10)
	for i := len(text) - 3; i > 0 && text[i-1] != '-'; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}
