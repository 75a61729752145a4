package load

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// ErrPlatform says that the engine cannot run here.
var ErrPlatform = errors.New("the load engine needs Linux")

// A Result is what a run has measured. Durations are in nanoseconds in JSON.
type Result struct {
	Scenario  Scenario  `json:"scenario"`
	Target    string    `json:"target"`
	Transport Transport `json:"transport"`
	Clients   int       `json:"clients"`
	Rooms     int       `json:"rooms"`
	Stalled   int       `json:"stalled,omitempty"`
	Size      int       `json:"size"` // of a published message, in bytes of text
	InFlight  int       `json:"inFlight"`
	Rate      float64   `json:"rate,omitempty"`

	// How the clients came in. In Churn, these are the joins of the measurement.
	Joins          int64         `json:"joins"`
	JoinTime       time.Duration `json:"joinTime"`
	JoinsPerSecond float64       `json:"joinsPerSecond"`

	// What was measured, without warm-up.
	Elapsed             time.Duration `json:"elapsed"`
	Messages            int64         `json:"messages"`
	Deliveries          int64         `json:"deliveries"`
	DeliveriesPerSecond float64       `json:"deliveriesPerSecond"`
	BytesIn             int64         `json:"bytesIn"`

	// Latency is from the moment at which a message was meant to be sent, and
	// SendLag what the engine itself is to blame for in it. SendLag is of
	// messages at a given rate only.
	Latency *Latency `json:"latency,omitempty"`
	SendLag *Latency `json:"sendLag,omitempty"`

	// LongestGap is the longest time in which a member that reads got nothing
	// during the measurement; in Slow.
	LongestGap time.Duration `json:"longestGap,omitempty"`

	// PresenceTime is from the first connect until every client's list had all
	// clients; PresenceComplete is how many lists had them at the end.
	PresenceTime     time.Duration `json:"presenceTime,omitempty"`
	PresenceComplete int64         `json:"presenceComplete,omitempty"`

	Faults Faults `json:"faults"`

	// Forgiven are names of Faults that the server does not promise to avoid.
	Forgiven []string `json:"forgiven,omitempty"`

	Server *Server `json:"server,omitempty"` // if its processes are known
	Load   Load    `json:"load"`
}

// Faults are what went wrong from the first message to the last, warm-up
// included.
type Faults struct {
	Expected   int64 `json:"expected"`   // deliveries, of clients that were there
	Lost       int64 `json:"lost"`       // of those, the ones that never came
	Duplicated int64 `json:"duplicated"` // deliveries that came again
	Reordered  int64 `json:"reordered"`  // deliveries that came after a later one of the same sender
	Stray      int64 `json:"stray"`      // deliveries to somebody that they were not meant for
	Refused    int64 `json:"refused"`    // answers that said no, to joins and to messages
	Closed     int64 `json:"closed"`     // clients that the server closed, but for those that had stopped reading
	Failed     int64 `json:"failed"`     // clients that did not get in

	// StalledClosed is no fault: how many clients that had stopped to read were
	// closed by the server.
	StalledClosed int64 `json:"stalledClosed"`

	// Reason is the first that came with one of them.
	Reason string `json:"reason,omitempty"`
}

// Server is what the server's processes used.
type Server struct {
	PIDs           []int         `json:"pids"`
	CPU            time.Duration `json:"cpu"` // user and system, while measuring
	CPUPerDelivery time.Duration `json:"cpuPerDelivery"`
	RSSBefore      int64         `json:"rssBefore"` // bytes, before the first client
	RSSJoined      int64         `json:"rssJoined"` // when all clients had joined
	RSSMax         int64         `json:"rssMax"`    // the most that was seen
	RSSAfter       int64         `json:"rssAfter"`  // when all clients were gone
	RSSPerClient   int64         `json:"rssPerClient"`
}

// Load is what the engine itself used.
type Load struct {
	Threads int           `json:"threads"`
	CPU     time.Duration `json:"cpu"`  // of the whole process, while measuring
	Busy    float64       `json:"busy"` // CPU through Elapsed: near Threads, the engine is the bottleneck
}

// Err returns what the server did not keep of its promise, or nil.
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
		{r.Faults.Stray, "stray"},
		{r.Faults.Refused, "refused"},
		{r.Faults.Closed, "closed"},
		{r.Faults.Failed, "failed"},
	} {
		if f.n > 0 && !strings.Contains(forgiven, f.name) {
			broken = append(broken, fmt.Sprintf("%d %s", f.n, f.name))
		}
	}
	if r.Scenario == Presence && r.PresenceComplete < int64(r.Clients) {
		broken = append(broken, fmt.Sprintf("%d lists incomplete", int64(r.Clients)-r.PresenceComplete))
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
