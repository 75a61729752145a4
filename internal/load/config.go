package load

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"
)

// A Scenario describes what the clients do.
type Scenario string

// The scenarios.
const (
	Idle     Scenario = "idle"     // connect, join, and nothing more
	Fanout   Scenario = "fanout"   // one member publishes, with InFlight messages in flight
	Rate     Scenario = "rate"     // one member publishes at a fixed rate, without waiting for deliveries
	Rooms    Scenario = "rooms"    // all members of all rooms publish, each InFlight messages at a time
	Echo     Scenario = "echo"     // clients send requests, InFlight in total
	Presence Scenario = "presence" // all join with presence, until every list is complete
	Churn    Scenario = "churn"    // connect, join and leave, repeatedly
	Slow     Scenario = "slow"     // fanout, but some members stop reading
	Latest   Scenario = "latest"   // rate, but some members stop reading for a while
	Recover  Scenario = "recover"  // rate, but connections are reset at random, and clients recover
)

// Scenarios lists all scenarios.
var Scenarios = []Scenario{Idle, Fanout, Rate, Rooms, Echo, Presence, Churn, Slow, Latest, Recover}

// chat reports whether clients publish to channels.
func (s Scenario) chat() bool {
	return s == Fanout || s == Rate || s == Rooms || s == Slow || s == Latest || s == Recover
}

// allPublish reports whether all clients publish, rather than one per room.
func (s Scenario) allPublish() bool { return s == Rooms || s == Echo }

// Config configures [Run]. Zero fields have the defaults given below.
type Config struct {
	Scenario  Scenario
	Dialect   Dialect
	Transport Transport // default WebSocket
	Addr      string    // host:port of the server; an IP address
	Host      string    // the Host header of requests; default Addr

	// Nodes are more servers with the same channels, as host:port. Place returns the server
	// of a client for its next connection: 0 is Addr, and n is Nodes[n-1]. The default is 0.
	// again reports that the client was connected before. Place is called concurrently.
	// Event streams are not supported.
	Nodes []string
	Place func(client int, again bool) int

	Clients int // number of clients; default 100
	Rooms   int // number of channels; the clients are spread over them evenly; default 1
	Stalled int // number of clients that stop reading in Slow and Latest; default a tenth of Clients
	Threads int // number of threads that serve the clients; default 1

	Positions bool // clients remember their positions, as in Recover

	Size     int     // size of a published message in bytes, as text; default 128
	InFlight int     // maximum number of incomplete messages per publisher; default 16, in Rooms 1
	Rate     float64 // deliveries per second; default in Rate 10,000, in Latest and Recover 50 per client, in other scenarios as many as InFlight allows

	// Resets is the number of connections that are reset per second in Recover; default
	// half of Clients. Publishers are not reset, because what they sent could be lost. A
	// client reconnects after a random time of at most Away; default 500 ms. In Latest,
	// Away is the time without reading; default half of Duration.
	Resets float64
	Away   time.Duration

	// Warmup is the time before the measurement; its deliveries are checked as well.
	// Duration is the time of the measurement; default 5 s. If Messages is set, the
	// measurement ends when that many messages were published (in Churn, when that
	// many joins were made) since the start, or after Duration if it is set as well.
	Warmup   time.Duration
	Duration time.Duration
	Messages int64

	// LostAfter is the time without any event after which missing deliveries count
	// as lost; default 5 s.
	LostAfter time.Duration

	PIDs    []int        // processes of the server, to measure their CPU time and memory
	Collect func() error // asks the server to collect garbage before its memory is read; may be nil

	Progress func(Progress) // called a few times per second; may be nil
}

// Progress is the progress of a run.
type Progress struct {
	Phase      string // such as "connect"
	Joined     int64
	Deliveries int64
}

func (c Config) withDefaults() Config {
	c.Transport = cmp.Or(c.Transport, WebSocket)
	c.Host = cmp.Or(c.Host, c.Addr)
	c.Clients = cmp.Or(c.Clients, 100)
	c.Rooms = cmp.Or(c.Rooms, 1)
	c.Threads = cmp.Or(c.Threads, 1)
	c.Size = cmp.Or(c.Size, 128)
	c.LostAfter = cmp.Or(c.LostAfter, 5*time.Second)
	if c.Scenario == Rooms {
		c.InFlight = cmp.Or(c.InFlight, 1)
	}
	c.InFlight = cmp.Or(c.InFlight, 16)
	if c.Scenario != Slow && c.Scenario != Latest {
		c.Stalled = 0
	} else if c.Stalled == 0 {
		c.Stalled = max(1, c.Clients/10)
	}
	if c.Scenario == Rate && c.Rate == 0 {
		c.Rate = 10_000
	}
	if c.Scenario == Recover {
		c.Rate = cmp.Or(c.Rate, 50*float64(c.Clients))
		c.Resets = cmp.Or(c.Resets, float64(c.Clients)/2)
		c.Away = cmp.Or(c.Away, 500*time.Millisecond)
	}
	if c.Messages == 0 {
		c.Duration = cmp.Or(c.Duration, 5*time.Second)
	}
	if c.Scenario == Latest {
		c.Rate = cmp.Or(c.Rate, 50*float64(c.Clients))
		c.Away = cmp.Or(c.Away, c.Duration/2, time.Second)
	}
	return c
}

// maxClients is the largest number of clients that a stamp can represent.
const maxClients = 1 << 24

// Check reports whether [Run] can start. It returns [ErrPlatform], or an error that
// describes what is invalid in c.
func (c Config) Check() error {
	if !supported {
		return ErrPlatform
	}
	return c.withDefaults().check()
}

func (c Config) check() error {
	if c.Dialect == nil {
		return errors.New("no dialect")
	}
	traits := c.Dialect.Traits()
	switch {
	case !slices.Contains(Scenarios, c.Scenario):
		return fmt.Errorf("unknown scenario %q", c.Scenario)
	case len(c.Nodes) > 0 && c.Transport != WebSocket:
		return errors.New("with several nodes, clients need WebSockets")
	case c.Positions && !traits.Recovery:
		return fmt.Errorf("%s has no positions", traits.Name)
	case !slices.Contains(traits.Transports, c.Transport):
		return fmt.Errorf("%s has no transport %q", traits.Name, c.Transport)
	case c.Scenario == Echo && !traits.Echo:
		return fmt.Errorf("%s has no echo", traits.Name)
	case c.Scenario == Presence && !traits.Presence:
		return fmt.Errorf("%s has no presence", traits.Name)
	case c.Scenario == Recover && !traits.Recovery:
		return fmt.Errorf("%s has no recovery", traits.Name)
	case c.Clients < 1 || c.Clients > maxClients || c.Rooms < 1 || c.Clients%c.Rooms != 0:
		return fmt.Errorf("%d clients cannot be spread over %d rooms", c.Clients, c.Rooms)
	case c.Threads < 1 || c.InFlight < 1 || c.Rate < 0 || c.Messages < 0:
		return errors.New("threads and in-flight must be positive, and rate and messages must not be negative")
	case c.Stalled < 0 || c.Stalled > c.Clients-c.Rooms:
		return fmt.Errorf("at most %d clients can stall: one member of each room publishes and must read", c.Clients-c.Rooms)
	case c.Scenario == Recover && c.Clients == c.Rooms:
		return errors.New("too few clients: publishers are not reset")
	case c.Resets < 0 || c.Away < 0 || c.Scenario == Recover && c.Away >= c.LostAfter:
		return errors.New("resets and away must not be negative, and away must be shorter than the time after which deliveries count as lost")
	case c.Scenario == Latest && c.Duration > 0 && c.Away >= c.Duration:
		return fmt.Errorf("clients read again after %v, but the measurement takes %v", c.Away, c.Duration)
	case c.Scenario.chat() && traits.SenderExcluded && c.Clients == c.Rooms:
		return errors.New("too few clients: publishers do not receive their own messages")
	}
	return nil
}
