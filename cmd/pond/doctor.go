package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/pondsocket/pond/cmd/pond/internal/doctor"
)

const doctorPage = "https://github.com/pondsocket/pond/blob/main/docs/doctor.md"

var doctorCommand = command{
	name:    "doctor",
	summary: "find out why clients cannot reach a server",
	arg:     "URL",
	help: "Doctor connects to an endpoint as clients do, through all proxies on the way, and reports problems and how to\n" +
		"fix them: dropped upgrades, buffered event streams, missing headers and methods, origins, limits, and idle\n" +
		"timeouts. It works with any PondSocket server. Its messages reach only the connection handler and, with\n" +
		"-channel, the join handler.\n\n" +
		"  pond doctor 'https://example.com/socket?token=...'\n" +
		"  pond doctor -header 'Authorization: Bearer ...' -channel /chat/1 https://example.com/socket\n\n" +
		"The exit code is 0 if no problem is found (warnings do not count), 1 if a problem is found or the run is\n" +
		"interrupted, and 2 if the command line is invalid. All findings are explained at " + doctorPage,
	setup: func(flags *flag.FlagSet) action {
		cfg := doctor.Config{Header: http.Header{}}
		flags.StringVar(&cfg.Channel, "channel", "", "also join and leave the channel with this `name`")
		flags.Func("join", "payload of the join, a `JSON` object (default \"{}\")", func(text string) (err error) {
			cfg.Join, err = object(text)
			return err
		})
		flags.StringVar(&cfg.Origin, "origin", "", "also check that the server accepts pages of this `origin`, such as https://app.example.com")
		flags.DurationVar(&cfg.Idle, "idle", 35*time.Second, "keep connections idle for this `time`, to check whether they are closed; 0 skips this check")
		flags.DurationVar(&cfg.Timeout, "timeout", 5*time.Second, "maximum `time` to wait for an answer")
		flags.BoolVar(&cfg.Insecure, "insecure", false, "continue even if the certificate is invalid")
		flags.Func("header", "add `'Name: value'` to every request; may be repeated", func(line string) error {
			name, value, ok := strings.Cut(line, ":")
			if !ok || name == "" {
				return errors.New("want 'Name: value'")
			}
			cfg.Header.Add(strings.TrimSpace(name), strings.TrimSpace(value))
			return nil
		})
		asJSON := flags.Bool("json", false, "print all findings as JSON at the end")
		return func(ctx context.Context, stdout, stderr io.Writer) (err error) {
			if cfg.URL, err = endpointURL("doctor", flags.Arg(0)); err != nil {
				return err
			}
			if cfg.Join != nil && cfg.Channel == "" {
				return usagef("doctor", "-join requires -channel")
			}
			if cfg.Timeout <= 0 {
				return usagef("doctor", "-timeout must be positive")
			}
			if terminal(stderr) {
				cfg.Waiting = countDown(stderr)
			}
			return examine(ctx, cfg, *asJSON, stdout)
		}
	},
}

// object parses a flag that is a JSON object.
func object(text string) (json.RawMessage, error) {
	var members map[string]json.RawMessage
	if err := json.Unmarshal([]byte(text), &members); err != nil || members == nil {
		return nil, errors.New("want a JSON object")
	}
	return json.RawMessage(text), nil
}

// endpointURL parses the URL of an endpoint for a command.
func endpointURL(command, text string) (*url.URL, error) {
	const example = "want http or https, as in https://example.com/socket"
	u, err := parseURL(text, example)
	if err != nil {
		return nil, usagef(command, "%v", err)
	}
	switch u.Scheme {
	case "http", "https", "ws", "wss":
	default:
		return nil, usagef(command, "invalid URL %q: %s", text, example)
	}
	if u.Host == "" {
		return nil, usagef("doctor", "invalid URL %q: no host", text)
	}
	return u, nil
}

// parseURL parses a URL. For a missing scheme, it returns an error with an example,
// because url.Parse returns a different error for each form of host.
func parseURL(text, example string) (*url.URL, error) {
	if !strings.Contains(text, "://") {
		return nil, fmt.Errorf("invalid URL %q: %s", text, example)
	}
	return url.Parse(text)
}

// terminal reports whether w is a terminal.
func terminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// countDown returns a function that shows the remaining time in a line, and erases it at
// the end.
func countDown(w io.Writer) func(left time.Duration) {
	return func(left time.Duration) {
		text := eraseLine
		if left > 0 {
			text += fmt.Sprintf("waiting  connections stay idle for another %.0f s", left.Seconds())
		}
		_, _ = io.WriteString(w, text) // an error does not affect the result
	}
}

// A diagnosis is the JSON output of doctor.
type diagnosis struct {
	URL      string           `json:"url"` // without the query, which may contain a secret
	Problems int              `json:"problems"`
	Warnings int              `json:"warnings"`
	Findings []doctor.Finding `json:"findings"`
}

func (d *diagnosis) add(f doctor.Finding) {
	d.Findings = append(d.Findings, f)
	switch f.Severity {
	case doctor.OK:
	case doctor.Warning:
		d.Warnings++
	case doctor.Problem:
		d.Problems++
	}
}

// String returns the summary.
func (d *diagnosis) String() string {
	return count(d.Problems, "problem") + ", " + count(d.Warnings, "warning")
}

func count(n int, noun string) string {
	if n != 1 {
		noun += "s"
	}
	return fmt.Sprintf("%d %s", n, noun)
}

// examine prints the findings: as text immediately, as JSON at the end.
func examine(ctx context.Context, cfg doctor.Config, asJSON bool, stdout io.Writer) error {
	d := diagnosis{URL: cfg.URL.Scheme + "://" + cfg.URL.Host + cfg.URL.Path, Findings: []doctor.Finding{}}
	var failed error
	doctor.Examine(ctx, cfg, func(f doctor.Finding) {
		d.add(f)
		if !asJSON {
			_, err := io.WriteString(stdout, paragraph(f))
			failed = errors.Join(failed, err)
		}
	})
	if asJSON {
		encoder := json.NewEncoder(stdout)
		encoder.SetEscapeHTML(false)
		encoder.SetIndent("", "  ")
		failed = encoder.Encode(d)
	}
	switch {
	case failed != nil:
		return failed
	case ctx.Err() != nil:
		return errors.New("interrupted")
	case d.Problems > 0:
		return fmt.Errorf("%v; see %s", &d, doctorPage)
	case !asJSON:
		_, failed = fmt.Fprintln(stdout, &d)
	}
	return failed
}

// paragraph formats a finding as text, with its fix on the next line.
func paragraph(f doctor.Finding) string {
	text := fmt.Sprintf("%-8s %-19s %s\n", f.Severity, f.Check, f.Text)
	if f.Fix != "" {
		text += fmt.Sprintf("%-8s %s\n", "  fix:", f.Fix)
	}
	return text
}
