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
	summary: "find what stands in the way of clients",
	arg:     "URL",
	help: "Doctor connects to an endpoint as clients do, through whatever proxies there are, and tells what it finds\n" +
		"and what to do about it: upgrades that are dropped, event streams that are held back, headers and methods\n" +
		"that do not arrive, origins, limits, idle timeouts. It works with any server of the protocol. What it sends\n" +
		"reaches no handler but the connection's, and with -channel the join's.\n\n" +
		"  pond doctor 'https://example.com/socket?token=...'\n" +
		"  pond doctor -header 'Authorization: Bearer ...' -channel /chat/1 https://example.com/socket\n\n" +
		"The exit code is 0 if there is no problem (warnings are none), 1 if there is one or the exam is interrupted,\n" +
		"2 if the command line makes no sense. All findings: " + doctorPage,
	setup: func(flags *flag.FlagSet) action {
		cfg := doctor.Config{Header: http.Header{}}
		flags.StringVar(&cfg.Channel, "channel", "", "also join the channel of this `name`, and leave it")
		flags.Func("join", "`JSON` object that is the payload of the join (default \"{}\")", func(text string) (err error) {
			cfg.Join, err = object(text)
			return err
		})
		flags.StringVar(&cfg.Origin, "origin", "", "pages of this `origin` have to be let in, too, such as https://app.example.com")
		flags.DurationVar(&cfg.Idle, "idle", 35*time.Second, "leave connections alone for this `time`, to see whether they are cut; 0 does not")
		flags.DurationVar(&cfg.Timeout, "timeout", 5*time.Second, "`time` to wait for one answer")
		flags.BoolVar(&cfg.Insecure, "insecure", false, "go on if the certificate is not valid")
		flags.Func("header", "send `'Name: value'` with every request; may be repeated", func(line string) error {
			name, value, ok := strings.Cut(line, ":")
			if !ok || name == "" {
				return errors.New("write 'Name: value'")
			}
			cfg.Header.Add(strings.TrimSpace(name), strings.TrimSpace(value))
			return nil
		})
		asJSON := flags.Bool("json", false, "print JSON, at the end")
		return func(ctx context.Context, stdout, stderr io.Writer) (err error) {
			if cfg.URL, err = endpointURL(flags.Arg(0)); err != nil {
				return err
			}
			if cfg.Join != nil && cfg.Channel == "" {
				return &misuse{problem: "-join needs a -channel"}
			}
			if cfg.Timeout <= 0 {
				return &misuse{problem: "-timeout has to be more than nothing"}
			}
			if terminal(stderr) {
				cfg.Waiting = countDown(stderr)
			}
			return examine(ctx, cfg, *asJSON, stdout)
		}
	},
}

// object reads a JSON object as a flag has it.
func object(text string) (json.RawMessage, error) {
	var members map[string]json.RawMessage
	if err := json.Unmarshal([]byte(text), &members); err != nil || members == nil {
		return nil, errors.New("it is no JSON object")
	}
	return json.RawMessage(text), nil
}

// endpointURL reads the URL of an endpoint as people write it.
func endpointURL(text string) (*url.URL, error) {
	u, err := parseURL(text)
	if err != nil {
		return nil, &misuse{problem: err.Error()}
	}
	switch u.Scheme {
	case "http", "https", "ws", "wss":
	default:
		return nil, &misuse{problem: fmt.Sprintf("%q is no URL: write https://example.com/socket", text)}
	}
	if u.Host == "" {
		return nil, &misuse{problem: fmt.Sprintf("%q names no host", text)}
	}
	return u, nil
}

// parseURL parses a URL. What people leave out most often is the scheme, for which
// url.Parse has another error with each form of a host.
func parseURL(text string) (*url.URL, error) {
	if !strings.Contains(text, "://") {
		return nil, fmt.Errorf("%q is no URL: write http://127.0.0.1:8000/socket", text)
	}
	return url.Parse(text)
}

// terminal reports whether somebody may be looking.
func terminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// countDown shows how long it takes, in a line that goes when it is over.
func countDown(w io.Writer) func(left time.Duration) {
	return func(left time.Duration) {
		text := eraseLine
		if left > 0 {
			text += fmt.Sprintf("waiting  connections are left alone for another %.0f s", left.Seconds())
		}
		_, _ = io.WriteString(w, text) // it only entertains
	}
}

// A diagnosis is what the doctor prints as JSON.
type diagnosis struct {
	URL      string           `json:"url"` // without its query, which may be secret
	Problems int              `json:"problems"`
	Warnings int              `json:"warnings"`
	Findings []doctor.Finding `json:"findings"`
}

func (d *diagnosis) add(f doctor.Finding) {
	d.Findings = append(d.Findings, f)
	switch f.Verdict {
	case doctor.OK:
	case doctor.Warning:
		d.Warnings++
	case doctor.Problem:
		d.Problems++
	}
}

// String sums up.
func (d *diagnosis) String() string {
	return count(d.Problems, "problem") + ", " + count(d.Warnings, "warning")
}

func count(n int, noun string) string {
	if n != 1 {
		noun += "s"
	}
	return fmt.Sprintf("%d %s", n, noun)
}

// examine prints findings for people as they come, for programs at the end.
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

// paragraph is a finding for people, with its remedy below it.
func paragraph(f doctor.Finding) string {
	text := fmt.Sprintf("%-8s %-19s %s\n", f.Verdict, f.Check, f.Text)
	if f.Remedy != "" {
		text += fmt.Sprintf("%-8s %s\n", "  do:", f.Remedy)
	}
	return text
}
