// Package goclient_test runs pondclient against the official servers, as they are
// published. "make -C conformance goclient" installs them and runs it; without them,
// the tests are skipped.
package goclient_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/pondsocket/pond"
	"github.com/pondsocket/pond/pondclient"
)

// A server is an official server, with its particularities.
type server struct {
	name    string
	env     string // the variable with the program and its arguments
	over    pondclient.Transport
	opts    []pondclient.Option
	answers bool   // it has request IDs
	refused string // how an unknown token ends; empty if the server checks none
	silent  bool   // it says nothing about failed events
}

var servers = []server{
	{
		name: "pondsocket-asgi over WebSocket", env: "CONFORMANCE_ASGI", over: pondclient.WebSocket,
		answers: true, refused: "403", silent: true,
	},
	{
		name: "pondsocket-asgi over SSE", env: "CONFORMANCE_ASGI", over: pondclient.SSE,
		answers: true, refused: "401", silent: true,
	},
	{
		name: "npm", env: "CONFORMANCE_NPM", over: pondclient.WebSocket,
		opts: []pondclient.Option{pondclient.WithLegacyServer()},
	},
}

const room = "/chat/1"

// patience is for everything that has to happen.
const patience = time.Minute

// A process is a running server.
type process struct {
	server
	addr  string
	stdin io.Closer
	cmd   *exec.Cmd
}

// start runs a server on addr, until the test ends or stop is called.
func start(t *testing.T, s server, port string) *process {
	t.Helper()
	command := strings.Fields(os.Getenv(s.env))
	if len(command) == 0 {
		t.Skipf("%s is not set: run make -C conformance goclient", s.env)
	}
	p := &process{server: s, cmd: exec.CommandContext(t.Context(), command[0], append(command[1:], port)...)}
	p.cmd.Stderr = os.Stderr
	stdin, err := p.cmd.StdinPipe() // the server ends with it
	if err != nil {
		t.Fatal(err)
	}
	p.stdin = stdin
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.stop)
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		t.Fatalf("%s does not start: %v", s.name, err)
	}
	p.addr = strings.TrimSpace(line)
	return p
}

func (p *process) stop() {
	p.stdin.Close()
	_ = p.cmd.Wait() // it ends with a signal
}

func limited(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

func (p *process) options() []pondclient.Option {
	return append([]pondclient.Option{
		pondclient.WithTransport(p.over),
		pondclient.WithLogger(slog.New(slog.DiscardHandler)),
	}, p.opts...)
}

// client returns a connected client.
func (p *process) client(t *testing.T) *pondclient.Client {
	t.Helper()
	c, err := pondclient.Dial(limited(t), "http://"+p.addr+"/socket", p.options()...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := c.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	return c
}

// A member is in the room, and takes its events one by one.
type member struct {
	t *testing.T
	*pondclient.Channel
	name string
}

func (p *process) join(t *testing.T, c *pondclient.Client, name string) *member {
	t.Helper()
	ch, err := c.Join(limited(t), room, pondclient.WithPresence(), pondclient.WithParams(map[string]any{"name": name, "track": true}))
	if err != nil {
		t.Fatal(err)
	}
	m := &member{t, ch, name}
	m.presence(func(p *pondclient.Presence) bool { return hasName(p.Joins, name) })
	return m
}

func hasName(members []pondclient.Member, name string) bool {
	for _, m := range members {
		var p struct{ Name string }
		if m.Bind(&p) == nil && p.Name == name {
			return true
		}
	}
	return false
}

// until takes events up to one that matches.
func (m *member) until(what string, match func(pondclient.Event) bool) {
	m.t.Helper()
	for ev, err := range m.Events(limited(m.t)) {
		if err != nil {
			m.t.Fatalf("%s waits for %s: %v", m.name, what, err)
		}
		if match(ev) {
			return
		}
	}
	m.t.Fatalf("%s waits for %s: the events ended", m.name, what)
}

func (m *member) presence(match func(*pondclient.Presence) bool) {
	m.t.Helper()
	m.until("presence", func(ev pondclient.Event) bool {
		p, ok := ev.(*pondclient.Presence)
		return ok && match(p)
	})
}

// said takes events up to this text.
func (m *member) said(text string) {
	m.t.Helper()
	m.until(text, func(ev pondclient.Event) bool {
		message, ok := ev.(*pondclient.Message)
		if !ok || message.Event != "said" {
			return false
		}
		var p struct{ Text string }
		if err := message.Bind(&p); err != nil || p.Text != text {
			m.t.Fatalf("%s got %s, want %q", m.name, message.Payload, text)
		}
		return true
	})
}

func (m *member) send(event string, payload any) {
	m.t.Helper()
	if err := m.Send(event, payload); err != nil {
		m.t.Fatal(err)
	}
}

func text(s string) map[string]string { return map[string]string{"text": s} }

func onAll(t *testing.T, test func(t *testing.T, p *process)) {
	t.Helper()
	for _, s := range servers {
		t.Run(s.name, func(t *testing.T) { test(t, start(t, s, "0")) })
	}
}

func TestConnecting(t *testing.T) {
	onAll(t, func(t *testing.T, p *process) {
		c := p.client(t)
		if got := c.Transport(); got != p.over {
			t.Errorf("transport %q", got)
		}
		if p.answers && c.UserID() == "" {
			t.Error("no user ID")
		}
		if p.refused == "" {
			return
		}
		_, err := pondclient.Dial(limited(t), "http://"+p.addr+"/socket?token=bad", p.options()...)
		if reason, ok := errors.AsType[*pondclient.ConnectionError](err); !ok || fmt.Sprint(reason.Status) != p.refused {
			t.Errorf("error %v, want status %s", err, p.refused)
		}
	})
}

func TestJoining(t *testing.T) {
	onAll(t, func(t *testing.T, p *process) {
		c := p.client(t)
		_, err := c.Join(limited(t), room, pondclient.WithParams(map[string]string{"name": "mallory"}))
		if e, ok := errors.AsType[*pond.Error](err); !ok || e.Code != 403 || !strings.Contains(e.Message, "not you") {
			t.Errorf("error %v", err)
		}
		_, err = c.Join(limited(t), "/elsewhere")
		if e, ok := errors.AsType[*pond.Error](err); !ok || e.Code != 404 {
			t.Errorf("error %v", err)
		}
		ann := p.join(t, c, "ann")
		if err := ann.Leave(limited(t)); err != nil {
			t.Error(err)
		}
		ann = p.join(t, c, "ann") // again, at once
		ann.send("say", text("back"))
		ann.said("back")
	})
}

func TestMessages(t *testing.T) {
	onAll(t, func(t *testing.T, p *process) {
		ann, bob := p.join(t, p.client(t), "ann"), p.join(t, p.client(t), "bob")
		for i := range 50 {
			ann.send("say", text(fmt.Sprint("line\n", i, " é \u2028 😀")))
		}
		ann.send("others", text("for bob"))
		ann.send("say", text("end"))
		for i := range 50 {
			want := fmt.Sprint("line\n", i, " é \u2028 😀")
			ann.said(want)
			bob.said(want)
		}
		bob.said("for bob")
		ann.said("end")
		bob.said("end")
	})
}

func TestAnswers(t *testing.T) {
	onAll(t, func(t *testing.T, p *process) {
		ann := p.join(t, p.client(t), "ann")
		if !p.answers {
			_, err := ann.Request(limited(t), "ask", nil)
			if !errors.Is(err, errors.ErrUnsupported) {
				t.Errorf("error %v", err)
			}
			ann.send("fail", nil)
			ann.until("a failure", func(ev pondclient.Event) bool {
				f, ok := ev.(*pondclient.Failure)
				if !ok {
					return false
				}
				if e, ok := errors.AsType[*pond.Error](f.Err); !ok || e.Code != 409 || e.Message != "busy" {
					t.Errorf("error %v", f.Err)
				}
				return true
			})
			return
		}
		for i := range 20 {
			m, err := ann.Request(limited(t), "ask", map[string]int{"n": i})
			if err != nil || m.Event != "answer" || string(m.Payload) != fmt.Sprintf(`{"n":%d}`, i) {
				t.Fatalf("got %+v, error %v", m, err)
			}
		}
		// The server says nothing about an event that fails, so its context ends it.
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		defer cancel()
		if _, err := ann.Request(ctx, "fail", nil); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error %v", err)
		}
		ann.send("say", text("still there"))
		ann.said("still there")
	})
}

func TestPresence(t *testing.T) {
	onAll(t, func(t *testing.T, p *process) {
		ann := p.join(t, p.client(t), "ann")
		c := p.client(t)
		bob := p.join(t, c, "bob")
		ann.presence(func(ev *pondclient.Presence) bool { return hasName(ev.Joins, "bob") })
		if n := len(ann.Members()); n != 2 {
			t.Errorf("%d members", n)
		}
		bob.send("update", map[string]string{"id": "bob", "name": "Bob"})
		ann.presence(func(ev *pondclient.Presence) bool {
			return hasName(ev.Updates, "Bob") || hasName(ev.Joins, "Bob") && hasName(ev.Leaves, "bob")
		})
		if err := bob.Leave(limited(t)); err != nil {
			t.Error(err)
		}
		ann.presence(func(ev *pondclient.Presence) bool { return hasName(ev.Leaves, "Bob") })
		if n := len(ann.Members()); n != 1 {
			t.Errorf("%d members", n)
		}
	})
}

func TestEviction(t *testing.T) {
	onAll(t, func(t *testing.T, p *process) {
		c := p.client(t)
		ann := p.join(t, c, "ann")
		ann.send("evict", map[string]string{"id": c.UserID()})
		var last error
		for _, err := range ann.Events(limited(t)) {
			last = err
		}
		if e, ok := errors.AsType[*pondclient.RemovedError](last); !ok || e.Reason != "spam" || e.Closed {
			t.Errorf("error %v", last)
		}
	})
}

func TestRestart(t *testing.T) {
	onAll(t, func(t *testing.T, p *process) {
		c := p.client(t)
		ann := p.join(t, c, "ann")
		_, port, _ := strings.Cut(p.addr, ":")
		for i := range 2 {
			p.stop()
			for ctx := limited(t); c.Transport() != ""; { // what is sent before this may be lost
				select {
				case <-time.After(time.Millisecond):
				case <-ctx.Done():
					t.Fatal("the client does not notice that the server ended")
				}
			}
			ann.send("say", text(fmt.Sprint("while it was away ", i)))
			p = start(t, p.server, port)
			ann.until("the report", func(ev pondclient.Event) bool {
				gap, ok := ev.(*pondclient.Gap)
				return ok && gap.Reason == pondclient.GapFresh
			})
			ann.said(fmt.Sprint("while it was away ", i))
		}
	})
}
