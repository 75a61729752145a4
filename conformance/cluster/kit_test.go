// Package cluster_test lets nodes of pond and of pondsocket, as it is published for Python,
// meet at a Redis server. "make -C conformance cluster" installs what it needs and runs it;
// without that, the tests are skipped.
package cluster_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pondsocket/pond/internal/clusterwire"
	"github.com/pondsocket/pond/internal/testserver"
	"github.com/pondsocket/pond/pondclient"
	"github.com/redis/rueidis"
)

// timeout is for everything that must happen.
const timeout = 30 * time.Second

// interpreter returns the Python interpreter with pondsocket, or skips the test.
func interpreter(t *testing.T) string {
	t.Helper()
	python := os.Getenv("CONFORMANCE_PYTHON")
	if python == "" {
		t.Skip("CONFORMANCE_PYTHON is not set: run make -C conformance cluster")
	}
	return python
}

func limited(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	t.Cleanup(cancel)
	return ctx
}

// eventually waits until a condition holds.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(timeout); !ok(); <-time.After(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %v", what, timeout)
		}
	}
}

// startRedis starts a server.
func startRedis(t *testing.T) *testserver.Server {
	t.Helper()
	s := testserver.NewRedis(t, "--save", "", "--appendonly", "no")
	s.Start()
	return s
}

// startPython starts a node, and returns its address. It ends with the test, or at once and
// without a word if kill is called.
func startPython(t *testing.T, redis *testserver.Server, heartbeatTimeout time.Duration) (addr string, kill func()) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), interpreter(t), "-B", "node.py", redis.Addr, fmt.Sprint(heartbeatTimeout.Seconds()))
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe() // the node ends with it
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	kill = sync.OnceFunc(func() {
		stdin.Close()
		_ = cmd.Wait() // it ends with a signal
	})
	t.Cleanup(kill)
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		t.Fatalf("the node does not start: %v", err)
	}
	return strings.TrimSpace(line), kill
}

// A tap records the messages between nodes.
type tap struct {
	mu       sync.Mutex // guards the following field
	messages []tapped
}

// A tapped is a message, as it was published.
type tapped struct {
	topic, text string
	clusterwire.Message
	err error // of Decode
}

// startTap records all messages from now on.
func startTap(t *testing.T, redis *testserver.Server) *tap {
	t.Helper()
	client := dial(t, redis)
	conn, release := client.Dedicate()
	t.Cleanup(release)
	tp := &tap{}
	conn.SetPubSubHooks(rueidis.PubSubHooks{OnMessage: func(m rueidis.PubSubMessage) {
		x := tapped{topic: strings.TrimPrefix(m.Channel, "pondsocket:v1:default:"), text: m.Message}
		endpoint, channel, _ := strings.Cut(x.topic, ":")
		if x.topic == clusterwire.Heartbeat {
			endpoint, channel = clusterwire.Heartbeat, clusterwire.Heartbeat
		}
		x.Message, x.err = clusterwire.Decode([]byte(m.Message), endpoint, channel, clusterwire.DefaultLimits)
		tp.mu.Lock()
		defer tp.mu.Unlock()
		tp.messages = append(tp.messages, x)
	}})
	if err := conn.Do(limited(t), conn.B().Psubscribe().Pattern("pondsocket:*").Build()).Error(); err != nil {
		t.Fatal(err)
	}
	return tp
}

func dial(t *testing.T, redis *testserver.Server) rueidis.Client {
	t.Helper()
	client, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{redis.Addr}, DisableCache: true, ForceSingleClient: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return client
}

// all returns the messages that were recorded.
func (tp *tap) all() []tapped {
	tp.mu.Lock()
	defer tp.mu.Unlock()
	return append([]tapped(nil), tp.messages...)
}

// await waits for a message that matches.
func (tp *tap) await(t *testing.T, what string, match func(tapped) bool) (found tapped) {
	t.Helper()
	eventually(t, what, func() bool {
		messages := tp.all()
		i := slices.IndexFunc(messages, match)
		if i >= 0 {
			found = messages[i]
		}
		return i >= 0
	})
	return found
}

// A member is a client in a channel.
type member struct {
	t *testing.T
	*pondclient.Channel
	user string // the ID, which a client has until it is disconnected

	mu     sync.Mutex // guards the following fields
	events []pondclient.Event
	err    error // after the last event
}

// join connects a client to a node, and joins a channel.
func join(t *testing.T, node, channel string, params map[string]any) *member {
	t.Helper()
	c, err := pondclient.Dial(limited(t), "http://"+node+"/socket", pondclient.WithLogger(slog.New(slog.DiscardHandler)))
	if err != nil {
		t.Fatal(err)
	}
	ch, err := c.Join(limited(t), channel, pondclient.WithPresence(), pondclient.WithParams(params))
	if err != nil {
		t.Fatal(err)
	}
	m := &member{t: t, Channel: ch, user: c.UserID()}
	ctx, cancel := context.WithCancel(context.Background())
	var reader sync.WaitGroup
	reader.Go(func() {
		for ev, err := range ch.Events(ctx) {
			m.mu.Lock()
			if err != nil {
				m.err = err
			} else {
				m.events = append(m.events, ev)
			}
			m.mu.Unlock()
		}
	})
	t.Cleanup(func() {
		cancel()
		reader.Wait()
		ctx, cancel := context.WithTimeout(context.Background(), timeout)
		defer cancel()
		_ = c.Close(ctx)
	})
	return m
}

func (m *member) id() string { return m.user }

func (m *member) send(event string, payload any) {
	m.t.Helper()
	if err := m.Send(event, payload); err != nil {
		m.t.Fatal(err)
	}
}

// texts returns the texts that were said, in order.
func (m *member) texts() (texts []string) {
	for _, payload := range m.received("said") {
		var p struct{ Text string }
		if err := json.Unmarshal([]byte(payload), &p); err != nil {
			m.t.Errorf("%s: %v", payload, err)
		}
		texts = append(texts, p.Text)
	}
	return texts
}

// received returns the payloads of an event, in order.
func (m *member) received(event string) (payloads []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, ev := range m.events {
		if message, ok := ev.(*pondclient.Message); ok && message.Event == event {
			payloads = append(payloads, string(message.Payload))
		}
	}
	return payloads
}

// ended returns why the events ended, or nil.
func (m *member) ended() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.err
}

// hears waits for exactly these texts.
func (m *member) hears(texts ...string) {
	m.t.Helper()
	eventually(m.t, "the last text", func() bool { return slices.Contains(m.texts(), texts[len(texts)-1]) })
	if got := m.texts(); !slices.Equal(got, texts) {
		m.t.Errorf("received %q, want %q", got, texts)
	}
}

// A known is what a node knows of a member.
type known struct{ Assigns, Presence string }

// knows returns what the node of a member knows of all members, by their IDs.
func (m *member) knows() map[string]known {
	m.t.Helper()
	answer, err := m.Request(limited(m.t), "who", nil)
	if err != nil {
		m.t.Fatal(err)
	}
	var all struct{ Presence, Assigns map[string]json.RawMessage }
	if err := answer.Bind(&all); err != nil {
		m.t.Fatalf("%s: %v", answer.Payload, err)
	}
	members := map[string]known{}
	for id, assigns := range all.Assigns {
		members[id] = known{Assigns: string(assigns), Presence: string(all.Presence[id])}
	}
	return members
}

// awaitKnown waits until the node of a member knows exactly this of another one.
func (m *member) awaitKnown(id string, want known) {
	m.t.Helper()
	var got known
	var ok bool
	for deadline := time.Now().Add(timeout); ; {
		if got, ok = m.knows()[id]; ok && got == want {
			return
		}
		if time.Now().After(deadline) {
			m.t.Fatalf("the node of %s knows %+v of %s, want %+v", m.id(), got, id, want)
		}
	}
}

// awaitUnknown waits until the node of a member does not know another one.
func (m *member) awaitUnknown(id string) {
	m.t.Helper()
	eventually(m.t, "the end of "+id, func() bool { _, ok := m.knows()[id]; return !ok })
}

func text(s string) map[string]any { return map[string]any{"text": s} }
