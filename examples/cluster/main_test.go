//go:build unix

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pondsocket/pond"
	"github.com/pondsocket/pond/brokertest/memorybroker"
	"github.com/pondsocket/pond/internal/testserver"
	"github.com/pondsocket/pond/natsbroker"
	"github.com/pondsocket/pond/pondclient"
	"github.com/pondsocket/pond/redisbroker"
)

// timeout is for everything that must happen.
const timeout = time.Minute

// build returns the program.
func build(t *testing.T) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), "cluster")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", program, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return program
}

// startNode starts a node, and waits until it is connected to the cluster.
func startNode(t *testing.T, program string, backend ...string) *testserver.Server {
	t.Helper()
	addr := testserver.FreeAddr(t)
	s := testserver.New(t, addr, program, append([]string{"-addr", addr}, backend...), "", func(addr string) error {
		return get("http://" + addr + "/ready")
	})
	s.Start()
	return s
}

func get(url string) error {
	resp, err := http.Get(url)
	if err != nil {
		return err
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", url, resp.Status)
	}
	return nil
}

// A member is a client in a room, at one of the nodes or behind the proxy.
type member struct {
	t      *testing.T
	name   string
	room   *pondclient.Channel
	events chan pondclient.Event

	recovered bool            // after it lost its connection
	gap       *pondclient.Gap // the last one
}

func join(t *testing.T, addr, channel, name string, opts ...pondclient.Option) *member {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	defer cancel()
	opts = append(opts, pondclient.WithBackoff(pondclient.Backoff{First: 100 * time.Millisecond}))
	c, err := pondclient.Dial(ctx, "ws://"+addr+"/socket", opts...)
	if err != nil {
		t.Fatal(err)
	}
	m := &member{t: t, name: name, events: make(chan pondclient.Event, 100)}
	params := pondclient.WithParams(map[string]any{"name": name, "track": true})
	if m.room, err = c.Join(ctx, channel, params, pondclient.WithPresence()); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for ev, err := range m.room.Events(context.Background()) {
			if err != nil {
				return
			}
			m.events <- ev
		}
	}()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), timeout)
		defer cancel()
		_ = c.Close(ctx)
		<-ended
	})
	return m
}

func (m *member) say(text string) {
	m.t.Helper()
	if err := m.room.Send("say", map[string]string{"text": text}); err != nil {
		m.t.Fatal(err)
	}
}

// wait skips events until ok returns true.
func (m *member) wait(what string, ok func(pondclient.Event) bool) {
	m.t.Helper()
	late := time.After(timeout)
	for {
		select {
		case ev := <-m.events:
			m.note(ev)
			if ok(ev) {
				return
			}
		case <-late:
			m.t.Fatalf("%s does not receive %s", m.name, what)
		}
	}
}

// note notes whether the member recovered.
func (m *member) note(ev pondclient.Event) {
	switch ev := ev.(type) {
	case *pondclient.Recovered:
		m.recovered = true
	case *pondclient.Gap:
		m.gap = ev
	}
}

// hears waits for the next message, which must be text.
func (m *member) hears(text string) {
	m.t.Helper()
	m.wait(text, func(ev pondclient.Event) bool {
		msg, ok := ev.(*pondclient.Message)
		if !ok || msg.Event != "say" {
			return false
		}
		var payload struct{ Text string }
		if err := json.Unmarshal(msg.Payload, &payload); err != nil || payload.Text != text {
			m.t.Fatalf("%s receives %s, want %q", m.name, msg.Payload, text)
		}
		return true
	})
}

// sees waits until a room has as many members, on all nodes.
func (m *member) sees(members int) {
	m.t.Helper()
	if len(m.room.Members()) == members {
		return
	}
	m.wait(fmt.Sprint(members, " members"), func(pondclient.Event) bool { return len(m.room.Members()) == members })
}

// Two processes, connected by a real Redis or NATS server, which allows only what its
// configuration in this folder allows.
func TestTwoNodes(t *testing.T) {
	program := build(t)
	redis := testserver.NewRedis(t, "--save", "", "--appendonly", "no", "--aclfile", absolute(t, "redis.acl"))
	redis.Start()
	nats := testserver.NewNATS(t, "--config", "nats.conf")
	nats.Start()
	for _, backend := range [][]string{{"-redis", "redis://pond:change-me@" + redis.Addr}, {"-nats", "nats://pond:change-me@" + nats.Addr}} {
		t.Run(backend[0], func(t *testing.T) {
			one, two := startNode(t, program, backend...), startNode(t, program, backend...)
			for _, channel := range []string{"/chat/1", "/log/1"} {
				ann, bob := join(t, one.Addr, channel, "Ann"), join(t, two.Addr, channel, "Bob")
				ann.sees(2)
				bob.sees(2)
				ann.say("hello")
				bob.hears("hello")
				bob.say("hi")
				ann.hears("hello") // her own message
				ann.hears("hi")

				// Carl has an event stream at one node, and sends at the other one.
				carl := join(t, one.Addr, channel, "Carl", pondclient.WithTransport(pondclient.SSE),
					pondclient.WithHTTPClient(&http.Client{Transport: postsTo(two.Addr)}))
				for i := range 20 {
					carl.say(fmt.Sprint("number ", i))
				}
				for _, m := range []*member{ann, carl} {
					for i := range 20 {
						m.hears(fmt.Sprint("number ", i))
					}
				}
			}
		})
	}
}

// postsTo is a RoundTripper that sends POST requests to this address, as a load balancer
// without sticky sessions may do.
type postsTo string

func (addr postsTo) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Method == http.MethodPost {
		r = r.Clone(r.Context())
		r.URL.Host, r.Host = string(addr), string(addr)
	}
	return http.DefaultTransport.RoundTrip(r)
}

// Programs without the password have no access, and the node that has it may use only
// its own names.
func TestBackendsAreSecured(t *testing.T) {
	redis := testserver.NewRedis(t, "--save", "", "--appendonly", "no", "--aclfile", absolute(t, "redis.acl"))
	redis.Start()
	nats := testserver.NewNATS(t, "--config", "nats.conf")
	nats.Start()
	for _, test := range []struct{ redis, nats, want string }{
		{"redis://" + redis.Addr, "", "NOAUTH"},
		{"", "nats://" + nats.Addr, "Authorization Violation"},
	} {
		broker, err := connect(test.redis, test.nats)
		if err != nil {
			t.Fatal(err)
		}
		refused(t, broker, test.want)
	}
	other, err := redisbroker.New("redis://pond:change-me@"+redis.Addr, redisbroker.WithPrefix("other"))
	if err != nil {
		t.Fatal(err)
	}
	refused(t, other, "NOPERM")
	if other, err := natsbroker.New("nats://pond:change-me@"+nats.Addr, natsbroker.WithNamespace("other")); err != nil {
		t.Fatal(err)
	} else {
		refused(t, other, "permissions violation")
	}
}

// refused publishes until the server refuses the connection or the message for this
// reason: at first, the broker is not connected.
func refused(t *testing.T, b pond.Broker, want string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	defer cancel()
	defer func() { _ = b.Close(ctx) }()
	for ctx.Err() == nil {
		short, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
		err := b.Publish(short, "topic", [][]byte{[]byte("{}")})
		cancel()
		if err == nil {
			t.Errorf("%s: a message was published", want)
			return
		}
		err = errors.Join(err, b.(interface{ Health() error }).Health())
		if strings.Contains(strings.ToLower(err.Error()), strings.ToLower(want)) {
			return
		}
		<-time.After(time.Millisecond)
	}
	t.Errorf("not refused with %s", want)
}

func absolute(t *testing.T, file string) string {
	t.Helper()
	path, err := filepath.Abs(file)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// As in the README: a node is killed, and the client that it had misses nothing.
func TestNodeIsKilledBehindCaddy(t *testing.T) {
	if _, err := exec.LookPath("caddy"); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skipf("%v (in Debian it is the package caddy)", err)
	}
	redis := testserver.NewRedis(t, "--save", "", "--appendonly", "no")
	redis.Start()
	program, backend := build(t), []string{"-redis", "redis://" + redis.Addr}
	one, two := startNode(t, program, backend...), startNode(t, program, backend...)
	proxy := startCaddy(t, one.Addr, two.Addr)

	carl := join(t, two.Addr, "/log/lounge", "Carl")
	ann, bob := join(t, proxy.Addr, "/log/lounge", "Ann"), join(t, proxy.Addr, "/log/lounge", "Bob") // one at each node
	carl.sees(3)
	carl.say("hello")
	ann.hears("hello")
	bob.hears("hello")

	one.Kill()
	carl.say("still here")
	ann.hears("still here")
	bob.hears("still here")
	late := time.After(timeout)
	for !ann.recovered && !bob.recovered {
		select {
		case ev := <-ann.events:
			ann.note(ev)
		case ev := <-bob.events:
			bob.note(ev)
		case <-late:
			t.Fatal("neither client reconnected")
		}
	}
	if ann.gap != nil || bob.gap != nil {
		t.Errorf("gaps: %v, %v", ann.gap, bob.gap)
	}
}

// startCaddy runs Caddy with the configuration of the README.
func startCaddy(t *testing.T, nodes ...string) *testserver.Server {
	t.Helper()
	text, err := os.ReadFile("Caddyfile")
	if err != nil {
		t.Fatal(err)
	}
	dir, addr := t.TempDir(), testserver.FreeAddr(t)
	replaced := string(text)
	for _, pair := range [][2]string{
		{"127.0.0.1:8080", addr}, {"127.0.0.1:8001", nodes[0]}, {"127.0.0.1:8002", nodes[1]},
	} {
		if !strings.Contains(replaced, pair[0]) {
			t.Fatalf("the Caddyfile does not contain %s", pair[0])
		}
		replaced = strings.ReplaceAll(replaced, pair[0], pair[1])
	}
	config := filepath.Join(dir, "Caddyfile")
	if err := os.WriteFile(config, []byte("{\n\tadmin off\n}\n"+replaced), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("HOME", dir)
	t.Setenv("XDG_DATA_HOME", dir)
	t.Setenv("XDG_CONFIG_HOME", dir)
	s := testserver.New(t, addr, "caddy", []string{"run", "--adapter", "caddyfile", "--config", config}, "", func(addr string) error {
		return get("http://" + addr + "/ready")
	})
	s.Start()
	return s
}

func TestPage(t *testing.T) {
	p := newNode(memorybroker.New().Broker("one"), time.Minute)
	h := handler(p)
	t.Cleanup(func() { _ = p.Shutdown(context.Background()) })
	for path, want := range map[string]string{"/": "<!doctype html>", "/app.js": "import", "/pond.js": "// pond.js"} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, http.NoBody))
		if body := w.Body.String(); w.Code != http.StatusOK || !strings.HasPrefix(body, want) {
			t.Errorf("%s: %d %.100s", path, w.Code, body)
		}
	}
}

func TestNodeNeedsOneBroker(t *testing.T) {
	for _, urls := range [][2]string{{"", ""}, {"redis://127.0.0.1:1", "nats://127.0.0.1:1"}} {
		if b, err := connect(urls[0], urls[1]); err == nil {
			t.Errorf("connect%q returned %v", urls, b)
		}
	}
}
