package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/pondsocket/pond/internal/load"
)

// A meter shows the progress of a run: on a terminal in one line that it updates, and
// elsewhere in a line per logInterval.
type meter struct {
	w      io.Writer
	live   bool
	config load.Config

	phase  string
	since  time.Time // start of the phase
	last   load.Progress
	at     time.Time // of last
	logged time.Time // when the last line was written
	rate   float64   // deliveries per second
}

// logInterval is the time between lines if the output is not a terminal.
const logInterval = 5 * time.Second

func newMeter(w io.Writer, config load.Config) *meter {
	return &meter{w: w, live: terminal(w), config: config, logged: time.Now()}
}

const eraseLine = "\r\x1b[K"

// show shows p. It ignores errors of the output.
func (m *meter) show(now time.Time, p load.Progress) {
	if p.Phase != m.phase {
		m.phase, m.since = p.Phase, now
	}
	if d := now.Sub(m.at); !m.at.IsZero() && d > 0 {
		m.rate = float64(p.Deliveries-m.last.Deliveries) / d.Seconds()
	}
	m.last, m.at = p, now
	switch {
	case m.live:
		_, _ = io.WriteString(m.w, eraseLine+m.line(now))
	case now.Sub(m.logged) >= logInterval:
		m.logged = now
		_, _ = fmt.Fprintln(m.w, m.line(now))
	}
}

// clear erases the line.
func (m *meter) clear() {
	if m.live {
		_, _ = io.WriteString(m.w, eraseLine)
	}
}

func (m *meter) line(now time.Time) string {
	elapsed := now.Sub(m.since)
	clients := number(m.last.Joined) + " of " + number(int64(m.config.Clients)) + " clients"
	joined := float64(m.last.Joined) / float64(m.config.Clients)
	rate := number(int64(m.rate)) + " deliveries/s"
	done, text := -1.0, rate // negative: unknown
	switch m.phase {
	case "connect", "presence":
		done, text = joined, clients
	case "leave":
		done, text = 1-joined, clients
	case "warm up":
		done = elapsed.Seconds() / m.config.Warmup.Seconds()
	case "measure", "churn":
		if m.config.Messages == 0 {
			done = elapsed.Seconds() / m.config.Duration.Seconds()
		}
		if m.phase == "churn" {
			text = clients
		}
	}
	if done < 0 {
		return fmt.Sprintf("%-8s  %5.1f s  %s", m.phase, elapsed.Seconds(), text)
	}
	return fmt.Sprintf("%-8s  %s  %5.1f s  %s", m.phase, bar(done), elapsed.Seconds(), text)
}

func bar(done float64) string {
	const width = 20
	n := min(width, max(0, int(done*width+0.5)))
	return "[" + strings.Repeat("#", n) + strings.Repeat(".", width-n) + "]"
}
