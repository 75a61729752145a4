package main

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/pondsocket/pond/internal/load"
)

// A report is the output of bench.
type report struct {
	load.Result

	// Notes explain how to interpret the numbers.
	Notes []string `json:"notes,omitempty"`

	// Problem describes the faults of the server, if any.
	Problem string `json:"problem,omitempty"`

	own bool // bench started the server
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

// text formats the report as text.
func (r report) text() string {
	var b strings.Builder
	whose := ""
	if r.own {
		whose = ", a Pond started by bench"
	}
	over := map[load.Transport]string{load.WebSocket: "WebSocket", load.SSE: "Server-Sent Events"}[r.Transport]
	fmt.Fprintf(&b, "%s over %s at %s%s\n%s\n\n", r.Scenario, over, r.Target, whose, r.describe())
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

// describe describes the scenario.
func (r report) describe() string {
	clients, members := number(int64(r.Clients))+" clients", number(int64(r.Clients/r.Rooms))
	publisher := "One of " + members + " members"
	if r.Rooms > 1 {
		publisher = "In each of " + number(int64(r.Rooms)) + " rooms, one of " + members + " members"
	}
	publishes := fmt.Sprintf("%s publishes messages of %d bytes", publisher, r.Size)
	pace := fmt.Sprintf(", with %d in flight", r.InFlight)
	if r.Rate > 0 {
		pace = fmt.Sprintf(" at a fixed rate of %s deliveries per second", number(int64(r.Rate)))
	}
	switch r.Scenario {
	case load.Idle:
		return clients + " connect and join, and do nothing more."
	case load.Rooms:
		return fmt.Sprintf("All members of %s with %s members each publish messages of %d bytes%s.",
			count(r.Rooms, "room"), members, r.Size, strings.Replace(pace, "in flight", "in flight per member", 1))
	case load.Echo:
		return fmt.Sprintf("%s send requests of %d bytes%s.", clients, r.Size, pace)
	case load.Presence:
		return clients + " join at once, until the list of every client is complete."
	case load.Churn:
		return clients + " connect, join and leave, repeatedly."
	case load.Slow:
		return fmt.Sprintf("%s%s; %s stop reading.", publishes, pace, number(int64(r.Stalled)))
	case load.Latest:
		return fmt.Sprintf("%s%s;\n%s stop reading, and read again after %s.", publishes, pace, number(int64(r.Stalled)), formatDuration(r.Away))
	case load.Recover:
		return fmt.Sprintf("%s%s.\n%s connections per second are reset at random; their clients reconnect within %s and recover.",
			publishes, pace, number(int64(math.Round(r.Resets))), formatDuration(r.Away))
	}
	return publishes + pace + "."
}

func (r report) rows() (rows [][2]string) {
	row := func(name, format string, args ...any) {
		rows = append(rows, [2]string{name, fmt.Sprintf(format, args...)})
	}
	row("joins", "%s in %s: %s/s", number(r.Joins), formatDuration(r.JoinTime), number(int64(r.JoinsPerSecond)))
	if r.Messages > 0 {
		row("deliveries", "%s/s for %s: %s messages/s, %s/s received", number(int64(r.DeliveriesPerSecond)),
			formatDuration(r.Elapsed), number(int64(float64(r.Messages)/r.Elapsed.Seconds())),
			size(int64(float64(r.BytesIn)/r.Elapsed.Seconds())))
	}
	if l := r.Latency; l != nil {
		row("latency", "%s", percentiles(l))
		if lag := r.SendLag; lag != nil {
			from := "from when a message was scheduled to each delivery"
			if r.Scenario == load.Recover {
				from += " to a connected client"
			}
			row("", "%s", from)
			row("sent late", "%s: the part caused by the load generator", percentiles(lag))
		} else {
			row("", "from when a message was sent to each delivery")
		}
	}
	switch r.Scenario {
	case load.Presence:
		if r.PresenceTime > 0 {
			row("complete", "all %s lists in %s, %s received", number(r.PresenceComplete), formatDuration(r.PresenceTime), size(r.BytesIn))
		} else {
			row("complete", "%s of %s lists, %s received", number(r.PresenceComplete), number(int64(r.Clients)), size(r.BytesIn))
		}
	case load.Slow:
		row("gap", "at most %s without a delivery, for clients that read", formatDuration(r.LongestGap))
		row("stalled", "%s clients, of which the server closed %s", number(int64(r.Stalled)), number(r.Faults.StalledClosed))
	}
	if rec := r.Recovery; rec != nil {
		row("reconnects", "%s, with %s missed deliveries", number(rec.Reconnects), number(rec.Replayed))
		if rec.CaughtUp != nil {
			row("caught up", "%s", percentiles(rec.CaughtUp))
			row("", "from when a client was scheduled to reconnect until it received all messages that it missed")
		}
	}
	if c := r.Catchup; c != nil {
		row("resumed", "%s of %s members that stopped reading", number(c.Resumed), number(int64(r.Stalled)))
		row("", "they received %s outdated messages first, and %s were skipped", number(c.Outdated), number(c.Skipped))
		if c.UpToDate != nil {
			row("up to date", "%s", percentiles(c.UpToDate))
			row("", "from when a member read again until it received the newest message")
		}
	}
	row("verified", "%s", r.faults())
	if r.Server != nil {
		row("server", "CPU %s", r.serverCPU())
		row("", "memory %s", r.serverMemory())
	}
	row("load", "CPU %s of a core, in %s", percent(r.Load.CPU, r.Elapsed), count(r.Load.Threads, "thread"))
	return rows
}

// serverCPU formats the CPU time of the server. It omits quotients if the time is
// too short for the resolution of the clock.
func (r report) serverCPU() string {
	cpu := r.Server.CPU
	text := percent(cpu, r.Elapsed) + " of a core"
	switch {
	case cpu < 100*time.Millisecond:
		return formatDuration(cpu) + ", in steps of 10 ms"
	case r.Deliveries > 0:
		return text + ", " + formatDuration(r.Server.CPUPerDelivery) + " per delivery"
	}
	return text + ", " + formatDuration(cpu/time.Duration(max(1, r.Joins))) + " per join"
}

func (r report) serverMemory() string {
	s := r.Server
	with := ""
	if s.RSSJoined > 0 {
		with = fmt.Sprintf("%s with clients (%s each), ", size(s.RSSJoined), size(s.RSSPerClient))
	}
	return fmt.Sprintf("%s before, %s%s maximum, %s after", size(s.RSSBefore), with, size(s.RSSMax), size(s.RSSAfter))
}

// faults lists all kinds of faults, in capitals if there were any.
func (r report) faults() string {
	f := r.Faults
	deliveries := f.Expected > 0
	var faults []string
	for _, fault := range []struct {
		n    int64
		name string
		show bool // even if there were none
	}{
		{f.Lost, "lost", deliveries},
		{f.Duplicated, "duplicated", deliveries},
		{f.Reordered, "out of order", deliveries},
		{f.Misdelivered, "misdelivered", deliveries},
		{f.Unrecovered, "unrecovered", r.Recovery != nil},
		{f.Rejected, "rejected", !deliveries},
		{f.Closed, "closed", !deliveries},
		{f.Failed, "failed to connect", !deliveries},
	} {
		switch {
		case fault.n > 0:
			faults = append(faults, number(fault.n)+" "+strings.ToUpper(fault.name))
		case fault.show:
			faults = append(faults, "none "+fault.name)
		}
	}
	verified := "all clients"
	if f.Expected > 0 {
		verified = number(f.Expected) + " deliveries"
	}
	return verified + ": " + strings.Join(faults, ", ")
}

// notes warn about numbers that could mislead.
func (r report) notes() (notes []string) {
	note := func(format string, args ...any) { notes = append(notes, fmt.Sprintf(format, args...)) }
	cores := runtime.NumCPU()
	if threads := float64(r.Load.Threads); r.Elapsed > 0 && r.Load.Busy > 0.9*threads {
		note("the load generator used all its CPU time: the numbers show its limit, not the server's; try -threads %d", r.Load.Threads+1)
	}
	if s := r.Server; s != nil && r.Elapsed > 0 && (s.CPU+r.Load.CPU).Seconds() > 0.9*float64(cores)*r.Elapsed.Seconds() {
		note("server and load generator used all %s of this machine: on a machine of its own, the server can do more", count(cores, "core"))
	}
	if r.Server == nil {
		note("CPU and memory of the server are unknown, because it is on another machine or belongs to another user; -pid selects a process")
	}
	if r.Server != nil && r.Scenario == load.Idle && r.Clients < 5000 {
		note("with so few clients, the memory per client includes much fixed cost of the server; try -clients 10000")
	}
	late := r.Scenario == load.Recover || r.Scenario == load.Latest // because deliveries to disconnected clients are late, and others are skipped
	if r.Rate > 0 && !late && r.DeliveriesPerSecond < 0.95*r.Rate && r.Elapsed > 0 && r.Deliveries > 0 {
		note("%s deliveries/s were scheduled, but only %s were made", number(int64(r.Rate)), number(int64(r.DeliveriesPerSecond)))
	}
	if r.SendLag != nil && r.Latency != nil && r.SendLag.P99*2 > r.Latency.P99 && r.SendLag.P99 > time.Millisecond {
		note("the load generator caused much of the latency, because it sent late: it has too little CPU time")
	}
	if c := r.Catchup; c != nil && c.Behind > 0 {
		note("members that read all the time lagged, and skipped %s messages: the load generator or the server has too little CPU time", number(c.Behind))
	}
	if r.Faults.Rejected > 0 && r.Messages > 0 {
		note("rejected messages are not expected to arrive; if the handler needs another payload, use -payload")
	}
	return notes
}

func percentiles(l *load.Latency) string {
	return fmt.Sprintf("p50 %s, p90 %s, p99 %s, max %s", formatDuration(l.P50), formatDuration(l.P90), formatDuration(l.P99), formatDuration(l.Max))
}

func percent(d, of time.Duration) string {
	if of <= 0 {
		return "0 %"
	}
	return fmt.Sprintf("%.0f %%", 100*d.Seconds()/of.Seconds())
}

// formatDuration formats a duration with three digits.
func formatDuration(d time.Duration) string {
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

// size formats a number of bytes with three digits.
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

// number formats n with thousands separators.
func number(n int64) string {
	text := strconv.FormatInt(n, 10)
	for i := len(text) - 3; i > 0 && text[i-1] != '-'; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}
