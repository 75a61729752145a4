package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"runtime"
	"strings"
	"time"

	"github.com/pondsocket/pond/internal/load"
)

var benchCommand = command{
	name:    "bench",
	summary: "put load on a server, and check every delivery",
	arg:     "[URL]",
	help: "Bench plays clients against a server of the protocol, and tells how much it took, how late everything came,\n" +
		"and what was lost, came twice or out of order. Without a URL, it measures a Pond of its own in a process of\n" +
		"its own. Any other server has to do what \"pond bench -serve\" does: docs/bench.md has it in 20 lines.\n\n" +
		"Scenarios:\n" +
		"  idle      connect and join, and nothing more: what a client costs\n" +
		"  fanout    one member of each room publishes, and keeps -in-flight messages under way\n" +
		"  rate      the same at a fixed pace, whatever comes back\n" +
		"  rooms     all members of all rooms publish\n" +
		"  echo      clients ask for answers, -in-flight over all of them\n" +
		"  presence  all join at once, until every client's list has everybody\n" +
		"  churn     connect, join, leave, again and again\n" +
		"  slow      fanout, and -stalled members stop to read\n\n" +
		"The exit code is 1 if a delivery was lost, came twice or out of order, or a client was refused or closed.",
	setup: func(flags *flag.FlagSet) action {
		b := &bench{config: load.Config{Scenario: load.Fanout, Transport: load.WebSocket}}
		b.declare(flags)
		return func(ctx context.Context, stdout, stderr io.Writer) error {
			b.url = flags.Arg(0)
			if b.serve != "" {
				if b.url != "" {
					return senseless("-serve needs no URL")
				}
				return serveBench(ctx, b.serve, pipedStdin(), stdout, stderr)
			}
			return b.run(ctx, stdout, stderr)
		}
	},
}

// senseless is the error of flags that make no sense together.
func senseless(format string, args ...any) error {
	return &misuse{fmt.Sprintf(format, args...), `Run "pond help bench" for what it takes.`}
}

// A bench is what the flags of one run say.
type bench struct {
	config load.Config
	pond   load.Pond
	url    string
	serve  string
	asJSON bool
}

func (b *bench) declare(flags *flag.FlagSet) {
	c := &b.config
	flags.Func("scenario", "what to play: `name` of the list above (default fanout)", func(s string) error {
		c.Scenario = load.Scenario(s)
		return nil
	})
	flags.Func("transport", "`ws or sse` (default ws)", func(s string) error {
		c.Transport = load.Transport(s)
		return nil
	})
	flags.IntVar(&c.Clients, "clients", 100, "`number` of connections")
	flags.IntVar(&c.Rooms, "rooms", 0, "`number` of channels that the clients are spread over (default 1, in rooms a tenth of the clients)")
	flags.IntVar(&c.Size, "size", 128, "`bytes` of a published message, with what the protocol puts around its text")
	flags.IntVar(&c.InFlight, "in-flight", 0, "`number` of messages that wait for their receivers at a time, for each who publishes (default 16, in rooms 1)")
	flags.Float64Var(&c.Rate, "rate", 0, "`deliveries` that are due in a second (default 10000 in rate; elsewhere as many as -in-flight allows)")
	flags.IntVar(&c.Stalled, "stalled", 0, "`number` of clients that stop to read in slow (default a tenth)")
	flags.DurationVar(&c.Duration, "duration", 0, "`time` to measure (default 5s; with -messages, until they are sent)")
	flags.DurationVar(&c.Warmup, "warmup", time.Second, "`time` that goes before; it is checked, too, but not measured")
	flags.Int64Var(&c.Messages, "messages", 0, "end after this `number` of messages; in churn, of joins")
	flags.DurationVar(&c.Patience, "patience", 5*time.Second, "`time` without anything new after which what is missing counts as lost")
	flags.IntVar(&c.Threads, "threads", 1, "`number` of threads that play the clients")
	flags.StringVar(&b.pond.Channel, "channel", "/chat/%d", "`name` of a channel, with %d for the number of the room")
	flags.StringVar(&b.pond.Join, "join", "{}", "`JSON` object that is the payload of joins")
	flags.StringVar(&b.pond.Message, "event", "message", "`name` of the event that the server broadcasts")
	flags.StringVar(&b.pond.Echo, "echo-event", "echo", "`name` of the event that the server answers")
	flags.Func("header", "send `'Name: value'` with every request; may be repeated", func(line string) error {
		name, value, ok := strings.Cut(line, ":")
		if !ok || name == "" || strings.ContainsAny(line, "\r\n") {
			return errors.New("write 'Name: value'")
		}
		b.pond.Header += name + ": " + strings.TrimSpace(value) + "\r\n"
		return nil
	})
	flags.Func("pid", "`number` of a process of the server, to watch its CPU and memory; may be repeated (default: who listens at the URL, if it is this machine)", func(s string) error {
		var pid int
		if _, err := fmt.Sscanf(s, "%d", &pid); err != nil || pid < 1 {
			return errors.New("write the number of a process")
		}
		c.PIDs = append(c.PIDs, pid)
		return nil
	})
	flags.BoolVar(&b.asJSON, "json", false, "print JSON; times are in nanoseconds")
	flags.StringVar(&b.serve, "serve", "", "only serve what bench measures, on this `host:port`: for a second machine, or to look at")
}

// check completes the flags, and says what is wrong with them.
func (b *bench) check() error {
	c := &b.config
	if c.Clients < 1 { // zero would be the default
		return senseless("-clients has to be 1 or more")
	}
	if c.Rooms == 0 && c.Scenario == load.Rooms && c.Clients%10 == 0 {
		c.Rooms = c.Clients / 10
	}
	c.Rooms = cmp.Or(c.Rooms, 1)
	if c.Duration == 0 && c.Messages == 0 {
		c.Duration = 5 * time.Second
	}
	for _, name := range []string{b.pond.Channel, b.pond.Message, b.pond.Echo} {
		if strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == '"' || r == '\\' }) {
			return senseless("%q is no name to send in JSON", name)
		}
	}
	var join map[string]json.RawMessage
	if err := json.Unmarshal([]byte(b.pond.Join), &join); err != nil || join == nil {
		return senseless("-join %q is no JSON object", b.pond.Join)
	}
	switch rest := strings.Replace(b.pond.Channel, "%d", "", 1); {
	case strings.Contains(rest, "%"):
		return senseless("-channel %q: only one %%d is replaced", b.pond.Channel)
	case rest == b.pond.Channel && c.Rooms > 1:
		return senseless("-channel %q: %d rooms have different names only with %%d in it", b.pond.Channel, c.Rooms)
	}
	c.Dialect = b.pond
	switch err := c.Check(); {
	case errors.Is(err, load.ErrPlatform):
		return fmt.Errorf("%w, and this is %s: use a container or another machine; -serve works everywhere", err, runtime.GOOS)
	case err != nil:
		return senseless("%v", err)
	}
	return nil
}

func (b *bench) run(ctx context.Context, stdout, stderr io.Writer) (err error) {
	if err := b.check(); err != nil {
		return err
	}
	own := b.url == ""
	if own {
		child, err := startBenchServer(ctx, stderr)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, child.stop()) }()
		b.url, b.config.Collect = child.url, child.collect
	}
	if err := b.aim(ctx); err != nil {
		return err
	}
	m := newMeter(stderr, b.config)
	b.config.Progress = func(p load.Progress) { m.show(time.Now(), p) }
	res, err := load.Run(ctx, b.config)
	m.clear()
	if err != nil {
		return err
	}
	r := report{Result: res, own: own}
	if err := r.print(stdout, b.asJSON); err != nil {
		return err
	}
	return res.Err()
}
