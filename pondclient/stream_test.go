package pondclient_test

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pondsocket/pond/internal/ws"
	"github.com/pondsocket/pond/pondclient"
)

var (
	overStream = pondclient.WithTransport(pondclient.SSE)
	overBoth   = pondclient.WithTransport(pondclient.Auto)
)

// noWebSockets is a proxy that blocks WebSockets.
func noWebSockets(status int) func(r *http.Request) *refusal {
	return func(r *http.Request) *refusal {
		if ws.IsUpgrade(r) {
			return &refusal{status: status}
		}
		return nil
	}
}

func transports(f *fake) (list []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, s := range f.all {
		if ws.IsUpgrade(s.request) {
			list = append(list, "ws")
		} else {
			list = append(list, "sse")
		}
	}
	return list
}

func TestRequirement30FallBackOnlyIfNoWebSocketOpened(t *testing.T) {
	for _, status := range []int{400, 404, 426, 501, 502, 200} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			run(t, func(t *testing.T, f *fake) {
				f.refuseWith(noWebSockets(status))
				c := f.client(overBoth)
				f.welcome()
				if got := c.Transport(); got != pondclient.SSE {
					t.Errorf("transport %q", got)
				}
			})
		})
	}
	for _, status := range []int{401, 403, 503, 429} { // answers of the server itself
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			run(t, func(t *testing.T, f *fake) {
				f.refuseWith(noWebSockets(status))
				f.client(overBoth)
				time.Sleep(time.Hour)
				if got := transports(f); len(got) > 0 {
					t.Errorf("connected over %v", got)
				}
			})
		})
	}
	t.Run("a proxy that ends WebSockets at once", func(t *testing.T) {
		run(t, func(t *testing.T, f *fake) {
			f.client(overBoth)
			f.accept().cut()
			s := f.welcome()
			if ws.IsUpgrade(s.request) {
				t.Error("it tries a WebSocket again")
			}
		})
	})
	t.Run("was healthy", func(t *testing.T) {
		run(t, func(t *testing.T, f *fake) {
			f.client(overBoth)
			s := f.welcome()
			f.refuseWith(noWebSockets(502))
			s.cut()
			time.Sleep(time.Hour)
			if got := transports(f); !slices.Equal(got, []string{"ws"}) {
				t.Errorf("connected over %v", got)
			}
			f.refuseWith(nil)
			if s := f.welcome(); !ws.IsUpgrade(s.request) {
				t.Error("it connected over an event stream")
			}
		})
	})
	t.Run("neither works", func(t *testing.T) {
		run(t, func(t *testing.T, f *fake) {
			f.refuseWith(func(*http.Request) *refusal { return &refusal{status: 404} })
			c := f.client(overBoth)
			isError(t, c.Ready(t.Context()), pondclient.ErrStopped)
			if n := f.connects(); n != 2 {
				t.Errorf("%d attempts", n)
			}
		})
	})
}

func TestRequirement31FallbackExpires(t *testing.T) {
	run(t, func(t *testing.T, f *fake) {
		f.refuseWith(noWebSockets(502))
		f.client(overBoth)
		s := f.welcome()
		for range 3 {
			s.cut()
			s = f.welcome()
			if ws.IsUpgrade(s.request) {
				t.Error("it forgot the fallback")
			}
		}
		f.refuseWith(nil)
		for range 70 { // eleven minutes
			s.stream(": keepalive\n\n")
			time.Sleep(10 * time.Second)
		}
		s.cut()
		s = f.welcome()
		if !ws.IsUpgrade(s.request) {
			t.Error("it does not try a WebSocket again")
		}
	})
	run(t, func(t *testing.T, f *fake) { // WebSockets still do not work
		f.refuseWith(noWebSockets(502))
		f.client(overBoth)
		for range 10 {
			s := f.welcome()
			for range 70 {
				s.stream(": keepalive\n\n")
				time.Sleep(10 * time.Second)
			}
			s.cut()
		}
		if n := f.connects(); n < 19 || n > 21 {
			t.Errorf("%d attempts for 10 connections", n)
		}
	})
}

func TestRequirement33Streams(t *testing.T) {
	run(t, func(t *testing.T, f *fake) { // fresh headers for each attempt, retry by status
		source, _ := counted(time.Minute)
		f.client(overStream, pondclient.WithTokenSource(source), pondclient.WithHeader(http.Header{"X-App": {"1"}}))
		last := 0
		for range 3 {
			s := f.welcome()
			token, err := strconv.Atoi(bearer(s.request))
			if err != nil || token <= last || s.request.Header.Get("X-App") != "1" || s.request.Header.Get("Accept-Encoding") != "identity" {
				t.Errorf("headers %v after token %d", s.request.Header, last)
			}
			last = token
			f.refuseWith(func(*http.Request) *refusal { return &refusal{status: 502} })
			s.cut()
			time.Sleep(70 * time.Second)
			f.refuseWith(nil)
		}
	})
	run(t, func(t *testing.T, f *fake) { // a real abort
		c, s := f.connected(overStream)
		if err := c.Close(t.Context()); err != nil {
			t.Error(err)
		}
		s.gone()
	})
	run(t, func(t *testing.T, f *fake) { // what an event stream may contain
		c, s := f.connected(overStream)
		ch := enter(t, c, s, room, `{}`)
		events := collect(t, ch)
		s.stream("retry: 5\n\n: comment\nevent: said\nid: k3.1\r\ndata: {\"action\":\"BROADCAST\",\"event\":\"a\",\r\ndata:\n\n")
		events.is("gap:invalid") // an incomplete document on a line is not a message
		s.stream("event: x\ndata: {\"action\":\"BROADCAST\",\"event\":\"a\",\"channelName\":\"/chat/1\"}\n" +
			"data:{\"action\":\"BROADCAST\",\"event\":\"b\",\"channelName\":\"/chat/1\"}\nunknown\n\n")
		long := strings.Repeat("x", 100_000)
		s.stream("data: {\"action\":\"BROADCAST\",\"event\":\"c\",\"channelName\":\"/chat/1\",\"payload\":{\"text\":\"" + long + "\"}}\n\n")
		events.is("a b c")
		if got := events.raw[3].(*pondclient.Message); len(got.Payload) != len(long)+len(`{"text":""}`) {
			t.Errorf("%d bytes", len(got.Payload))
		}
	})
	run(t, func(t *testing.T, f *fake) { // a message that is too long ends the connection
		_, s := f.connected(overStream, pondclient.WithMaxMessageSize(50_000))
		s.stream("data: " + strings.Repeat("x", 60_000))
		s.gone()
	})
	run(t, func(t *testing.T, f *fake) { // a page of a proxy is not an event stream
		f.refuseWith(func(*http.Request) *refusal { return &refusal{status: 200, text: "log in, please"} })
		f.client(overStream)
		time.Sleep(time.Minute)
		if n := f.connects(); n < 4 {
			t.Errorf("%d attempts", n)
		}
	})
}

func TestRequirement34PostsAreInOrder(t *testing.T) {
	t.Run("one by one", func(t *testing.T) { testPosts(t, nil) })
	t.Run("arrays", func(t *testing.T) { testPosts(t, []string{"recover"}) })
}

func testPosts(t *testing.T, features []string) {
	run(t, func(t *testing.T, f *fake) {
		running := make(chan struct{}, 1)
		f.postWith(func(*http.Request, string) int {
			select {
			case running <- struct{}{}:
			default:
				t.Error("two POSTs at a time")
			}
			time.Sleep(50 * time.Millisecond)
			<-running
			return 0
		})
		c := f.client(overStream)
		s := f.welcome(features...)
		ch := enter(t, c, s, room, `{}`)
		const messages = 500
		for i := range messages {
			if err := ch.Send("say", map[string]int{"n": i}); err != nil {
				t.Fatal(err)
			}
		}
		for i := range messages {
			if m := s.expect("BROADCAST"); string(m.Payload) != fmt.Sprintf(`{"n":%d}`, i) {
				t.Fatalf("message %d is %s", i, m.Payload)
			}
		}
		if features == nil && len(f.posts) != messages+1 || features != nil && len(f.posts) > 40 {
			t.Errorf("%d POSTs for %d messages", len(f.posts), messages)
		}
		for _, body := range f.posts {
			if len(body) > 70_000 {
				t.Errorf("a body of %d bytes", len(body))
			}
		}
		if err := c.Close(t.Context()); err != nil {
			t.Error(err)
		}
		for method := range f.methods {
			if method != http.MethodGet && method != http.MethodPost {
				t.Errorf("method %s", method)
			}
		}
	})
}

func TestRequirement34AnswersToPosts(t *testing.T) {
	// answers are the server's responses to POSTs with this event.
	tests := map[string]struct {
		answers []int // by attempt; 0 takes the message
		kept    bool  // the connection
		events  string
		arrives string
	}{
		"taken":           {nil, true, "", "[a b c]"},
		"busy":            {[]int{503, 503, 429}, true, "", "[a b c]"},
		"always busy":     {[]int{503, 503, 503, 503, 503, 503, 503, 503, 503, 503}, false, "gap:fresh", "[a b c]"},
		"refused":         {[]int{413}, true, "failure b: 413 no", "[a c]"},
		"bad":             {[]int{400}, true, "failure b: 400 no", "[a c]"},
		"gone":            {[]int{404}, false, "gap:fresh", "[a b c]"},
		"perhaps":         {[]int{502}, false, "failure b: " + pondclient.ErrUnknownOutcome.Error() + " gap:fresh", "[a c]"},
		"token is stale":  {[]int{401}, true, "", "[a b c]"},
		"and stays stale": {[]int{401, 401}, false, "gap:fresh", "[a b c]"},
	}
	for name, test := range tests {
		for _, features := range [][]string{nil, {"recover"}} {
			t.Run(fmt.Sprint(name, features), func(t *testing.T) {
				run(t, func(t *testing.T, f *fake) {
					source, _ := counted(0)
					c := f.client(overStream, pondclient.WithTokenSource(source))
					s := f.welcome(features...)
					ch := enter(t, c, s, room, `{}`)
					events := collect(t, ch)
					answers := test.answers
					f.postWith(func(_ *http.Request, body string) int {
						if len(answers) == 0 || !strings.Contains(body, `"event":"b"`) {
							return 0
						}
						if strings.HasPrefix(body, "[") && (answers[0] == 400 || answers[0] == 413) {
							return answers[0] // after that, each message is sent separately
						}
						status := answers[0]
						answers = answers[1:]
						return status
					})
					for _, event := range []string{"a", "b", "c"} {
						if err := ch.Send(event, nil); err != nil {
							t.Fatal(err)
						}
						if features == nil || name == "perhaps" { // otherwise a and c fail as well
							synctest.Wait()
						}
					}
					if !test.kept {
						s2 := f.welcome(features...)
						s2.join(`{}`)
						time.Sleep(time.Minute)
						events.is(test.events)
						if got := fmt.Sprint(append(drain(s), drain(s2)...)); got != test.arrives {
							t.Errorf("arrived %s, want %s", got, test.arrives)
						}
						return
					}
					time.Sleep(time.Minute)
					events.is(test.events)
					if got := fmt.Sprint(drain(s)); got != test.arrives {
						t.Errorf("arrived %s, want %s", got, test.arrives)
					}
				})
			})
		}
	}
}

// drain returns the events that a connection received.
func drain(s *socket) (events []string) {
	for {
		m, ok := s.poll()
		if !ok {
			return events
		}
		events = append(events, m.Event)
	}
}

func TestRequirement34APostThatFailsIsNotRepeated(t *testing.T) {
	run(t, func(t *testing.T, f *fake) {
		c := f.client(overStream)
		s := f.welcome()
		ch := enter(t, c, s, room, `{}`)
		events := collect(t, ch)
		f.postWith(func(r *http.Request, body string) int {
			if strings.Contains(body, `"event":"lost"`) {
				s.take(body)
				panic(http.ErrAbortHandler) // it was accepted, but the response is lost
			}
			return 0
		})
		asked := background(func() error { _, err := ch.Request(t.Context(), "lost", nil); return err })
		isError(t, <-asked, pondclient.ErrUnknownOutcome)
		again := background(func() error {
			_, err := ch.Request(t.Context(), "lost", nil, pondclient.Idempotent())
			return err
		})
		s = f.welcome()
		s.join(`{}`)
		if m := s.expect("BROADCAST"); m.Event != "lost" {
			t.Errorf("sent %+v", m)
		}
		f.postWith(nil)
		s = f.welcome()
		s.join(`{}`)
		s.reply(s.expect("BROADCAST"), "done", `{}`)
		if err := <-again; err != nil {
			t.Error(err)
		}
		events.is("gap:fresh gap:fresh")
	})
}
