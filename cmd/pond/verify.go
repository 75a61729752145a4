package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/pondsocket/pond/cmd/pond/internal/verify"
	"github.com/pondsocket/pond/internal/load"
	"github.com/pondsocket/pond/pondclient"
)

const verifyPage = "https://github.com/pondsocket/pond/blob/main/docs/verify.md"

var verifyCommand = command{
	name:    "verify",
	summary: "find out whether a deployment loses messages",
	arg:     "[URL...]",
	help: "Verify joins a channel with many clients, over all transports and all URLs, publishes numbered messages,\n" +
		"breaks connections at random, and compares the published messages with those that each client got. It reports which\n" +
		"messages were delivered, recovered after a reconnect, announced as lost, or lost silently.\n\n" +
		"Give one URL for each server of a cluster, or that of the load balancer. With -wait, you can restart servers,\n" +
		"proxies and brokers in the meantime. The handler of the event must send its payload to all members. Without a\n" +
		"URL, verify starts a Pond and verifies that.\n\n" +
		"  pond verify -channel /chat/verify -event message https://example.com/socket\n" +
		"  pond verify -wait http://10.0.0.7:8000/socket http://10.0.0.8:8000/socket\n\n" +
		"The exit code is 0 if no message was lost silently, duplicated, out of order or invalid. It is 1 if one was, if\n" +
		"clients were not back at the end, or if the run is interrupted, and 2 if the command line is invalid.\nMore: " + verifyPage,
	setup: func(flags *flag.FlagSet) action {
		v := &verification{stdin: os.Stdin}
		v.declare(flags)
		return func(ctx context.Context, stdout, stderr io.Writer) error {
			v.config.URLs = flags.Args()
			if v.serve != "" {
				if flags.NArg() > 0 {
					return usagef("verify", "-serve excludes a URL")
				}
				return serveVerify(ctx, v.serve, stdout, stderr)
			}
			return v.run(ctx, stdout, stderr)
		}
	},
}

// A verification holds the flags of one run.
type verification struct {
	config verify.Config
	wait   bool
	asJSON bool
	serve  string
	stdin  io.Reader
}

func (v *verification) declare(flags *flag.FlagSet) {
	c := &v.config
	c.Header = http.Header{}
	c.Transports = []pondclient.Transport{pondclient.WebSocket, pondclient.SSE}
	flags.IntVar(&c.Clients, "clients", 20, "`number` of clients that listen, and whose connections are broken")
	flags.IntVar(&c.Publishers, "publishers", 2, "`number` of clients that publish; they listen as well")
	flags.Float64Var(&c.Rate, "rate", 50, "`number` of messages per second, of all publishers")
	flags.DurationVar(&c.Duration, "duration", 30*time.Second, "`time` to publish messages")
	flags.DurationVar(&c.Cut, "cut", time.Second, "average `time` between two broken connections; 0 breaks none")
	flags.DurationVar(&c.Settle, "settle", 30*time.Second, "maximum `time` for all clients to get the last messages")
	flags.BoolVar(&v.wait, "wait", false, "after -duration, continue until Enter is pressed, so that you can restart servers and proxies")
	flags.Func("transport", "transport of the clients, `ws, sse or both` (default both)", func(s string) error {
		switch s {
		case "ws":
			c.Transports = []pondclient.Transport{pondclient.WebSocket}
		case "sse":
			c.Transports = []pondclient.Transport{pondclient.SSE}
		case "both":
		default:
			return errors.New("want ws, sse or both")
		}
		return nil
	})
	flags.StringVar(&c.Channel, "channel", "/chat/verify", "`name` of the channel")
	flags.Func("join", "payload of joins, a `JSON` object (default {})", func(text string) (err error) {
		c.Join, err = object(text)
		return err
	})
	flags.StringVar(&c.Event, "event", "message", "`name` of the event that the publishers send")
	flags.Func("payload", "payload of messages: a `JSON` object with {{.Text}} in a string, which the server must send unchanged; "+
		"{{.Client}} is the number of the publisher (default {\"b\":\"{{.Text}}\"})", func(text string) (err error) {
		c.Payload, err = load.ParsePayload(text)
		return err
	})
	flags.Func("header", "add `'Name: value'` to every request; may be repeated", func(line string) error {
		name, value, ok := strings.Cut(line, ":")
		if !ok || name == "" {
			return errors.New("want 'Name: value'")
		}
		c.Header.Add(strings.TrimSpace(name), strings.TrimSpace(value))
		return nil
	})
	flags.BoolVar(&c.Insecure, "insecure", false, "continue even if the certificate is invalid")
	flags.BoolVar(&v.asJSON, "json", false, "print JSON; durations are in nanoseconds")
	flags.StringVar(&v.serve, "serve", "", "only run a server that can be verified, on this `host:port`")
}

// check validates the flags.
func (v *verification) check() error {
	c := &v.config
	for _, text := range c.URLs {
		if _, err := endpointURL("verify", text); err != nil {
			return err
		}
	}
	switch {
	case c.Clients < 1 || c.Publishers < 1:
		return usagef("verify", "-clients and -publishers must be positive")
	case c.Rate <= 0 || c.Duration <= 0 || c.Settle <= 0:
		return usagef("verify", "-rate, -duration and -settle must be positive")
	case c.Cut < 0:
		return usagef("verify", "-cut must not be negative")
	case c.Channel == "" || c.Event == "":
		return usagef("verify", "-channel and -event must not be empty")
	}
	return nil
}

func (v *verification) run(ctx context.Context, stdout, stderr io.Writer) error {
	if err := v.check(); err != nil {
		return err
	}
	if len(v.config.URLs) > 0 {
		return v.verify(ctx, stdout, stderr)
	}
	serving, stop := context.WithCancel(context.WithoutCancel(ctx)) // the clients end first
	defer stop()
	url, wait, err := startVerifyServer(serving, "127.0.0.1:0", stderr)
	if err != nil {
		return err
	}
	v.config.URLs = []string{url}
	err = v.verify(ctx, stdout, stderr)
	stop()
	return errors.Join(err, wait())
}

// verify verifies the servers at the URLs.
func (v *verification) verify(ctx context.Context, stdout, stderr io.Writer) error {
	c := v.config
	if v.wait {
		c.Wait = v.enter()
	}
	m := &verifyMeter{w: stderr, live: terminal(stderr), wait: v.wait, total: c.Clients + c.Publishers, duration: c.Duration}
	c.Progress, c.Interval = m.show, 100*time.Millisecond
	if !m.live {
		c.Interval = logInterval
	}
	res, err := verify.Run(ctx, c)
	m.clear()
	if err != nil {
		return err
	}
	if err := printVerified(stdout, res, v.asJSON); err != nil {
		return err
	}
	return res.Err()
}

// enter returns a channel that is closed when the user presses Enter, or standard
// input ends.
func (v *verification) enter() <-chan struct{} {
	pressed := make(chan struct{})
	go func() { // it ends with the program
		defer close(pressed)
		_, _ = bufio.NewReader(v.stdin).ReadString('\n')
	}()
	return pressed
}

// A verifyMeter shows the progress: on a terminal in one line that it updates, and
// elsewhere in a line per logInterval.
type verifyMeter struct {
	w        io.Writer
	live     bool
	wait     bool
	total    int // clients
	duration time.Duration
}

// show shows p. It ignores errors of the output.
func (m *verifyMeter) show(p verify.Progress) {
	if m.live {
		_, _ = io.WriteString(m.w, eraseLine+m.line(p))
		return
	}
	_, _ = fmt.Fprintln(m.w, m.line(p))
}

func (m *verifyMeter) clear() {
	if m.live {
		_, _ = io.WriteString(m.w, eraseLine)
	}
}

func (m *verifyMeter) line(p verify.Progress) string {
	if p.Phase == verify.Connecting {
		return fmt.Sprintf("%-8s  %d of %d clients", p.Phase, p.Clients, m.total)
	}
	state := fmt.Sprintf("%5.1f s", p.Elapsed.Seconds())
	if p.Phase == verify.Publishing {
		state = bar(p.Elapsed.Seconds()/m.duration.Seconds()) + "  " + state
	}
	text := fmt.Sprintf("%-8s  %s  %s published, %s deliveries, %d of %d connected, %s, %s lost silently", p.Phase, state,
		number(p.Published), number(p.Delivered), p.Connected, m.total, count(int(p.Cuts), "cut"), number(p.Lost))
	if p.Phase == verify.Waiting {
		text += "  [restart servers now; Enter ends]"
	}
	return text
}

// printVerified prints the result.
func printVerified(w io.Writer, res *verify.Result, asJSON bool) error {
	if asJSON {
		text, err := json.MarshalIndent(res, "", "  ")
		if err == nil {
			_, err = fmt.Fprintln(w, string(text))
		}
		return err
	}
	_, err := io.WriteString(w, verifiedText(res))
	return err
}

// verifiedText formats the result as text.
func verifiedText(res *verify.Result) string {
	var b strings.Builder
	urls := map[string]bool{}
	for _, p := range res.Paths {
		urls[p.URL] = true
	}
	addresses := "1 address"
	if len(urls) > 1 {
		addresses = fmt.Sprintf("%d addresses", len(urls))
	}
	fmt.Fprintf(&b, "%s at %s: %s and %s, %s messages/s for %s\n\n", res.Channel, addresses, count(res.Clients, "client"),
		count(res.Publishers, "publisher"), trimZeros(res.Rate), formatDuration(res.Elapsed))
	row := func(name, format string, args ...any) {
		fmt.Fprintf(&b, "  %-11s %s\n", name, fmt.Sprintf(format, args...))
	}
	row("published", "%s messages: %s", number(res.Published), publishedText(res))
	row("deliveries", "%s live, %s recovered, %s announced as lost", number(res.Delivered), number(res.Recovered), number(res.Announced))
	verdicts := []string{verdict(res.Lost, "lost silently"), verdict(res.Duplicated, "duplicated"), verdict(res.Disordered, "out of order")}
	if res.Contradictions > 0 {
		verdicts = append(verdicts, verdict(res.Contradictions, "sent again or out of order, and rejected by clients"))
	}
	if res.Invalid > 0 {
		verdicts = append(verdicts, verdict(res.Invalid, "invalid"))
	}
	row("verified", "%s", strings.Join(verdicts, ", "))
	row("connections", "%s by verify, %s", count(int(res.Cuts), "cut"), count(int(res.Reconnects), "reconnect"))
	if len(res.Gaps) > 0 {
		var reasons []string
		for reason, n := range res.Gaps {
			reasons = append(reasons, number(n)+" "+reason)
		}
		slices.Sort(reasons)
		row("gaps", "%s", strings.Join(reasons, ", "))
	}
	if l := res.Latency; l != nil {
		row("latency", "p50 %s, p99 %s, max %s, from sending to each live delivery", formatDuration(l.P50), formatDuration(l.P99), formatDuration(l.Max))
	}
	if l := res.Recovery; l != nil {
		row("recovery", "p50 %s, p99 %s, max %s, from a lost connection to the missed messages or a gap", formatDuration(l.P50), formatDuration(l.P99), formatDuration(l.Max))
	}
	b.WriteString("\n" + pathTable(res.Paths))
	var remarks []string
	for _, text := range res.Examples {
		remarks = append(remarks, "lost silently: "+text)
	}
	for _, text := range verifiedNotes(res) {
		remarks = append(remarks, "note: "+text)
	}
	if len(remarks) > 0 {
		b.WriteString("\n" + strings.Join(remarks, "\n") + "\n")
	}
	return b.String()
}

func publishedText(res *verify.Result) string {
	parts := []string{number(res.Confirmed) + " confirmed"}
	for _, p := range []struct {
		n    int64
		text string
	}{
		{res.Unknown, "with an unknown outcome"},
		{res.Rejected, "rejected or not sent"},
		{res.Unconfirmed, "RECEIVED BY NO CLIENT"},
	} {
		if p.n > 0 {
			parts = append(parts, number(p.n)+" "+p.text)
		}
	}
	return strings.Join(parts, ", ")
}

// verdict names a fault, in capitals if there were any.
func verdict(n int64, name string) string {
	if n == 0 {
		return "none " + name
	}
	return number(n) + " " + strings.ToUpper(name)
}

func trimZeros(f float64) string { return strings.TrimSuffix(fmt.Sprintf("%.1f", f), ".0") }

// pathTable formats a row for each address and transport.
func pathTable(paths []verify.Path) string {
	over := map[pondclient.Transport]string{pondclient.WebSocket: "WebSocket", pondclient.SSE: "SSE"}
	table := [][]string{{"address", "transport", "clients", "reconnects", "live", "recovered", "announced", "silent", "duplicated", "disordered"}}
	for _, p := range paths {
		table = append(table, []string{
			p.URL, over[p.Transport], number(int64(p.Clients)), number(p.Reconnects), number(p.Delivered), number(p.Recovered),
			number(p.Announced), number(p.Lost), number(p.Duplicated), number(p.Disordered),
		})
	}
	widths := make([]int, len(table[0]))
	for _, row := range table {
		for i, cell := range row {
			widths[i] = max(widths[i], len(cell))
		}
	}
	var b strings.Builder
	for _, row := range table {
		for i, cell := range row {
			if i < 2 {
				fmt.Fprintf(&b, "  %-*s", widths[i], cell)
			} else {
				fmt.Fprintf(&b, "  %*s", widths[i], cell)
			}
		}
		b.WriteString("\n")
	}
	return b.String()
}

// verifiedNotes explain the numbers.
func verifiedNotes(res *verify.Result) (notes []string) {
	note := func(format string, args ...any) { notes = append(notes, fmt.Sprintf(format, args...)) }
	if !res.History {
		note("the channel has no history, so every reconnect is a gap; see https://github.com/pondsocket/pond/blob/main/docs/history.md")
	}
	if res.Rejection != "" {
		note("one of the rejections: %s", res.Rejection)
	}
	if res.Absent > 0 {
		note("%s had not recovered at the end; a longer -settle gives them more time", count(int(res.Absent), "client"))
	}
	if res.Removed > 0 {
		note("the server removed %s from the channel", count(int(res.Removed), "client"))
	}
	if res.Gaps[string(pondclient.GapOverflow)] > 0 {
		note("verify itself did not keep up; use a lower -rate or fewer -clients")
	}
	return notes
}
