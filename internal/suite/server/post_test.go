package server_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pondsocket/pond"
	"github.com/pondsocket/pond/internal/suite/kit"
	"github.com/pondsocket/pond/pondtest"
)

// numbered is a message with a number, and padding.
func numbered(event string, n, padding int) string {
	return fmt.Sprintf(`{"action":"BROADCAST","event":%q,"channelName":"/chat/1","requestId":"r%d","payload":{"n":%[2]d,"x":%q}}`,
		event, n, strings.Repeat("x", padding))
}

// A postClient is an event stream and the requests that send its messages.
type postClient struct {
	http   *http.Client
	secret string
	events chan pondtest.Message // closed when the stream ends
}

func openStream(t *testing.T, client *http.Client) *postClient {
	t.Helper()
	req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://pond/socket?sse=unnamed", nil)
	req.Header.Set("Accept", "text/event-stream")
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	c := &postClient{client, resp.Header.Get("X-Connection-ID"), make(chan pondtest.Message, 10_000)}
	go func() {
		defer close(c.events)
		lines := bufio.NewScanner(resp.Body)
		lines.Buffer(nil, 1<<24)
		for lines.Scan() {
			var m pondtest.Message
			if data, ok := strings.CutPrefix(lines.Text(), "data: "); ok && json.Unmarshal([]byte(data), &m) == nil {
				c.events <- m
			}
		}
	}()
	c.expect(t, "CONNECTION")
	if status := c.post(t, kit.JoinMessage(1)); status != http.StatusNoContent {
		t.Fatalf("the join: %d", status)
	}
	c.expect(t, "ACKNOWLEDGE")
	return c
}

// post sends a body and returns the status.
func (c *postClient) post(t *testing.T, body string) int {
	status, _ := c.ask(t, http.MethodPost, strings.NewReader(body))
	return status
}

func (c *postClient) ask(t *testing.T, method string, body io.Reader) (int, string) {
	req, _ := http.NewRequestWithContext(t.Context(), method, "http://pond/socket", body)
	req.Header.Set("X-Connection-ID", c.secret)
	resp, err := c.http.Do(req)
	if err != nil {
		t.Error(err)
		return 0, ""
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(resp.Body)
	return resp.StatusCode, string(text)
}

func (c *postClient) expect(t *testing.T, event string) pondtest.Message {
	t.Helper()
	m, ok := <-c.events
	if !ok || m.Event != event {
		t.Fatalf("got %v, %t, want %s", m, ok, event)
	}
	return m
}

// The official client ignores the status of its requests, so a burst must not be rejected,
// even if handlers are slow.
func TestFault13_BurstsWait(t *testing.T) {
	const burst = 500
	for _, protocol := range kit.Protocols {
		for name, delay := range map[string]time.Duration{"fast": 0, "slow": 20 * time.Millisecond, "very slow": time.Second} {
			t.Run(protocol+"/"+name, func(t *testing.T) {
				var met kit.Limits
				p := pond.New(met.Observer())
				l := p.Endpoint("/socket", kit.Accept).Lobby("/chat/:room", kit.Admit)
				l.OnMessage("n", func(ctx *pond.EventContext) error {
					time.Sleep(delay)
					return ctx.Reply("n", ctx.Payload())
				})
				kit.OnNetwork(t, p, protocol, func(t *testing.T, client *http.Client, _ func() net.Conn) {
					c := openStream(t, client)
					var requests sync.WaitGroup
					for i := range burst {
						requests.Go(func() {
							if status := c.post(t, numbered("n", i, 100)); status != http.StatusNoContent {
								t.Errorf("message %d: status %d", i, status)
							}
						})
					}
					seen := map[int]bool{}
					for range burst {
						var got struct{ N int }
						c.expect(t, "n").Bind(t, &got)
						seen[got.N] = true
					}
					requests.Wait()
					if len(seen) != burst || met.Of(pond.LimitPosts) != 0 {
						t.Errorf("%d messages were handled, %v", len(seen), &met)
					}
				})
			})
		}
	}
}

// The number and the bytes of waiting requests are limited. A client that sends more receives
// an error on its stream. The bodies of rejected requests are not read.
func TestFault13_TheQueueIsLimited(t *testing.T) {
	for name, test := range map[string]struct {
		opts      []pond.EndpointOption
		padding   int
		chunked   bool
		sent      int
		handled   int
		inProcess int // in the handler and the inbox, of the handled ones
	}{
		"requests":          {nil, 0, false, 1200, 1000 + 65, 65},
		"bytes":             {nil, 900 << 10, false, 12, 4 + 2, 2},
		"bytes in chunks":   {nil, 900 << 10, true, 12, 4 + 2, 2},
		"option":            {[]pond.EndpointOption{pond.WithPostQueue(3, 1000), pond.WithInboxSize(1)}, 0, false, 10, 3 + 2, 2},
		"one large request": {[]pond.EndpointOption{pond.WithPostQueue(3, 1000), pond.WithInboxSize(1)}, 10_000, false, 10, 1 + 2, 2},
	} {
		t.Run(name, func(t *testing.T) {
			var met kit.Limits
			p := pond.New(met.Observer())
			l := p.Endpoint("/socket", kit.Accept, test.opts...).Lobby("/chat/:room", kit.Admit)
			var release chan struct{}
			l.OnMessage("n", func(ctx *pond.EventContext) error {
				<-release
				return ctx.Reply("n", json.RawMessage(fmt.Sprintf(`{"n":%q}`, ctx.RequestID())))
			})
			kit.OnNetwork(t, p, "HTTP/1.1", func(t *testing.T, client *http.Client, _ func() net.Conn) {
				release = make(chan struct{})
				c := openStream(t, client)
				var requests sync.WaitGroup
				var taken, rejected atomic.Int32
				for i := range test.sent {
					requests.Go(func() {
						body := io.Reader(strings.NewReader(numbered("n", i, test.padding)))
						if test.chunked {
							body = io.MultiReader(body)
						}
						switch status, text := c.ask(t, http.MethodPost, body); {
						case status == http.StatusNoContent:
							taken.Add(1)
						case status == http.StatusServiceUnavailable && text == "too many messages are waiting":
							rejected.Add(1)
						default:
							t.Errorf("message %d: status %d %q", i, status, text)
						}
					})
					synctest.Wait()
				}
				if n := int(rejected.Load()); n != test.sent-test.handled || met.Of(pond.LimitPosts) != n {
					t.Errorf("%d were rejected, want %d; observed %v", n, test.sent-test.handled, &met)
				}
				if n := int(taken.Load()); n != test.inProcess {
					t.Errorf("%d were taken, want %d", n, test.inProcess)
				}
				for range rejected.Load() {
					m := c.expect(t, "INVALID_MESSAGE")
					if m.Action != "ERROR" || m.Channel != "ENDPOINT" || kit.Status(t, m) != http.StatusServiceUnavailable {
						t.Fatalf("got %v", m)
					}
				}
				close(release)
				requests.Wait()
				for i := range test.handled { // in order
					if m := c.expect(t, "n"); string(m.Payload) != fmt.Sprintf(`{"n":"r%d"}`, i) {
						t.Fatalf("message %d: %s", i, m.Payload)
					}
				}
				if status := c.post(t, numbered("n", 0, 0)); status != http.StatusNoContent {
					t.Errorf("afterwards: status %d", status)
				}
				c.expect(t, "n")
			})
		})
	}
}

// A message whose body was received is handled, even if its client does not wait for the
// response, and even if it waits for longer than a body may take.
func TestFault13_GivingUpLosesNothing(t *testing.T) {
	for _, protocol := range kit.Protocols {
		t.Run(protocol, func(t *testing.T) {
			p, _, l := kit.NewPond(pond.WithInboxSize(1))
			var release chan struct{}
			l.OnMessage("wait", func(*pond.EventContext) error { <-release; return nil })
			kit.OnNetwork(t, p, protocol, func(t *testing.T, client *http.Client, _ func() net.Conn) {
				release = make(chan struct{})
				c := openStream(t, client)
				c.post(t, numbered("wait", 0, 0))
				c.post(t, numbered("ask", 1, 0)) // fills the inbox
				impatient := &postClient{&http.Client{Transport: client.Transport, Timeout: time.Second}, c.secret, nil}
				var gaveUp, patient sync.WaitGroup
				gaveUp.Go(func() {
					req, _ := http.NewRequest(http.MethodPost, "http://pond/socket", strings.NewReader(numbered("ask", 2, 0)))
					req.Header.Set("X-Connection-ID", c.secret)
					if _, err := impatient.http.Do(req); err == nil {
						t.Error("there was a response")
					}
				})
				synctest.Wait()
				patient.Go(func() {
					if status := c.post(t, numbered("ask", 3, 0)); status != http.StatusNoContent {
						t.Errorf("status %d", status)
					}
				})
				gaveUp.Wait()
				time.Sleep(10 * time.Minute)
				close(release)
				patient.Wait()
				for n := 1; n <= 3; n++ {
					var got struct{ N int }
					if c.expect(t, "answer").Bind(t, &got); got.N != n {
						t.Errorf("message %d came as number %d", got.N, n)
					}
				}
			})
		})
	}
}

// DELETE is handled in order: after the messages of earlier requests. However, a slow handler
// does not keep the client connected for longer than the close timeout.
func TestFault13_DeleteComesAfterEarlierMessages(t *testing.T) {
	for name, delay := range map[string]time.Duration{"fast": time.Second, "slow": time.Hour} {
		t.Run(name, func(t *testing.T) {
			p := pond.New()
			e := p.Endpoint("/socket", kit.Accept, pond.WithInboxSize(1))
			l := e.Lobby("/chat/:room", kit.Admit)
			var handled, cancelled atomic.Int32
			l.OnMessage("n", func(ctx *pond.EventContext) error {
				handled.Add(1)
				select {
				case <-time.After(delay):
				case <-ctx.Done():
					cancelled.Add(1)
				}
				return nil
			})
			kit.OnNetwork(t, p, "HTTP/1.1", func(t *testing.T, client *http.Client, _ func() net.Conn) {
				c := openStream(t, client)
				var requests sync.WaitGroup
				var taken atomic.Int32
				for i := range 5 {
					requests.Go(func() {
						switch c.post(t, numbered("n", i, 0)) {
						case http.StatusNoContent:
							taken.Add(1)
						case http.StatusNotFound: // the client has left
						default:
							t.Error("neither taken nor rejected")
						}
					})
					synctest.Wait()
				}
				began := time.Now()
				if status, _ := c.ask(t, http.MethodDelete, nil); status != http.StatusNoContent || time.Since(began) > 6*time.Second {
					t.Errorf("DELETE: %d after %v", status, time.Since(began))
				}
				requests.Wait()
				for range c.events {
				}
				for e.Len() > 0 && time.Since(began) < time.Minute {
					time.Sleep(time.Second)
				}
				if delay == time.Second && (handled.Load() != 5 || cancelled.Load() != 0) {
					t.Errorf("%d messages were handled, %d were cancelled", handled.Load(), cancelled.Load())
				}
				if took := time.Since(began); took > 12*time.Second {
					t.Errorf("the client left after %v", took)
				}
				if handled.Load() != taken.Load() {
					t.Errorf("%d messages were handled, and %d taken", handled.Load(), taken.Load())
				}
			})
		})
	}
}

// Fault 6, for requests: 204 means that the message will be handled. After a shutdown began, a
// message is not handled, so the status is 503.
func TestFault06_NothingIsTakenDuringShutdown(t *testing.T) {
	p, _, l := kit.NewPond()
	var leaving, leave chan struct{}
	var handled atomic.Int32
	l.OnMessage("n", func(*pond.EventContext) error { handled.Add(1); return nil })
	l.OnLeave(func(*pond.LeaveContext) error { close(leaving); <-leave; return nil })
	kit.OnNetwork(t, p, "HTTP/1.1", func(t *testing.T, client *http.Client, _ func() net.Conn) {
		leaving, leave = make(chan struct{}), make(chan struct{})
		c := openStream(t, client)
		go p.Shutdown(t.Context())
		<-leaving
		status, text := c.ask(t, http.MethodPost, strings.NewReader(numbered("n", 1, 0)))
		if status != http.StatusServiceUnavailable || text != "the server is shutting down" {
			t.Errorf("status %d %q", status, text)
		}
		close(leave)
		for range c.events {
		}
		if handled.Load() != 0 {
			t.Error("the message was handled")
		}
	})
}

// A body may be an array of messages (rule X-22): all of them are taken, in their order, or
// none.
func TestX22_Fault14_ArraysOfMessages(t *testing.T) {
	var met kit.Limits
	p := pond.New(met.Observer())
	l := p.Endpoint("/socket", kit.Accept, pond.WithMaxMessageSize(100_000)).Lobby("/chat/:room", kit.Admit)
	l.OnMessage("n", func(ctx *pond.EventContext) error { return ctx.Reply("n", ctx.Payload()) })
	pondtest.Run(t, p, func(t *testing.T, d *pondtest.Driver) {
		s := d.Connect(pondtest.SSE, "/socket")
		send := func(messages ...string) (int, string) {
			req := kit.Request("POST", "/socket", "["+strings.Join(messages, ",\n")+"]", "X-Connection-ID: "+s.ConnectionID())
			resp := d.Do(req)
			return resp.StatusCode, kit.ReadAll(t, resp)
		}
		many := []string{kit.JoinMessage(1), `{"action":"ping"}`}
		for i := range 500 { // more than the inbox may have
			many = append(many, numbered("n", i, 0))
		}
		if status, text := send(many...); status != http.StatusNoContent {
			t.Fatalf("%d %s", status, text)
		}
		kit.Is(t, s.Receive(), "SYSTEM", "ACKNOWLEDGE", "{}")
		for i := range 500 {
			kit.Is(t, s.Receive(), "SYSTEM", "n", fmt.Sprintf(`{"n":%d,"x":""}`, i))
		}
		s.Quiet()
		deep := strings.Replace(numbered("n", 9, 0), `"x":""`, `"x":`+strings.Repeat("[", 70)+strings.Repeat("]", 70), 1)
		for name, test := range map[string]struct {
			messages []string
			status   int
			text     string
		}{
			"no message": {[]string{numbered("n", 1, 0), `{}`, `{}`}, 400, "messages[1]: event: Missing required field"},
			"no action":  {[]string{numbered("n", 1, 0), numbered("n", 2, 0), `{"action":"X","event":"n","channelName":"","requestId":"","payload":{}}`}, 400, "messages[2]: action: Expected one of [JOIN_CHANNEL, LEAVE_CHANNEL, BROADCAST], got \"X\""},
			"no JSON":    {[]string{numbered("n", 1, 0), `nonsense`}, 400, fmt.Sprintf("messages[1]: unexpected 'o' in JSON at offset %d", len(numbered("n", 1, 0))+4)},
			"too deep":   {[]string{numbered("n", 1, 0), deep}, 400, fmt.Sprintf("messages[1]: JSON nested deeper than 64 levels at offset %d", len(numbered("n", 1, 0))+3+strings.Index(deep, "[")+62)},
			"too large":  {[]string{numbered("n", 1, 60_000), numbered("n", 2, 60_000)}, 413, "the message is too large"},
			"long name":  {[]string{numbered(strings.Repeat("n", 300), 1, 0)}, 400, "messages[0]: event: Expected at most 256 bytes"},
			"two arrays": {[]string{numbered("n", 1, 0) + "]", "[" + numbered("n", 2, 0)}, 400, fmt.Sprintf("unexpected ',' in JSON at offset %d", len(numbered("n", 1, 0))+2)},
		} {
			if status, text := send(test.messages...); status != test.status || text != test.text {
				t.Errorf("%s: %d %q, want %d %q", name, status, text, test.status, test.text)
			}
			m := s.Receive() // the official client looks only at its stream
			var payload struct{ Message string }
			if m.Bind(t, &payload); m.Event != "INVALID_MESSAGE" || kit.Status(t, m) != test.status || payload.Message != test.text {
				t.Errorf("%s: got %v", name, m)
			}
			s.Quiet() // none was taken
		}
		if met.Of(pond.LimitDepth) != 1 || met.Of(pond.LimitMessage) != 1 || met.Of(pond.LimitEventName) != 1 {
			t.Errorf("observed %v", &met)
		}
	})
}

// Each message of an array counts for the rate limit, and each one that exceeds it is answered
// with an error.
func TestX22_Fault14_ArraysAndTheRateLimit(t *testing.T) {
	p := pond.New()
	l := p.Endpoint("/socket", kit.Accept, pond.WithRateLimit(1, 5)).Lobby("/chat/:room", kit.Admit)
	l.OnMessage("n", func(ctx *pond.EventContext) error { return ctx.Reply("n", nil) })
	pondtest.Run(t, p, func(t *testing.T, d *pondtest.Driver) {
		s := d.Connect(pondtest.SSE, "/socket")
		body := []string{kit.JoinMessage(1)}
		for i := range 6 {
			body = append(body, numbered("n", i, 0))
		}
		if status := d.Push(s, []byte("["+strings.Join(body, ",")+"]")); status != http.StatusNoContent {
			t.Errorf("status %d", status)
		}
		count := map[string]int{}
		for range body {
			m := s.Receive()
			count[m.Event]++
			if m.Event == "HANDLER_NOT_FOUND" && (kit.Status(t, m) != http.StatusTooManyRequests || m.RequestID < "r4") {
				t.Errorf("got %v", m)
			}
		}
		if count["ACKNOWLEDGE"] != 1 || count["n"] != 4 || count["HANDLER_NOT_FOUND"] != 2 {
			t.Errorf("got %v", count)
		}
		for range 3 { // invalid messages count, too
			if status := d.Push(s, []byte("[1]")); status != http.StatusTooManyRequests {
				t.Errorf("invalid messages: status %d", status)
			}
		}
		if status := d.Push(s, []byte("["+strings.Join(body, ",")+"]")); status != http.StatusNoContent {
			t.Errorf("status %d", status)
		}
		s.Closed() // another burst of them was too much
	})
}
