package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/pondsocket/pond"
	"github.com/pondsocket/pond/cmd/pond/internal/deploy"
	"github.com/pondsocket/pond/internal/load"
	"github.com/pondsocket/pond/pondclient"
)

// deployScenario is not a scenario of package load, because its clients are those
// of pondclient.
const deployScenario load.Scenario = "deploy"

// A deployment holds the flags of the scenario deploy.
type deployment struct {
	clients   int
	rooms     int
	transport pondclient.Transport
	warmup    time.Duration // before the server is replaced
	every     time.Duration // between two messages to a room
	asJSON    bool
}

// deployment returns the scenario deploy from the given flags. It returns an error
// if the scenario does not support one of them.
func (b *bench) deployment(flags *flag.FlagSet) (*deployment, error) {
	c := b.config
	supported := map[string]bool{"scenario": true, "clients": true, "rooms": true, "transport": true, "rate": true, "json": true, "serve": true, "warmup": true}
	var unsupported []string
	clients := 10_000
	flags.Visit(func(f *flag.Flag) {
		if !supported[f.Name] {
			unsupported = append(unsupported, "-"+f.Name)
		}
		if f.Name == "clients" {
			clients = c.Clients
		}
	})
	d := &deployment{clients: clients, rooms: cmp.Or(c.Rooms, max(1, clients/100)), transport: pondclient.WebSocket, warmup: c.Warmup, asJSON: b.asJSON}
	if c.Transport == load.SSE {
		d.transport = pondclient.SSE
	}
	rate := cmp.Or(c.Rate, 10_000)
	switch {
	case len(unsupported) > 0:
		return nil, usagef("bench", "%s cannot be used in deploy", strings.Join(unsupported, " and "))
	case b.url != "":
		return nil, usagef("bench", "deploy starts and stops its servers, so it cannot be used with a URL; see pond verify -wait")
	case clients < 1 || d.rooms < 1 || d.rooms > clients:
		return nil, usagef("bench", "%d clients cannot be spread over %d rooms", clients, d.rooms)
	case c.Transport != load.WebSocket && c.Transport != load.SSE:
		return nil, usagef("bench", "unknown transport %q", c.Transport)
	case rate < 0:
		return nil, usagef("bench", "-rate must be positive")
	}
	d.every = max(100*time.Millisecond, time.Duration(float64(clients)/rate*float64(time.Second))).Round(time.Millisecond)
	return d, nil
}

// run runs the scenario twice: with clients that obey RECONNECT, and with clients
// that ignore it.
func (d *deployment) run(ctx context.Context, stdout, stderr io.Writer) error {
	var results []*deploy.Result
	for _, ignore := range []bool{false, true} {
		m := &deployMeter{w: stderr, live: terminal(stderr), total: d.clients, ignore: ignore, logged: time.Now()}
		res, err := deploy.Run(ctx, deploy.Config{
			Clients: d.clients, Rooms: d.rooms, Transport: d.transport, Ignore: ignore,
			Every: d.every, Warmup: d.warmup + 2*d.every, Limit: 5 * time.Minute,
			Start:    func(ctx context.Context) (deploy.Server, error) { return d.start(ctx, stderr) },
			Progress: m.show,
		})
		m.clear()
		if err != nil {
			return err
		}
		results = append(results, res)
	}
	if err := d.print(stdout, results); err != nil {
		return err
	}
	return errors.Join(results[0].Err(), results[1].Err())
}

// A deployServer is a server in a process of its own.
type deployServer struct {
	*benchServer
	addr string
}

// start starts a server.
func (d *deployment) start(ctx context.Context, stderr io.Writer) (deploy.Server, error) {
	child, err := startBenchServer(ctx, stderr, "-scenario", string(deployScenario), "-clients", strconv.Itoa(d.clients),
		"-rate", fmt.Sprint(float64(d.clients)/d.every.Seconds()))
	if err != nil {
		return nil, err
	}
	u, err := url.Parse(child.url)
	if err != nil {
		return nil, errors.Join(err, child.stop())
	}
	return &deployServer{child, u.Host}, nil
}

func (s *deployServer) Dial(ctx context.Context) (net.Conn, error) {
	return new(net.Dialer).DialContext(ctx, "tcp", s.addr)
}

func (s *deployServer) Drain() error { return s.stop() }

// serve runs the server of the scenario until ctx is done or commands ends.
func (d *deployment) serve(ctx context.Context, addr string, commands io.Reader, stdout, stderr io.Writer) error {
	p := pond.New(pond.WithLogger(slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))))
	endpoint := deployEndpoint(p)
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	if commands != nil {
		go func() {
			defer stop()
			_, _ = io.Copy(io.Discard, commands)
		}()
	}
	ln, err := new(net.ListenConfig).Listen(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintf(stdout, "%shttp://%s/socket (Ctrl+C stops)\n", serverPrefix, visitable(ln.Addr())); err != nil {
		return errors.Join(err, ln.Close())
	}
	go deploy.Tick(ctx, d.every, func(n int64) { tick(endpoint, n) })
	return p.Serve(ctx, &http.Server{Handler: p, ReadHeaderTimeout: 5 * time.Second}, ln)
}

// deployEndpoint adds the endpoint of the scenario.
func deployEndpoint(p *pond.Pond) *pond.Endpoint {
	endpoint := p.Endpoint("/socket", func(ctx *pond.ConnectionContext) error { return ctx.Accept() })
	endpoint.Lobby("/chat/:room", func(ctx *pond.JoinContext) error { return ctx.Accept() }, pond.WithHistory(pond.History{}))
	return endpoint
}

// tick sends a number to all rooms.
func tick(endpoint *pond.Endpoint, n int64) {
	for ch := range endpoint.Channels() {
		_ = ch.Broadcast("tick", map[string]int64{"n": n}) // the channel may be closed
	}
}

// A deployMeter shows the progress, like [meter].
type deployMeter struct {
	w      io.Writer
	live   bool
	total  int
	ignore bool
	logged time.Time
}

func (m *deployMeter) show(phase string, clients int) {
	mode := "obey"
	if m.ignore {
		mode = "ignore"
	}
	line := fmt.Sprintf("%-6s  %-7s  %s  %s of %s clients", mode, phase, bar(float64(clients)/float64(m.total)), number(int64(clients)), number(int64(m.total)))
	switch now := time.Now(); {
	case m.live:
		_, _ = io.WriteString(m.w, eraseLine+line)
	case now.Sub(m.logged) >= logInterval:
		m.logged = now
		_, _ = fmt.Fprintln(m.w, line)
	}
}

func (m *deployMeter) clear() {
	if m.live {
		_, _ = io.WriteString(m.w, eraseLine)
	}
}

// print prints the results side by side.
func (d *deployment) print(w io.Writer, results []*deploy.Result) error {
	if d.asJSON {
		text, err := json.MarshalIndent(map[string]any{
			"scenario": deployScenario, "clients": d.clients, "rooms": d.rooms, "transport": d.transport, "every": d.every, "runs": results,
		}, "", "  ")
		if err == nil {
			_, err = fmt.Fprintln(w, string(text))
		}
		return err
	}
	over := map[pondclient.Transport]string{pondclient.WebSocket: "WebSocket", pondclient.SSE: "Server-Sent Events"}[d.transport]
	var b strings.Builder
	fmt.Fprintf(&b, "deploy over %s, with Ponds started by bench\n%s clients in %s get a message every %s; their server is drained and replaced.\n\n",
		over, number(int64(d.clients)), count(d.rooms, "room"), formatDuration(d.every))
	row := func(name string, cell func(r *deploy.Result) string) {
		fmt.Fprintf(&b, "  %-22s %18s %18s\n", name, cell(results[0]), cell(results[1]))
	}
	fmt.Fprintf(&b, "  %-22s %18s %18s\n", "clients", "obey RECONNECT", "ignore it")
	row("reconnected", func(r *deploy.Result) string { return number(int64(r.Back)) })
	row("all reconnected after", func(r *deploy.Result) string { return formatDuration(r.AllBack) })
	row("peak in 1 s", func(r *deploy.Result) string { return number(int64(r.PeakSecond)) + " connects" })
	row("peak in 0.1 s", func(r *deploy.Result) string { return number(int64(r.Peak)) + " connects" })
	row("failed attempts", func(r *deploy.Result) string { return number(r.Failed) })
	row("old server ended after", func(r *deploy.Result) string { return formatDuration(r.Drained) })
	row("missed, announced", func(r *deploy.Result) string {
		return fmt.Sprintf("%.1f per client", float64(r.Missed)/float64(r.Clients))
	})
	row("lost silently", func(r *deploy.Result) string {
		if r.Lost > 0 {
			return number(r.Lost) + " LOST"
		}
		return "none"
	})
	_, err := io.WriteString(w, b.String())
	return err
}
