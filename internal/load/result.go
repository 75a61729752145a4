package load

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// ErrPlatform means that the load generator does not support this operating system.
var ErrPlatform = errors.New("the load generator requires Linux")

// A Result holds the measurements of a run. Durations are in nanoseconds in JSON.
type Result struct {
	Scenario  Scenario  `json:"scenario"`
	Target    string    `json:"target"`
	Transport Transport `json:"transport"`
	Clients   int       `json:"clients"`
	Rooms     int       `json:"rooms"`
	Stalled   int       `json:"stalled,omitempty"`
	Size      int       `json:"size"` // of a published message, in bytes
	InFlight  int       `json:"inFlight"`
	Rate      float64   `json:"rate,omitempty"`

	Resets float64       `json:"resets,omitempty"` // per second; in Recover
	Away   time.Duration `json:"away,omitempty"`   // in Recover and Latest

	// Joins is the number of joins; in Churn, those during the measurement. JoinTime is
	// the time from the first connect until all clients joined.
	Joins          int64         `json:"joins"`
	JoinTime       time.Duration `json:"joinTime"`
	JoinsPerSecond float64       `json:"joinsPerSecond"`

	// The measurement, without warm-up.
	Elapsed             time.Duration `json:"elapsed"`
	Messages            int64         `json:"messages"`
	Deliveries          int64         `json:"deliveries"`
	DeliveriesPerSecond float64       `json:"deliveriesPerSecond"`
	BytesIn             int64         `json:"bytesIn"`

	// Latency is the time from when a message was scheduled until each delivery.
	// SendLag is the part of it that the load generator caused; it is known only at a
	// fixed rate.
	Latency *Latency `json:"latency,omitempty"`
	SendLag *Latency `json:"sendLag,omitempty"`

	// LongestGap is the longest time during the measurement in which a reading member
	// received nothing; in Slow.
	LongestGap time.Duration `json:"longestGap,omitempty"`

	// PresenceTime is the time from the first connect until the list of every client
	// was complete. PresenceComplete is the number of complete lists at the end.
	PresenceTime     time.Duration `json:"presenceTime,omitempty"`
	PresenceComplete int64         `json:"presenceComplete,omitempty"`

	// Recovery is nil except in Recover.
	Recovery *Recovery `json:"recovery,omitempty"`

	// Catchup is nil except in Latest.
	Catchup *Catchup `json:"catchup,omitempty"`

	Faults Faults `json:"faults"`

	// Forgiven are the names of Faults that the server does not promise to avoid.
	Forgiven []string `json:"forgiven,omitempty"`

	Server *Server `json:"server,omitempty"` // nil if its processes are unknown
	Load   Load    `json:"load"`
}

// Recovery describes how clients recovered whose connections were reset.
type Recovery struct {
	Reconnects int64    `json:"reconnects"`         // clients that received all that they missed
	Replayed   int64    `json:"replayed"`           // deliveries to clients before they were caught up
	Holes      int64    `json:"holes,omitempty"`    // clients that the server told that they received all, but that missed messages
	CaughtUp   *Latency `json:"caughtUp,omitempty"` // the time from when a client was scheduled to reconnect until it was caught up
}

// Catchup describes how members caught up that stopped reading for a while.
type Catchup struct {
	Resumed  int64    `json:"resumed"`            // members that received the message that was the newest when they read again
	Outdated int64    `json:"outdated"`           // messages that these members received before
	Skipped  int64    `json:"skipped"`            // messages that these members did not receive
	UpToDate *Latency `json:"upToDate,omitempty"` // the time from when a member read again until it received the newest message
	Behind   int64    `json:"behind"`             // messages that the other members did not receive, because they lagged
}

// Faults counts the faults from the first message to the last, including warm-up.
type Faults struct {
	Expected     int64 `json:"expected"`     // deliveries to connected members, without those of rejected messages
	Lost         int64 `json:"lost"`         // expected deliveries that did not arrive
	Duplicated   int64 `json:"duplicated"`   // deliveries that arrived again
	Reordered    int64 `json:"reordered"`    // deliveries that arrived after a later one of the same sender
	Misdelivered int64 `json:"misdelivered"` // deliveries to a client that must not receive them
	Unrecovered  int64 `json:"unrecovered"`  // clients to which the server could not send all that they missed
	Rejected     int64 `json:"rejected"`     // joins and messages that the server rejected
	Closed       int64 `json:"closed"`       // clients that the server closed, without stalled ones
	Failed       int64 `json:"failed"`       // clients that could not connect

	// StalledClosed is not a fault. It is the number of stalled clients that the server
	// closed.
	StalledClosed int64 `json:"stalledClosed"`

	// Reason is the reason of the first fault that has one.
	Reason string `json:"reason,omitempty"`
}

// Server is the resource usage of the server's processes.
type Server struct {
	PIDs           []int           `json:"pids"`
	CPU            time.Duration   `json:"cpu"`  // user and system, while measuring
	CPUs           []time.Duration `json:"cpus"` // the same, by process
	CPUPerDelivery time.Duration   `json:"cpuPerDelivery"`
	RSSBefore      int64           `json:"rssBefore"` // bytes, before the first client
	RSSJoined      int64           `json:"rssJoined"` // after all clients joined
	RSSMax         int64           `json:"rssMax"`    // the maximum
	RSSAfter       int64           `json:"rssAfter"`  // after all clients left
	RSSPerClient   int64           `json:"rssPerClient"`
}

// Load is the resource usage of the load generator.
type Load struct {
	Threads int           `json:"threads"`
	CPU     time.Duration `json:"cpu"`  // of the whole process, while measuring
	Busy    float64       `json:"busy"` // CPU / Elapsed; near Threads, the load generator is the bottleneck
}

// Err returns an error that names the faults, or nil if there are none that count.
func (r Result) Err() error {
	forgiven := strings.Join(r.Forgiven, " ")
	var broken []string
	for _, f := range []struct {
		n    int64
		name string
	}{
		{r.Faults.Lost, "lost"},
		{r.Faults.Duplicated, "duplicated"},
		{r.Faults.Reordered, "reordered"},
		{r.Faults.Misdelivered, "misdelivered"},
		{r.Faults.Unrecovered, "unrecovered"},
		{r.Faults.Rejected, "rejected"},
		{r.Faults.Closed, "closed"},
		{r.Faults.Failed, "failed"},
	} {
		if f.n > 0 && !strings.Contains(forgiven, f.name) {
			broken = append(broken, fmt.Sprintf("%d %s", f.n, f.name))
		}
	}
	if r.Scenario == Presence && r.PresenceComplete < int64(r.Clients) {
		broken = append(broken, fmt.Sprintf("%d incomplete lists (the server must track each member with the \"track\" of its join)", int64(r.Clients)-r.PresenceComplete))
	}
	if broken == nil {
		return nil
	}
	problem := strings.Join(broken, ", ")
	if r.Faults.Reason != "" {
		problem += ": " + r.Faults.Reason
	}
	return errors.New(problem)
}
