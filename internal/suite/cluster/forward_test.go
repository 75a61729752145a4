package cluster_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pondsocket/pond"
	"github.com/pondsocket/pond/brokertest/memorybroker"
	"github.com/pondsocket/pond/internal/clusterwire"
	"github.com/pondsocket/pond/internal/suite/kit"
	"github.com/pondsocket/pond/pondtest"
)

// A response is the response to a POST or DELETE.
type response struct {
	status     int
	text       string
	retryAfter string
}

// ask sends a request for an event stream to a node.
func (c *cluster) ask(s *server, method, id, body string, opts ...pondtest.Option) response {
	c.t.Helper()
	return c.askWith(s, method, id, strings.NewReader(body), opts...)
}

func (c *cluster) askWith(s *server, method, id string, body io.Reader, opts ...pondtest.Option) response {
	c.t.Helper()
	req, err := http.NewRequestWithContext(c.t.Context(), method, "/"+s.name+"/socket", body)
	if err != nil {
		c.t.Error(err)
		return response{}
	}
	req.Header.Set("X-Connection-ID", id)
	for _, opt := range opts {
		opt(req)
	}
	resp := c.d.Do(req)
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		c.t.Error(err)
	}
	return response{resp.StatusCode, string(text), resp.Header.Get("Retry-After")}
}

// post sends a body for an event stream to a node, and returns the status.
func (c *cluster) post(s *server, client *pondtest.Session, body string) int {
	c.t.Helper()
	return c.ask(s, http.MethodPost, client.ConnectionID(), body).status
}

// saying returns a message that is broadcast as "said".
func saying(n int) string {
	return fmt.Sprintf(`{"action":"BROADCAST","channelName":"%s","event":"say","requestId":"r%d","payload":{"n":%d}}`, room, n, n)
}

// runStreams runs a test on two and on three nodes with event streams.
func runStreams(t *testing.T, f test, configure ...func(*cluster)) {
	t.Helper()
	for _, n := range []int{2, 3} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			runOne(t, n, pondtest.SSE, func(t *testing.T, c *cluster, s []*server) {
				for _, node := range s {
					_ = node.Degraded() // starts the node, as a readiness check does
				}
				c.pass(5 * time.Second) // they know each other
				f(t, c, s)
			}, configure...)
		})
	}
}

// slowNodes is a timeout of nodes that does not pass while requests wait.
func slowNodes(c *cluster) { c.pond = append(c.pond, pond.WithNodeTimeout(90*time.Second)) }

// A POST may arrive at any node, also as an array, and a DELETE. One after the other, they
// keep their order.
func TestForward(t *testing.T) {
	runStreams(t, func(t *testing.T, c *cluster, s []*server) {
		ann, bob := c.join(s[0]), c.join(s[1])
		began := time.Now()
		var want []int
		for n := range 3 * len(s) {
			if got := c.post(s[n%len(s)], ann, saying(3*n)); got != http.StatusNoContent {
				t.Fatalf("POST at node %s: status %d", s[n%len(s)].name, got)
			}
			array := "[" + saying(3*n+1) + "," + saying(3*n+2) + "]"
			if got := c.post(s[(n+1)%len(s)], ann, array); got != http.StatusNoContent {
				t.Fatalf("POST of an array: status %d", got)
			}
			want = append(want, 3*n, 3*n+1, 3*n+2)
		}
		expect(t, ann, want...)
		expect(t, bob, want...)
		if d := time.Since(began); d != 0 {
			t.Errorf("the requests took %v", d)
		}

		last := s[len(s)-1]
		if got := c.ask(last, http.MethodDelete, ann.ConnectionID(), ""); got.status != http.StatusNoContent {
			t.Fatalf("DELETE: %v", got)
		}
		c.settle()
		if got := s[0].left[ann.ID()]; !slices.Equal(got, []pond.LeaveReason{pond.LeaveDisconnected}) {
			t.Errorf("the client left with %q", got)
		}
		for _, node := range s {
			if got := c.ask(node, http.MethodPost, ann.ConnectionID(), saying(0)); got.status != http.StatusNotFound {
				t.Errorf("POST at node %s after the end: %v", node.name, got)
			}
		}
	})
}

// Another node responds like the node of the stream, and the client gets the same
// messages.
func TestForwardedResponses(t *testing.T) {
	large := `{"action":"BROADCAST","payload":"` + strings.Repeat("x", 2000) + `"}`
	for name, test := range map[string]struct {
		method string // POST if empty
		id     func(c *cluster, client *pondtest.Session) string
		body   func() io.Reader
		want   int
	}{
		"not JSON":                    {body: text("{"), want: 204},
		"not UTF-8":                   {body: text("{\"a\":\"\xff\"}"), want: 204},
		"empty":                       {body: text(""), want: 204},
		"unknown channel":             {body: text(`{"action":"BROADCAST","channelName":"/none","event":"e","requestId":"1","payload":{}}`), want: 204},
		"invalid array":               {body: text("[" + saying(1) + `,{"action":"NONE"}]`), want: 400},
		"too large":                   {body: text(large), want: 413},
		"too large, without a length": {body: func() io.Reader { return io.MultiReader(strings.NewReader(large)) }, want: 413},
		"no ID":                       {id: func(*cluster, *pondtest.Session) string { return "" }, want: 400},
		"user ID":                     {id: func(_ *cluster, s *pondtest.Session) string { return s.ID() }, want: 404},
		"forged ID":                   {id: func(_ *cluster, s *pondtest.Session) string { return forged(s.ConnectionID(), 0) }, want: 404},
		"forged signature": {id: func(_ *cluster, s *pondtest.Session) string {
			return forged(s.ConnectionID(), len(s.ConnectionID())-1)
		}, want: 404},
		"long ID":           {id: func(_ *cluster, s *pondtest.Session) string { return s.ConnectionID() + strings.Repeat("x", 5000) }, want: 404},
		"DELETE, user ID":   {method: http.MethodDelete, id: func(_ *cluster, s *pondtest.Session) string { return s.ID() }, want: 404},
		"DELETE of an end":  {method: http.MethodDelete, id: ended, want: 404},
		"POST after an end": {id: ended, want: 404},
	} {
		t.Run(name, func(t *testing.T) {
			runStreams(t, func(t *testing.T, c *cluster, s []*server) {
				client := c.join(s[0])
				c.rest()
				client.Drain()
				method, id, body := test.method, client.ConnectionID(), test.body
				if method == "" {
					method = http.MethodPost
				}
				if test.id != nil {
					id = test.id(c, client)
				}
				if body == nil {
					body = text(saying(1))
				}
				var first response
				var messages []string
				for i, node := range s {
					got := c.askWith(node, method, id, body())
					c.settle()
					var received []string
					for _, m := range client.Drain() {
						received = append(received, m.Action+" "+m.Event+" "+string(m.Payload))
					}
					if i == 0 {
						first, messages = got, received
					}
					if got.status != test.want || got != first {
						t.Errorf("node %s: %v, want %d and %v", node.name, got, test.want, first)
					}
					if !slices.Equal(received, messages) {
						t.Errorf("node %s: the client received %q, want %q", node.name, received, messages)
					}
				}
			}, func(c *cluster) { c.endpoint = []pond.EndpointOption{pond.WithMaxMessageSize(1000)} })
		})
	}
}

func text(s string) func() io.Reader { return func() io.Reader { return strings.NewReader(s) } }

// forged returns an ID in which one character differs.
func forged(id string, at int) string {
	b := []byte(id)
	if b[at] == 'A' {
		b[at] = 'B'
	} else {
		b[at] = 'A'
	}
	return string(b)
}

// ended returns the connection ID of a stream of the first node that ended.
func ended(c *cluster, _ *pondtest.Session) string {
	s := c.nodes["a"]
	client := c.connect(s)
	id := client.ConnectionID()
	c.ask(s, http.MethodDelete, id, "")
	c.settle()
	return id
}

// Clients that exceed the rate limit get 429 from all nodes.
func TestForwardedRateLimit(t *testing.T) {
	runStreams(t, func(t *testing.T, c *cluster, s []*server) {
		client := c.join(s[0])
		c.rest()
		if got := c.post(s[1], client, "[1]"); got != http.StatusBadRequest {
			t.Errorf("status %d, want 400", got)
		}
		for range 3 {
			c.post(s[1], client, "[1]")
		}
		if got := c.post(s[1], client, "[1]"); got != http.StatusTooManyRequests {
			t.Errorf("status %d, want 429", got)
		}
	}, func(c *cluster) { c.endpoint = []pond.EndpointOption{pond.WithRateLimit(0.001, 3)} })
}

// Requests with invented IDs, and those of pages that are not allowed, cause no message to
// other nodes, and do not wait.
func TestForgedRequests(t *testing.T) {
	runStreams(t, func(t *testing.T, c *cluster, s []*server) {
		client := c.join(s[0])
		c.pass(5 * time.Second)
		id := client.ConnectionID()
		sent := 0
		for _, node := range s {
			node.tap.onPublish(func(topic string, _ []byte) {
				if strings.HasPrefix(topic, clusterwire.Private) {
					sent++
				}
			})
		}
		began := time.Now()
		for i := range id {
			bad := forged(id, i)
			if got := c.ask(s[1], http.MethodPost, bad, saying(1)); got.status != http.StatusNotFound {
				t.Errorf("%s: %v", bad, got)
			}
		}
		for _, opt := range []pondtest.Option{pondtest.Header("Origin", "https://evil.example"), pondtest.Header("Host", "evil.example")} {
			if got := c.ask(s[1], http.MethodPost, id, saying(1), opt); got.status != http.StatusForbidden && got.status != http.StatusMisdirectedRequest {
				t.Errorf("another origin or host: %v", got)
			}
		}
		if d := time.Since(began); d != 0 || sent > 0 {
			t.Errorf("%d messages in %v", sent, d)
		}
		client.Quiet()
		c.post(s[1], client, saying(1))
		if sent != 2 {
			t.Errorf("a request and its answer are %d messages", sent)
		}
	}, func(c *cluster) { c.endpoint = []pond.EndpointOption{pond.WithHosts("example.com")} })
}

// The ID of a stream is not valid at another endpoint, on any node.
func TestForwardOtherEndpoint(t *testing.T) {
	runStreams(t, func(t *testing.T, c *cluster, s []*server) {
		for _, node := range s {
			node.Endpoint("/other", func(ctx *pond.ConnectionContext) error { return ctx.Accept() })
		}
		client := c.join(s[0])
		c.rest()
		for _, node := range s {
			got := c.ask(node, http.MethodPost, client.ConnectionID(), saying(1), func(r *http.Request) { r.URL.Path = "/" + node.name + "/other" })
			if got.status != http.StatusNotFound {
				t.Errorf("node %s: %v", node.name, got)
			}
		}
		client.Quiet()
	})
}

// Connection IDs do not reach the broker, and messages between two nodes reach no other
// topic than that of the receiving node.
func TestForwardIsPrivate(t *testing.T) {
	runStreams(t, func(t *testing.T, c *cluster, s []*server) {
		client := c.connect(s[0])
		id := client.ConnectionID()
		var mu sync.Mutex
		topics := map[string]int{}
		for _, node := range s {
			node.tap.onPublish(func(topic string, message []byte) {
				mu.Lock()
				defer mu.Unlock()
				secret, _, _ := strings.Cut(id, ".")
				if bytes.Contains(message, []byte(secret)) {
					t.Errorf("a message in %s contains the connection ID", topic)
				}
				if bytes.Contains(message, []byte(clusterwire.Private)) {
					topics[topic]++
				}
			})
		}
		c.pass(5 * time.Second)
		if got := c.post(s[1], client, `{"action":"PING"}`); got != http.StatusNoContent {
			t.Fatalf("status %d", got)
		}
		c.pass(5 * time.Second)
		if len(topics) != 2 {
			t.Errorf("messages in %v, want one to each of two nodes", topics)
		}
		for topic, n := range topics {
			if !strings.HasPrefix(topic, clusterwire.Private+".") || strings.Contains(topic, ":") || n != 1 {
				t.Errorf("%d messages in %s", n, topic)
			}
		}
	})
}

// The requests that a node forwards at the same time are limited, and so are their bytes.
func TestForwardLimit(t *testing.T) {
	for name, opt := range map[string]pond.EndpointOption{
		"requests": pond.WithForwardQueue(3, 1<<20),
		"bytes":    pond.WithForwardQueue(1000, 3*len(saying(1))),
	} {
		t.Run(name, func(t *testing.T) {
			var limits kit.Limits
			var mu sync.Mutex
			forwarded := map[int]int{}
			runStreams(t, func(t *testing.T, c *cluster, s []*server) {
				var clients []*pondtest.Session
				for range 5 {
					clients = append(clients, c.join(s[0]))
				}
				c.pass(time.Minute)
				clear(forwarded)
				c.bus.Partition([]string{"b", "c"}, []string{"a"})
				got := make(chan int, len(clients))
				for i, client := range clients {
					go func() {
						time.Sleep(time.Duration(i) * time.Millisecond) // so that the order is known
						got <- c.post(s[1], client, saying(i+1))
					}()
				}
				statuses := map[int]int{}
				for range clients {
					statuses[<-got]++
				}
				if statuses[503] != 2 || statuses[504] != 3 || limits.Of(pond.LimitForward) != 2 {
					t.Errorf("statuses %v, limit reported %d times", statuses, limits.Of(pond.LimitForward))
				}
				mu.Lock()
				defer mu.Unlock()
				if len(forwarded) != 1 || forwarded[504] != 3 {
					t.Errorf("observed %v", forwarded)
				}
			}, slowNodes, func(c *cluster) {
				c.endpoint = []pond.EndpointOption{opt}
				limits.Observer()
				c.pond = append(c.pond, limits.Observer(), pond.WithObserver(&pond.Observer{
					Forwarded: func(_ *pond.Endpoint, status int, _ time.Duration) {
						mu.Lock()
						defer mu.Unlock()
						forwarded[status]++
					},
				}))
			})
		})
	}
}

// Requests that are rejected do not count while the server waits for the rest of their
// bodies, so that a stranger cannot use up the limit.
func TestForwardLimitAndStrangers(t *testing.T) {
	runStreams(t, func(t *testing.T, c *cluster, s []*server) {
		client := c.join(s[0])
		c.pass(time.Minute)
		id := client.ConnectionID()
		for name, request := range map[string]func(body io.Reader) response{
			"signature": func(body io.Reader) response { return c.askWith(s[1], http.MethodPost, id[:len(id)-1]+"x", body) },
			"host": func(body io.Reader) response {
				return c.askWith(s[1], http.MethodPost, id, body, func(r *http.Request) { r.Host = "evil.example" })
			},
		} {
			body, rest := io.Pipe()
			defer rest.Close()
			answered := make(chan response, 1)
			go func() { answered <- request(body) }()
			c.pass(time.Second)
			if status := c.post(s[1], client, saying(1)); status != http.StatusNoContent {
				t.Errorf("%s: status %d", name, status)
			}
			rest.Close()
			if r := <-answered; r.status != http.StatusNotFound && r.status != http.StatusMisdirectedRequest {
				t.Errorf("%s: status %d", name, r.status)
			}
		}
	}, slowNodes, func(c *cluster) {
		c.endpoint = []pond.EndpointOption{pond.WithForwardQueue(1, 1<<20), pond.WithHosts("example.com")}
	})
}

// Requests of one client that are sent at the same time keep the order in which they
// arrived, and one that is larger than the broker accepts is rejected.
func TestForwardPipelined(t *testing.T) {
	runStreams(t, func(t *testing.T, c *cluster, s []*server) {
		client := c.join(s[0])
		c.pass(5 * time.Second)
		c.bus.SetFaults(memorybroker.Faults{MinDelay: time.Millisecond, MaxDelay: 100 * time.Millisecond})
		var want []int
		done := make(chan int)
		for n := range 20 {
			go func() {
				time.Sleep(time.Duration(n) * time.Microsecond)
				done <- c.post(s[1], client, saying(n))
			}()
			want = append(want, n)
		}
		for range want {
			if got := <-done; got != http.StatusNoContent {
				t.Errorf("status %d", got)
			}
		}
		expect(t, client, want...)
		body, _ := json.Marshal(map[string]any{"action": "PING", "fill": strings.Repeat("x", 80<<10)})
		if got := c.post(s[0], client, string(body)); got != http.StatusNoContent {
			t.Errorf("status %d from the node of the stream", got)
		}
		if got := c.post(s[1], client, string(body)); got != http.StatusRequestEntityTooLarge {
			t.Errorf("status %d, want 413", got)
		}
	}, func(c *cluster) { c.bus = memorybroker.New(memorybroker.WithMaxBytes(64 << 10)) })
}

// The former client of a stream that ended cannot make nodes exchange messages: each node
// asks once. Streams that exist are not affected.
func TestForwardEnded(t *testing.T) {
	for name, end := range map[string]func(c *cluster, s []*server, client *pondtest.Session){
		"closed": func(_ *cluster, _ []*server, client *pondtest.Session) { client.Close() },
		"disconnected": func(_ *cluster, s []*server, client *pondtest.Session) {
			_ = s[1].endpoint.Disconnect(client.ID(), 0, "")
		},
		"DELETE at a node": func(c *cluster, s []*server, client *pondtest.Session) {
			c.ask(s[0], http.MethodDelete, client.ConnectionID(), "")
		},
		"DELETE at its own": func(c *cluster, s []*server, client *pondtest.Session) {
			c.ask(s[1], http.MethodDelete, client.ConnectionID(), "")
		},
	} {
		t.Run(name, func(t *testing.T) {
			runStreams(t, func(t *testing.T, c *cluster, s []*server) {
				ann, bob := c.join(s[1]), c.join(s[1])
				id := ann.ConnectionID()
				end(c, s, ann)
				c.settle()
				forwarded := 0
				s[0].tap.onPublish(func(topic string, _ []byte) {
					if strings.HasPrefix(topic, "__pond__.") {
						forwarded++
					}
				})
				for range 20 {
					if got := c.ask(s[0], http.MethodPost, id, saying(1)); got.status != http.StatusNotFound {
						t.Errorf("POST: %v", got)
					}
					if got := c.ask(s[0], http.MethodDelete, id, ""); got.status != http.StatusNotFound {
						t.Errorf("DELETE: %v", got)
					}
				}
				if forwarded > 1 {
					t.Errorf("%d messages for requests for a stream that ended", forwarded)
				}
				forwarded = 0
				for n := range 3 {
					if got := c.post(s[0], bob, saying(n)); got != http.StatusNoContent {
						t.Errorf("POST of another client: status %d", got)
					}
				}
				if forwarded != 3 {
					t.Errorf("%d messages, want 3", forwarded)
				}
			})
		})
	}
}
