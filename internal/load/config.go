package load

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"
)

// A Scenario is what the clients do.
type Scenario string

// The scenarios.
const (
	Idle     Scenario = "idle"     // connect, join, and nothing more
	Fanout   Scenario = "fanout"   // one member publishes, keeping InFlight messages under way
	Rate     Scenario = "rate"     // one member publishes at a fixed pace, whatever comes back
	Rooms    Scenario = "rooms"    // all members of all rooms publish, each InFlight messages at a time
	Echo     Scenario = "echo"     // clients ask for answers, InFlight over all of them
	Presence Scenario = "presence" // all join with presence, until every list is complete
	Churn    Scenario = "churn"    // connect, join, leave, again
	Slow     Scenario = "slow"     // fanout, and some members stop reading
)

// Scenarios has all of them.
var Scenarios = []Scenario{Idle, Fanout, Rate, Rooms, Echo, Presence, Churn, Slow}

// chat reports whether clients publish to channels.
func (s Scenario) chat() bool { return s == Fanout || s == Rate || s == Rooms || s == Slow }

// everybody reports whether all clients publish, rather than one of each room.
func (s Scenario) everybody() bool { return s == Rooms || s == Echo }

// Config says what [Run] does. Zero fields stand for their defaults.
type Config struct {
	Scenario  Scenario
	Dialect   Dialect
	Transport Transport // default WebSocket
	Addr      string    // host:port of the server; an IP address
	Host      string    // that requests are addressed to, as in a URL; default Addr

	Clients int // default 100
	Rooms   int // that the clients are spread over evenly; default 1
	Stalled int // of Clients: how many stop reading in Slow; default a tenth
	Threads int // that serve the clients; default 1

	Size     int     // bytes of a published message, as text; default 128
	InFlight int     // messages that wait for their receivers at a time; default 16, in Rooms 1
	Rate     float64 // deliveries a second in Rate; in other scenarios, 0 publishes as fast as InFlight allows

	// Warmup goes before what is measured; its deliveries are checked, too.
	// Duration is how long the measurement lasts; default 5 s. With Messages, it
	// ends when so many messages were published (in Churn: so many joins done)
	// since the start, and at Duration if that is set as well.
	Warmup   time.Duration
	Duration time.Duration
	Messages int64

	// Patience is how long nothing may happen while something is still expected,
	// before it counts as lost; default 5 s.
	Patience time.Duration

	PIDs    []int        // processes of the server, for its CPU and memory
	Collect func() error // asks the server to collect garbage before its memory is read; may be nil

	Progress func(Progress) // is called a few times a second; may be nil
}

// Progress is what a run is doing.
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
	c.Patience = cmp.Or(c.Patience, 5*time.Second)
	if c.Scenario == Rooms {
		c.InFlight = cmp.Or(c.InFlight, 1)
	}
	c.InFlight = cmp.Or(c.InFlight, 16)
	if c.Scenario != Slow {
		c.Stalled = 0
	} else if c.Stalled == 0 {
		c.Stalled = max(1, c.Clients/10)
	}
	if c.Scenario == Rate && c.Rate == 0 {
		c.Rate = 10_000
	}
	if c.Messages == 0 {
		c.Duration = cmp.Or(c.Duration, 5*time.Second)
	}
	return c
}

// The most that stamps have room for.
const maxClients = 1 << 24

// Check returns why [Run] would not even begin: [ErrPlatform], or what is wrong
// with c.
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
	case !slices.Contains(traits.Transports, c.Transport):
		return fmt.Errorf("%s has no transport %q", traits.Name, c.Transport)
	case c.Scenario == Echo && !traits.Echo:
		return fmt.Errorf("%s has no echo", traits.Name)
	case c.Scenario == Presence && !traits.Presence:
		return fmt.Errorf("%s has no presence", traits.Name)
	case c.Clients < 1 || c.Clients > maxClients || c.Rooms < 1 || c.Clients%c.Rooms != 0:
		return fmt.Errorf("%d clients cannot be spread over %d rooms", c.Clients, c.Rooms)
	case c.Scenario == Presence && c.Rooms > 1:
		return errors.New("presence is compared in one room")
	case c.Threads < 1 || c.InFlight < 1 || c.Rate < 0 || c.Messages < 0:
		return errors.New("threads and in-flight have to be 1 or more, rate and messages not negative")
	case c.Stalled < 0 || c.Stalled > c.Clients-c.Rooms:
		return errors.New("publishers have to read: fewer members may stall")
	case c.Scenario.chat() && traits.SenderExcluded && c.Clients == c.Rooms:
		return errors.New("nobody is left to receive anything")
	}
	return nil
}
