package pondclient_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pondsocket/pond/pondclient"
)

// enter joins a channel; accept is the server's answer.
func enter(t *testing.T, c *pondclient.Client, s *socket, name, accept string, opts ...pondclient.JoinOption) *pondclient.Channel {
	t.Helper()
	var ch *pondclient.Channel
	var err error
	done := make(chan struct{})
	go func() {
		defer close(done)
		ch, err = c.Join(t.Context(), name, opts...)
	}()
	s.join(accept)
	<-done
	if err != nil {
		t.Fatal(err)
	}
	return ch
}

// A collector collects the events of a channel.
type collector struct {
	t      *testing.T
	done   chan struct{}
	cancel context.CancelFunc

	mu     sync.Mutex // guards the following fields
	events []string
	raw    []pondclient.Event
	err    error
}

// collect collects the events of a channel until the test ends.
func collect(t *testing.T, ch *pondclient.Channel) *collector {
	ctx, cancel := context.WithCancel(context.Background())
	c := &collector{t: t, done: make(chan struct{}), cancel: cancel}
	go func() {
		defer close(c.done)
		for ev, err := range ch.Events(ctx) {
			c.mu.Lock()
			if err != nil {
				c.err = err
			} else {
				c.events, c.raw = append(c.events, describe(ev)), append(c.raw, ev)
			}
			c.mu.Unlock()
		}
	}()
	t.Cleanup(func() { cancel(); <-c.done })
	return c
}

// describe returns an event as text.
func describe(ev pondclient.Event) string {
	switch ev := ev.(type) {
	case *pondclient.Message:
		text := ev.Event
		var p struct{ N *int }
		if ev.Bind(&p) == nil && p.N != nil {
			text = fmt.Sprint(*p.N)
		}
		if ev.Replayed {
			text += "r"
		}
		return text
	case *pondclient.Gap:
		text := "gap:" + string(ev.Reason)
		if ev.Dropped > 0 {
			text += fmt.Sprintf("(%d)", ev.Dropped)
		}
		return text
	case *pondclient.Recovered:
		return "recovered"
	case *pondclient.Presence:
		var text strings.Builder
		text.WriteString("presence")
		for _, change := range []struct {
			sign    string
			members []pondclient.Member
		}{{"+", ev.Joins}, {"~", ev.Updates}, {"-", ev.Leaves}} {
			for _, m := range change.members {
				text.WriteString(" " + change.sign + m.ID + string(m.Presence))
			}
		}
		return text.String()
	case *pondclient.Failure:
		return fmt.Sprintf("failure %s: %v", ev.Event, ev.Err)
	}
	return fmt.Sprintf("%T", ev)
}

// take returns the events so far and removes them.
func (c *collector) take() string {
	c.t.Helper()
	synctest.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	text := strings.Join(c.events, " ")
	c.events = nil
	return text
}

// is fails the test unless the events since the last call are these.
func (c *collector) is(want string) {
	c.t.Helper()
	if got := c.take(); got != want {
		c.t.Errorf("events: %s\n  want: %s", got, want)
	}
}

// end waits for the end of the events and returns its error.
func (c *collector) end() error {
	c.t.Helper()
	select {
	case <-c.done:
	case <-time.After(patience):
		c.t.Fatal("the events do not end")
	}
	return c.err
}

// background runs f, and returns a function that waits for its result.
func background[T any](f func() T) <-chan T {
	result := make(chan T, 1)
	go func() { result <- f() }()
	return result
}

func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// isError fails the test unless err is want.
func isError(t *testing.T, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("error %v, want %v", err, want)
	}
}

func decode(data []byte, v any) error { return json.Unmarshal(data, v) }
