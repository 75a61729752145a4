package cluster_test

import (
	"context"
	"math/rand/v2"
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

// Whatever the broker does with messages, a request that was answered with 204 is handled
// once, one with another status is not handled, except with 504, and the order is kept.
func TestForwardFaults(t *testing.T) {
	for name, faults := range map[string]memorybroker.Faults{
		"duplicates": {Duplicate: 1},
		"delays":     {MinDelay: time.Millisecond, MaxDelay: 700 * time.Millisecond},
		"losses":     {Drop: 0.3},
		"silent":     {Drop: 0.3, Silent: true, Duplicate: 0.3},
		"timeouts":   {TimeOut: 0.5},
		"failures":   {Fail: 0.5},
		"all":        {Drop: 0.1, Duplicate: 0.3, TimeOut: 0.2, Fail: 0.2, MinDelay: time.Millisecond, MaxDelay: 2 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			runStreams(t, func(t *testing.T, c *cluster, s []*server) {
				client := c.join(s[0])
				c.pass(5 * time.Second)
				client.Drain()
				c.bus.SetFaults(faults)
				random := rand.New(rand.NewPCG(1, 2))
				statuses := map[int]int{} // by message
				count := map[int]int{}
				for n := range 30 {
					statuses[n] = c.post(s[random.IntN(len(s))], client, saying(n))
					count[statuses[n]]++
					c.pass(time.Duration(random.IntN(1000)) * time.Millisecond)
				}
				c.bus.SetFaults(memorybroker.Faults{})
				c.pass(time.Minute)
				handled := said(t, client)
				known := slices.DeleteFunc(slices.Clone(handled), func(n int) bool { return statuses[n] == 504 })
				if !slices.IsSorted(known) { // with 504, a message may arrive after later ones
					t.Errorf("handled in another order: %v", handled)
				}
				for n, status := range statuses {
					times := 0
					for _, h := range handled {
						if h == n {
							times++
						}
					}
					if times > 1 || status == 204 && times != 1 || status != 204 && status != 504 && times > 0 {
						t.Errorf("message %d: status %d, handled %d times", n, status, times)
					}
				}
				if count[204] < 5 { // the faults also delay heartbeats, so nodes are often degraded
					t.Errorf("statuses %v, want at least 5 times 204", count)
				}
			}, func(c *cluster) { c.pond = append(c.pond, pond.WithNodeTimeout(10*time.Second)) })
		})
	}
}

// Without a connection to the broker, requests for other nodes are rejected at once, and
// are not handled later. With one, they are handled without a restart.
func TestForwardWithoutBroker(t *testing.T) {
	runStreams(t, func(t *testing.T, c *cluster, s []*server) {
		client := c.join(s[0])
		c.pass(5 * time.Second)
		for name, fault := range map[string]struct{ begin, end func() }{
			"disconnected": {s[1].broker.Disconnect, s[1].broker.Connect},
			"paused":       {func() { c.bus.Pause() }, c.bus.Resume},
		} {
			fault.begin()
			began := time.Now()
			got := c.ask(s[1], http.MethodPost, client.ConnectionID(), saying(1))
			if got.status != http.StatusServiceUnavailable || got.retryAfter == "" || time.Since(began) > 0 {
				t.Errorf("%s: %v after %v", name, got, time.Since(began))
			}
			if got := c.ask(s[1], http.MethodPost, "SECRET.mark.SIGNATURE", ""); got.status != http.StatusServiceUnavailable {
				t.Errorf("%s: %v for an ID of a node that is not known", name, got)
			}
			c.pass(time.Minute)
			if got := c.ask(s[1], http.MethodDelete, client.ConnectionID(), ""); got.status != http.StatusServiceUnavailable {
				t.Errorf("%s: DELETE: %v", name, got)
			}
			if got := c.post(s[0], client, saying(2)); got != http.StatusNoContent {
				t.Errorf("%s: the node of the stream responds with %d", name, got)
			}
			fault.end()
			c.pass(repairTime)
			expect(t, client, 2)
			if got := c.post(s[1], client, saying(3)); got != http.StatusNoContent {
				t.Errorf("%s: %d after the end of the fault", name, got)
			}
			expect(t, client, 3)
		}
	})
}

// If the node of the stream does not answer, one request waits for it, and further ones are
// rejected at once until something arrives from the node. When it is considered dead, its
// streams are gone.
func TestForwardToSilentNode(t *testing.T) {
	runStreams(t, func(t *testing.T, c *cluster, s []*server) {
		client := c.join(s[0])
		c.pass(time.Minute)
		id := client.ConnectionID()
		c.bus.Partition([]string{"b", "c"}, []string{"a"})
		began := time.Now()
		if got := c.ask(s[1], http.MethodPost, id, saying(1)); got.status != http.StatusGatewayTimeout || time.Since(began) > 11*time.Second {
			t.Errorf("%v after %v", got, time.Since(began))
		}
		began = time.Now()
		got := c.ask(s[1], http.MethodPost, id, saying(2))
		if got.status != http.StatusServiceUnavailable || got.retryAfter == "" || time.Since(began) > 0 {
			t.Errorf("%v after %v", got, time.Since(began))
		}
		c.bus.Heal()
		c.pass(time.Minute)
		if got := c.post(s[1], client, saying(3)); got != http.StatusNoContent {
			t.Errorf("status %d after the partition", got)
		}
		expect(t, client, 3) // the first one did not arrive

		c.bus.Partition([]string{"b", "c"}, []string{"a"})
		c.pass(2 * time.Minute)
		began = time.Now()
		if got := c.ask(s[1], http.MethodPost, id, saying(4)); got.status != http.StatusNotFound || time.Since(began) > 5*time.Second {
			t.Errorf("%v after %v", got, time.Since(began))
		}
		c.bus.Heal()
		c.pass(time.Minute)
		if got := c.post(s[1], client, saying(5)); got != http.StatusNoContent {
			t.Errorf("status %d after the partition", got)
		}
		expect(t, client, 5)
	}, slowNodes)
}

// blockable lets a test stop the handler of the event "block".
func blockable(c *cluster) (release func()) {
	block := make(chan struct{})
	c.setup = func(l *pond.Lobby) {
		l.OnMessage("block", func(*pond.EventContext) error { <-block; return nil })
	}
	return sync.OnceFunc(func() { close(block) })
}

const blocking = `{"action":"BROADCAST","channelName":"` + room + `","event":"block","requestId":"b","payload":{}}`

// If the node of the stream is lost before it answers, the client does not know whether
// its message was handled.
func TestForwardNodeLost(t *testing.T) {
	var release func()
	runStreams(t, func(t *testing.T, c *cluster, s []*server) {
		defer release()
		client := c.join(s[0])
		c.pass(time.Minute)
		c.post(s[0], client, blocking)
		c.post(s[0], client, saying(0)) // the inbox is full
		time.AfterFunc(2*time.Second, s[0].broker.Disconnect)
		time.AfterFunc(3*time.Second, release)
		if got := c.post(s[1], client, saying(1)); got != http.StatusGatewayTimeout {
			t.Errorf("status %d, want 504", got)
		}
		expect(t, client, 0, 1)
	}, slowNodes, func(c *cluster) {
		release = blockable(c)
		c.endpoint = []pond.EndpointOption{pond.WithInboxSize(1)}
	})
}

// A request that finds no room in the inbox is rejected, and is not handled later. The
// client gets an error on its stream, as from the node of the stream.
func TestForwardSlowHandler(t *testing.T) {
	var release func()
	var limits kit.Limits
	runStreams(t, func(t *testing.T, c *cluster, s []*server) {
		defer release()
		client := c.join(s[0])
		c.pass(5 * time.Second)
		c.post(s[1], client, blocking)
		c.post(s[1], client, saying(0))
		began := time.Now()
		responses := make(chan response)
		for _, node := range []*server{s[1], s[len(s)-1]} {
			go func() { responses <- c.ask(node, http.MethodPost, client.ConnectionID(), saying(1)) }()
		}
		for range 2 {
			if got := <-responses; got.status != http.StatusServiceUnavailable || got.retryAfter == "" || time.Since(began) > 6*time.Second {
				t.Errorf("%v after %v", got, time.Since(began))
			}
		}
		if m := client.Receive(); m.Action != "ERROR" || kit.Status(t, m) != http.StatusServiceUnavailable {
			t.Errorf("the client received %v", m)
		}
		if got := c.ask(s[1], http.MethodDelete, client.ConnectionID(), ""); got.status != http.StatusNoContent {
			t.Errorf("DELETE: %v", got)
		}
		release()
		c.settle()
		if limits.Of(pond.LimitPosts) == 0 {
			t.Error("the limit was not reported")
		}
	}, func(c *cluster) {
		release = blockable(c)
		c.endpoint = []pond.EndpointOption{pond.WithInboxSize(1)}
		limits.Observer()
		c.pond = append(c.pond, limits.Observer())
	})
}

// A node that stops rejects requests, and afterwards its streams are unknown at once.
func TestForwardToStoppedNode(t *testing.T) {
	runStreams(t, func(t *testing.T, c *cluster, s []*server) {
		client := c.join(s[0])
		c.pass(time.Minute)
		id := client.ConnectionID()
		c.stop(s[0])
		began := time.Now()
		if got := c.ask(s[1], http.MethodPost, id, saying(1)); got.status != http.StatusNotFound || time.Since(began) > 0 {
			t.Errorf("%v after %v", got, time.Since(began))
		}
	}, slowNodes)
}

// A node that just started serves requests for the streams of the others as soon as it
// knows them, and also knows which IDs belong to nobody.
func TestForwardFromNewNode(t *testing.T) {
	runStreams(t, func(t *testing.T, c *cluster, s []*server) {
		client := c.join(s[0])
		c.pass(time.Minute)
		fresh, other := c.start("d"), c.start("e")
		if got := c.post(fresh, client, saying(1)); got != http.StatusNoContent {
			t.Errorf("status %d from a new node", got)
		}
		expect(t, client, 1)
		began := time.Now()
		secret, rest, _ := strings.Cut(client.ConnectionID(), ".")
		unknown := secret + ".x" + rest
		if got := c.ask(other, http.MethodPost, unknown, saying(2)); got.status != http.StatusNotFound || time.Since(began) > 2*time.Second {
			t.Errorf("%v after %v", got, time.Since(began))
		}
		began = time.Now()
		if got := c.ask(other, http.MethodPost, unknown, saying(2)); got.status != http.StatusNotFound || time.Since(began) > 0 {
			t.Errorf("%v after %v", got, time.Since(began))
		}
	}, slowNodes)
}

// rareHeartbeats makes heartbeats so rare that nothing depends on a regular one.
func rareHeartbeats(c *cluster) { c.pond = append(c.pond, pond.WithNodeTimeout(time.Hour)) }

// A lost request is sent again, and a lost answer too. The message is handled once.
func TestForwardAgain(t *testing.T) {
	for _, lost := range []string{"request", "answer"} {
		t.Run(lost, func(t *testing.T) {
			runStreams(t, func(t *testing.T, c *cluster, s []*server) {
				client := c.join(s[0])
				from := s[1]
				if lost == "answer" {
					from = s[0]
				}
				lose := sync.OnceFunc(func() {
					c.bus.SetFaults(memorybroker.Faults{Drop: 1, Silent: true})
					time.AfterFunc(time.Millisecond, func() { c.bus.SetFaults(memorybroker.Faults{}) })
				})
				from.tap.onPublish(func(topic string, _ []byte) {
					if strings.HasPrefix(topic, clusterwire.Private) {
						lose()
					}
				})
				began := time.Now()
				if got := c.post(s[1], client, saying(1)); got != http.StatusNoContent {
					t.Errorf("status %d", got)
				}
				if d := time.Since(began); d == 0 || d > time.Second {
					t.Errorf("it took %v", d)
				}
				expect(t, client, 1)
			}, rareHeartbeats)
		})
	}
}

// A node that did not answer is asked for a heartbeat, and gets requests again when it
// answers.
func TestForwardAfterSilence(t *testing.T) {
	runStreams(t, func(t *testing.T, c *cluster, s []*server) {
		client := c.join(s[0])
		c.bus.SetFaults(memorybroker.Faults{Drop: 1, Silent: true})
		if got := c.post(s[1], client, saying(1)); got != http.StatusGatewayTimeout {
			t.Errorf("status %d", got)
		}
		c.pass(10 * time.Second)
		c.bus.SetFaults(memorybroker.Faults{})
		if got := c.post(s[1], client, saying(2)); got != http.StatusServiceUnavailable {
			t.Errorf("status %d", got)
		}
		c.pass(time.Second)
		if got := c.post(s[1], client, saying(3)); got != http.StatusNoContent {
			t.Errorf("status %d", got)
		}
		expect(t, client, 3)
	}, rareHeartbeats)
}

// After a loss, a node asks for the keys of nodes that it may have missed.
func TestForwardAfterLoss(t *testing.T) {
	runStreams(t, func(t *testing.T, c *cluster, s []*server) {
		s[1].broker.Disconnect()
		client := c.join(c.start("d"))
		c.pass(10 * time.Second)
		s[1].broker.Connect()
		if got := c.post(s[1], client, saying(1)); got != http.StatusNoContent {
			t.Errorf("status %d", got)
		}
		expect(t, client, 1)
	}, rareHeartbeats)
}

// A node that stops waits for the answers to its requests, and rejects further ones.
func TestForwardFromStoppingNode(t *testing.T) {
	runStreams(t, func(t *testing.T, c *cluster, s []*server) {
		client := c.join(s[0])
		c.pass(time.Minute)
		c.bus.SetFaults(memorybroker.Faults{MinDelay: 200 * time.Millisecond, MaxDelay: 300 * time.Millisecond})
		got := make(chan int)
		go func() { got <- c.post(s[1], client, saying(1)) }()
		c.pass(100 * time.Millisecond)
		stopped := make(chan error)
		go func() { stopped <- s[1].Shutdown(t.Context()) }()
		c.pass(time.Millisecond)
		if got := c.ask(s[1], http.MethodPost, client.ConnectionID(), saying(2)); got.status != http.StatusServiceUnavailable || got.retryAfter == "" {
			t.Errorf("%v while the node stops", got)
		}
		if got := <-got; got != http.StatusNoContent {
			t.Errorf("status %d", got)
		}
		if err := <-stopped; err != nil {
			t.Error(err)
		}
		expect(t, client, 1)
		if got := c.ask(s[1], http.MethodPost, client.ConnectionID(), saying(3)); got.status != http.StatusServiceUnavailable {
			t.Errorf("%v after the node stopped", got)
		}
		client.Quiet()
	}, slowNodes)
}

// Messages in a node's own topic that no node of pond sends change nothing.
func TestForwardInvalidMessages(t *testing.T) {
	runStreams(t, func(t *testing.T, c *cluster, s []*server) {
		client := c.join(s[0])
		var answers []string
		s[0].tap.onPublish(func(topic string, message []byte) {
			if strings.HasPrefix(topic, clusterwire.Private) {
				answers = append(answers, string(message))
			}
		})
		var private string
		s[1].tap.onPublish(func(topic string, _ []byte) { private = topic })
		if got := c.post(s[1], client, saying(1)); got != http.StatusNoContent {
			t.Fatalf("status %d", got)
		}
		expect(t, client, 1)
		node := strings.TrimPrefix(private, clusterwire.NodeTopic(""))
		answers = nil
		bad := c.bus.Broker("bad")
		defer bad.Close(t.Context())
		for _, event := range []string{"FORWARD", "ANSWER", "OTHER"} {
			for _, payload := range []string{
				"{}", `{"endpoint":1}`, `{"stream":"x"}`, `{"endpoint":"socket","stream":"AAAA","method":"POST"}`, `{"status":"x"}`, `{"status":1}`,
			} {
				for _, number := range []string{"1", "-1", "x", "99999999999999999999999999"} {
					now := time.Now()
					data, err := clusterwire.Append(nil, &clusterwire.Message{
						Type: clusterwire.UserMessage, ID: clusterwire.NewID(now), Source: "bad", Endpoint: clusterwire.Private, Channel: node,
						Timestamp: now.UnixMilli(), From: clusterwire.FromChannel, Event: event, Payload: []byte(payload), RequestID: number,
						Recipients: clusterwire.Recipients{To: clusterwire.AllUsers},
					})
					if err != nil {
						t.Fatal(err)
					}
					if err := bad.Publish(t.Context(), private, [][]byte{data, data[:len(data)/2]}); err != nil {
						t.Fatal(err)
					}
				}
			}
		}
		c.settle()
		if len(answers) > 0 {
			t.Errorf("the node sent %q", answers)
		}
		if got := c.post(s[1], client, saying(2)); got != http.StatusNoContent {
			t.Errorf("status %d", got)
		}
		expect(t, client, 2)
	})
}

// unconfirmed does not confirm what it publishes for a single node.
type unconfirmed struct{ pond.BrokerLog }

func (b unconfirmed) Publish(ctx context.Context, topic string, batch [][]byte) error {
	err := b.BrokerLog.Publish(ctx, topic, batch)
	if strings.Contains(topic, "__pond__.") {
		<-ctx.Done()
		return context.Cause(ctx)
	}
	return err
}

// The answer of the other node counts, even if the broker does not confirm the request.
func TestForwardWithoutConfirmation(t *testing.T) {
	runOne(t, 2, pondtest.SSE, func(t *testing.T, c *cluster, s []*server) {
		s[0].tap.BrokerLog = unconfirmed{s[0].broker}
		for _, node := range s {
			_ = node.Degraded()
		}
		c.pass(5 * time.Second)
		client := c.join(s[1])
		c.settle()
		for n := range 5 {
			began := time.Now()
			if r := c.ask(s[0], http.MethodPost, client.ConnectionID(), saying(n)); r.status != http.StatusNoContent || time.Since(began) > time.Second {
				t.Fatalf("status %d after %v", r.status, time.Since(began))
			}
		}
	})
}
