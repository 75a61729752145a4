package testserver

import (
	"context"
	"log/slog"
	"maps"
	"sync"
	"testing"
)

// A Log is a [slog.Handler] that counts records by their message and the value of their
// attribute "server".
type Log struct {
	slog.Handler

	mu      sync.Mutex
	records map[string]int
}

// NewLog returns an empty log.
func NewLog() *Log { return &Log{Handler: slog.DiscardHandler, records: map[string]int{}} }

// Enabled implements [slog.Handler].
func (l *Log) Enabled(context.Context, slog.Level) bool { return true }

// Handle implements [slog.Handler].
func (l *Log) Handle(_ context.Context, r slog.Record) error {
	text := r.Message
	r.Attrs(func(a slog.Attr) bool {
		if a.Key == "server" {
			text += " " + a.Value.String()
		}
		return true
	})
	l.mu.Lock()
	defer l.mu.Unlock()
	l.records[text]++
	return nil
}

// Check fails the test unless the log has exactly these records.
func (l *Log) Check(t testing.TB, want map[string]int) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	if !maps.Equal(l.records, want) {
		t.Errorf("records: %v, want %v", l.records, want)
	}
}
