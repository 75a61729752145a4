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
	summary: "measure a server under load, and verify every delivery",
	arg:     "[URL]",
	help: "Bench simulates clients of a server. It measures throughput and latency, and verifies that no delivery is\n" +
		"lost, duplicated or out of order. Without a URL, it starts a Pond in a second process and measures that.\n" +
		"With a URL, it measures your server: use -channel, -join, -event and -payload to send messages that your\n" +
		"handlers accept. See " + benchPage + ".\n\n" +
		"Scenarios:\n" +
		"  idle      connect and join, and do nothing more: measures memory per client\n" +
		"  fanout    one member of each room publishes, with -in-flight messages in flight\n" +
		"  rate      one member of each room publishes at a fixed rate, without waiting for deliveries\n" +
		"  rooms     all members of all rooms publish\n" +
		"  echo      clients send requests, with -in-flight requests in flight in total\n" +
		"  presence  all clients join at once, until the list of every client is complete\n" +
		"  churn     connect, join and leave, repeatedly\n" +
		"  slow      fanout, but -stalled members stop reading\n" +
		"  latest    rate, but -stalled members stop reading, and read again after -away\n" +
		"  recover   rate, but connections are reset at random, and clients recover what they missed\n" +
		"  deploy    the server is drained and replaced: measures how clients reconnect\n\n" +
		"Example, for a chat whose messages are {\"text\": ...} and whose joins need a name:\n\n" +
		"  pond bench -channel /chat/room%d -join '{\"name\":\"bench\"}' -event message -payload '{\"text\":\"{{.Text}}\"}' http://127.0.0.1:8000/socket\n\n" +
		"The exit code is 1 if a delivery is lost, duplicated, out of order or misdelivered, or if a client or message is\n" +
		"rejected or a client is closed, and 2 if the command line is invalid.",
	setup: func(flags *flag.FlagSet) action {
		b := &bench{config: load.Config{Scenario: load.Fanout, Transport: load.WebSocket}}
		b.declare(flags)
		return func(ctx context.Context, stdout, stderr io.Writer) error {
			b.url = flags.Arg(0)
			if b.config.Scenario == deployScenario {
				d, err := b.deployment(flags)
				switch {
				case err != nil:
					return err
				case b.serve != "":
					return d.serve(ctx, b.serve, pipedStdin(), stdout, stderr)
				}
				return d.run(ctx, stdout, stderr)
			}
			if b.serve != "" {
				if b.url != "" {
					return usagef("bench", "-serve cannot be used with a URL")
				}
				return serveBench(ctx, b.serve, pipedStdin(), stdout, stderr)
			}
			return b.run(ctx, stdout, stderr)
		}
	},
}

const benchPage = "https://github.com/pondsocket/pond/blob/main/docs/bench.md"

// A bench holds the flags of one run.
type bench struct {
	config load.Config
	pond   load.Pond
	url    string
	serve  string
	asJSON bool
}

func (b *bench) declare(flags *flag.FlagSet) {
	c := &b.config
	flags.Func("scenario", "`name` of a scenario, from the list above (default fanout)", func(s string) error {
		c.Scenario = load.Scenario(s)
		return nil
	})
	flags.Func("transport", "transport of the clients, `ws or sse` (default ws)", func(s string) error {
		c.Transport = load.Transport(s)
		return nil
	})
	flags.IntVar(&c.Clients, "clients", 100, "`number` of connections")
	flags.IntVar(&c.Rooms, "rooms", 0, "`number` of channels; clients are spread over them evenly (default 1; in rooms a tenth of the clients)")
	flags.IntVar(&c.Size, "size", 128, "size of a published message in `bytes`, including the protocol's envelope")
	flags.IntVar(&c.InFlight, "in-flight", 0, "`number` of messages in flight per publisher (default 16; 1 in rooms)")
	flags.Float64Var(&c.Rate, "rate", 0, "number of `deliveries` per second (default 10000 in rate, 50 per client in latest and recover; otherwise as many as -in-flight allows)")
	flags.IntVar(&c.Stalled, "stalled", 0, "`number` of clients that stop reading in slow and latest (default a tenth)")
	flags.Float64Var(&c.Resets, "resets", 0, "`number` of connections that are reset per second in recover (default half of the clients)")
	flags.DurationVar(&c.Away, "away", 0, "longest `time` until a client that was reset in recover reconnects (default 500ms); in latest, time without reading (default half of -duration)")
	flags.DurationVar(&c.Duration, "duration", 0, "`time` to measure (default 5s; with -messages, until they are sent)")
	flags.DurationVar(&c.Warmup, "warmup", time.Second, "`time` before the measurement; deliveries are verified, but not measured")
	flags.Int64Var(&c.Messages, "messages", 0, "end after this `number` of messages (in churn, of joins)")
	flags.DurationVar(&c.LostAfter, "lost-after", 5*time.Second, "`time` without any event after which missing deliveries count as lost")
	flags.IntVar(&c.Threads, "threads", 1, "`number` of threads of the load generator")
	flags.StringVar(&b.pond.Channel, "channel", "", "`name` of the channels; %d is replaced with the number of the room (default /chat/%d; in latest /latest/%d, in recover /log/%d)")
	flags.StringVar(&b.pond.Join, "join", "{}", "payload of joins, a `JSON` object")
	flags.StringVar(&b.pond.Message, "event", "message", "`name` of the event that clients send, for the server to broadcast")
	flags.StringVar(&b.pond.Echo, "echo-event", "echo", "`name` of the event that clients send, for the server to answer")
	flags.BoolVar(&b.pond.Diff, "diff", false, "ask for presence as differences, which the server must offer (default whole lists)")
	flags.Func("payload", "payload of messages: a `JSON` object with {{.Text}} in a string, which the server must send back unchanged; "+
		"{{.Client}} and {{.Room}} are numbers (default {\"b\":\"{{.Text}}\"})", func(text string) (err error) {
		b.pond.Payload, err = load.ParsePayload(text)
		return err
	})
	flags.Func("header", "add `'Name: value'` to every request; may be repeated", func(line string) error {
		name, value, ok := strings.Cut(line, ":")
		if !ok || name == "" || strings.ContainsAny(line, "\r\n") {
			return errors.New("want 'Name: value'")
		}
		b.pond.Header += name + ": " + strings.TrimSpace(value) + "\r\n"
		return nil
	})
	flags.Func("pid", "`number` of a server process whose CPU time and memory to measure; may be repeated (default: the process that listens at the URL, if it is on this machine)", func(s string) error {
		var pid int
		if _, err := fmt.Sscanf(s, "%d", &pid); err != nil || pid < 1 {
			return errors.New("want a process ID")
		}
		c.PIDs = append(c.PIDs, pid)
		return nil
	})
	flags.BoolVar(&b.asJSON, "json", false, "print JSON; durations are in nanoseconds")
	flags.StringVar(&b.serve, "serve", "", "only run the server that bench measures, on this `host:port`, for example on a second machine")
}

// check sets defaults and validates the flags.
func (b *bench) check() error {
	c := &b.config
	if c.Clients < 1 { // load would replace zero with its default
		return usagef("bench", "-clients must be positive")
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
			return usagef("bench", "invalid name %q: it must not contain quotation marks, backslashes or control characters", name)
		}
	}
	if b.pond.Channel == "" {
		b.pond.Channel = "/chat/%d"
		switch c.Scenario {
		case load.Latest:
			b.pond.Channel = "/latest/%d" // keeps the latest messages
		case load.Recover:
			b.pond.Channel = "/log/%d" // has a history
		}
	}
	var join map[string]json.RawMessage
	if err := json.Unmarshal([]byte(b.pond.Join), &join); err != nil || join == nil {
		return usagef("bench", "invalid -join %q: want a JSON object", b.pond.Join)
	}
	switch rest := strings.Replace(b.pond.Channel, "%d", "", 1); {
	case strings.Contains(rest, "%"):
		return usagef("bench", "invalid -channel %q: it may contain %%d once, and no other %%", b.pond.Channel)
	case rest == b.pond.Channel && c.Rooms > 1:
		return usagef("bench", "invalid -channel %q: with %d rooms, it must contain %%d", b.pond.Channel, c.Rooms)
	}
	c.Dialect = b.pond
	switch err := c.Check(); {
	case errors.Is(err, load.ErrPlatform):
		return fmt.Errorf("%w, but this is %s: use a container or another machine (-serve works on every system)", err, runtime.GOOS)
	case err != nil:
		return usagef("bench", "%v", err)
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
	if err := b.setTarget(ctx); err != nil {
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
