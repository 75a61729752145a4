package server_test

import (
	"encoding/json"
	"log/slog"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pondsocket/pond"
	"github.com/pondsocket/pond/internal/suite/kit"
	"github.com/pondsocket/pond/pondtest"
)

// A key function that panics does not harm anybody: the panic is logged, and the message
// is not dropped.
func TestKeepLatestKeyPanics(t *testing.T) {
	var log strings.Builder
	b := &board{}
	b.Pond = pond.New(pond.WithLogger(slog.New(slog.NewTextHandler(&log, nil))))
	b.endpoint = b.Endpoint("/socket", kit.Accept)
	b.endpoint.Lobby("/latest/:id", kit.Admit, pond.WithSlowClients(pond.KeepLatest(func(string, json.RawMessage) string {
		panic("no key")
	})))
	b.endpoint.Lobby("/ended/:id", kit.Admit, pond.WithSlowClients(pond.KeepLatest(func(string, json.RawMessage) string {
		runtime.Goexit()
		return ""
	})))
	pondtest.Run(t, b.Pond, func(t *testing.T, d *pondtest.Driver) {
		s := d.Connect(pondtest.WebSocket, "/socket")
		s.Join("/latest/1", nil)
		s.Stall()
		b.tick(t, "/latest/1", "a", 100<<10)
		for range 10 {
			b.tick(t, "/latest/1", "a", 0)
		}
		time.Sleep(2 * time.Second)
		s.Resume()
		synctest.Wait()
		if got := len(ticksOf(t, s.Drain())["a"]); got != 11 {
			t.Errorf("got %d messages", got)
		}
		s.Join("/ended/1", nil)
		b.tick(t, "/ended/1", "a", 0)
		s.Expect("tick")
	})
	if text := log.String(); strings.Count(text, "pond: key function failed") != 2 || !strings.Contains(text, "runtime.Goexit") || !strings.Contains(text, "panic: no key") || !strings.Contains(text, "latest_key_test.go") {
		t.Errorf("the log is %q", text)
	}
}

func TestKeepLatestExcludesHistory(t *testing.T) {
	defer func() {
		const want = "pond: lobby /ticks/:id has WithHistory and KeepLatest: clients of a history rely on every message"
		if got := recover(); got != want {
			t.Errorf("panic %v, want %s", got, want)
		}
	}()
	e := pond.New().Endpoint("/socket", kit.Accept)
	e.Lobby("/runs/:id", kit.Admit, pond.WithSlowClients(pond.SlowClientPolicy{}), pond.WithHistory(pond.History{}))
	e.Lobby("/ticks/:id", kit.Admit, pond.WithSlowClients(pond.KeepLatest(nil)), pond.WithHistory(pond.History{}))
}
