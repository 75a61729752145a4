package pondclient_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pondsocket/pond/internal/pipenet"
	"github.com/pondsocket/pond/pondclient"
)

func TestRequirement41AContextCancelsItsOperation(t *testing.T) {
	run(t, func(t *testing.T, f *fake) {
		dialing, stopDialing := context.WithCancel(t.Context())
		var c *pondclient.Client
		dialed := background(func() (err error) {
			c, err = pondclient.Dial(dialing, "wss://example.com/socket", f.options([]pondclient.Option{tlsOff(f)})...)
			return err
		})
		s := f.welcome()
		if err := <-dialed; err != nil {
			t.Fatal(err)
		}
		stopDialing()

		joining, stopJoining := context.WithCancel(t.Context())
		var ch *pondclient.Channel
		joined := background(func() (err error) { ch, err = c.Join(joining, room); return err })
		s.join(`{}`)
		if err := <-joined; err != nil {
			t.Fatal(err)
		}
		stopJoining()

		looping, stopLooping := context.WithCancel(t.Context())
		var got []string
		looped := background(func() error {
			for ev, err := range ch.Events(looping) {
				if err != nil {
					return err
				}
				got = append(got, describe(ev))
			}
			return nil
		})
		s.say(room, 1, 0)
		synctest.Wait()
		stopLooping()
		isError(t, <-looped, context.Canceled)
		s.say(room, 2, 0)

		_, err := ch.Request(within(t, time.Second), "ask", nil)
		isError(t, err, context.DeadlineExceeded)
		isError(t, err, pondclient.ErrUnknownOutcome)
		s.expect("BROADCAST")

		_, err = c.Join(within(t, time.Second), "/chat/2")
		isError(t, err, context.DeadlineExceeded)
		s.expect("JOIN_CHANNEL")
		s.expect("LEAVE_CHANNEL")

		// None of this affected the connection and the channel.
		s.say(room, 3, 0)
		collect(t, ch).is("2 3")
		if fmt.Sprint(got) != "[1]" || f.connects() != 1 {
			t.Errorf("got %v over %d connections", got, f.connects())
		}
		closeNow(t, c)
	})
	run(t, func(t *testing.T, f *fake) { // a request that was not sent is not sent later
		_, ch, _ := offline(t, f)
		_, err := ch.Request(within(t, time.Millisecond), "ask", nil)
		isError(t, err, context.DeadlineExceeded)
		if errors.Is(err, pondclient.ErrUnknownOutcome) {
			t.Errorf("the outcome of %v is known", err)
		}
		s := f.welcome()
		s.join(`{}`)
		s.quiet()
	})
	run(t, func(t *testing.T, f *fake) { // Dial returns the reason
		f.refuseWith(func(*http.Request) *refusal { return &refusal{status: 503, text: "full"} })
		_, err := pondclient.Dial(within(t, time.Minute), "ws://example.com/socket", f.options(nil)...)
		isError(t, err, context.DeadlineExceeded)
		if reason, ok := errors.AsType[*pondclient.ConnectionError](err); !ok || reason.Status != 503 {
			t.Errorf("error %v", err)
		}
		f.refuseWith(func(*http.Request) *refusal { return &refusal{status: 404} })
		_, err = pondclient.Dial(t.Context(), "ws://example.com/socket", f.options(nil)...)
		isError(t, err, pondclient.ErrStopped)
	})
}

// tlsOff makes a client of a wss URL connect without TLS.
func tlsOff(f *fake) pondclient.Option {
	transport := &http.Transport{DialTLSContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return f.listener.Dial(ctx)
	}}
	f.t.Cleanup(transport.CloseIdleConnections)
	return func(cfg *pondclient.Config) {
		pondclient.WithDialContext(nil)(cfg)
		pondclient.WithoutProxyOption()(cfg)
		pondclient.WithHTTPClient(&http.Client{Transport: transport, Timeout: 3 * time.Second})(cfg)
	}
}

func TestRequirement41TheRootContextEndsEverything(t *testing.T) {
	for _, transport := range []pondclient.Transport{pondclient.WebSocket, pondclient.SSE} {
		for name, disturb := range map[string]func(s *socket){
			"working":   func(*socket) {},
			"stalled":   func(s *socket) { s.conn.(*pipenet.Conn).Hold() },
			"unplugged": func(s *socket) { s.conn.(*pipenet.Conn).Unplug() },
			"lost":      func(s *socket) { s.cut() },
		} {
			for how, end := range map[string]func(c *pondclient.Client, cancel func()) error{
				"root": func(_ *pondclient.Client, cancel func()) error { cancel(); return nil },
				"close": func(c *pondclient.Client, _ func()) error {
					ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
					defer cancel()
					return c.Close(ctx)
				},
			} {
				t.Run(fmt.Sprint(transport, " ", name, " ", how), func(t *testing.T) {
					run(t, func(t *testing.T, f *fake) {
						root, cancel := context.WithCancel(context.Background())
						defer cancel()
						c, s := f.connected(pondclient.WithContext(root), pondclient.WithTransport(transport), pondclient.WithoutCompression())
						ch := enter(t, c, s, room, `{}`)
						events := collect(t, ch)
						disturb(s)
						if name != "working" { // an event stream sends over another network connection
							f.postWith(func(r *http.Request, _ string) int { <-r.Context().Done(); return 500 })
						}
						synctest.Wait()
						asked := background(func() error { _, err := ch.Request(t.Context(), "ask", nil); return err })
						joining := background(func() error { _, err := c.Join(t.Context(), "/chat/2"); return err })
						synctest.Wait()
						for range 300 { // more than the network buffers
							if err := ch.Send("say", map[string]string{"text": strings.Repeat("x", 1000)}); err != nil {
								t.Fatal(err)
							}
						}
						before := time.Now()
						err := end(c, cancel)
						isError(t, <-asked, pondclient.ErrClosed)
						isError(t, <-joining, pondclient.ErrClosed)
						if err := events.end(); err != nil {
							t.Error(err)
						}
						closeNow(t, c) // waits for all goroutines
						if d := time.Since(before); d > time.Second {
							t.Errorf("it took %v", d)
						}
						if how == "root" || name == "working" {
							return
						}
						unsent, ok := errors.AsType[*pondclient.UnsentError](err)
						if !ok || len(unsent.Messages) < 100 || unsent.Messages[0].Event != "say" {
							t.Errorf("error %v", err)
						}
						isError(t, err, context.DeadlineExceeded)
					})
				})
			}
		}
	}
}

func TestRequirement44RacesWhileReconnecting(t *testing.T) {
	for _, transport := range []pondclient.Transport{pondclient.WebSocket, pondclient.SSE} {
		t.Run(string(transport), func(t *testing.T) {
			run(t, func(t *testing.T, f *fake) {
				c := f.client(pondclient.WithTransport(transport), pondclient.WithBackoff(pondclient.Backoff{First: 10 * time.Millisecond, Max: 50 * time.Millisecond, Healthy: 1}))
				ctx, cancel := context.WithCancel(t.Context())
				var tasks sync.WaitGroup
				tasks.Go(func() { // a server that answers and breaks
					for ctx.Err() == nil {
						select {
						case s := <-f.sockets:
							s.welcome("recover", "diff")
							tasks.Go(func() { answerAll(ctx, s) })
							tasks.Go(func() {
								time.Sleep(300 * time.Millisecond)
								s.cut()
							})
						case <-ctx.Done():
						}
					}
				})
				work := func(f func(i int)) {
					tasks.Go(func() {
						for i := 0; ctx.Err() == nil; i++ {
							f(i)
							time.Sleep(7 * time.Millisecond)
						}
					})
				}
				for range 4 {
					ch, err := c.Join(ctx, room, pondclient.WithPresence())
					if err != nil {
						t.Fatal(err)
					}
					work(func(i int) { _ = ch.Send("say", map[string]int{"n": i}) })
					work(func(int) { _, _ = ch.Request(ctx, "ask", nil, pondclient.Idempotent()) })
					work(func(int) { ch.Members() })
					tasks.Go(func() {
						for range ch.Events(ctx) {
						}
					})
				}
				work(func(i int) {
					short, cancel := context.WithTimeout(ctx, time.Duration(i%100)*time.Millisecond)
					defer cancel()
					if ch, err := c.Join(short, fmt.Sprint("/chat/", i%3+2)); err == nil {
						_ = ch.Send("say", nil)
						_ = ch.Flush(short)
						_ = ch.Leave(short)
					}
				})
				work(func(i int) {
					c.UserID()
					c.Features()
					c.Transport()
					if i%50 == 0 {
						c.Wake()
						c.SetToken("x")
					}
				})
				time.Sleep(3 * time.Second)
				cancel()
				tasks.Wait()
				if n := f.connects(); n < 5 {
					t.Errorf("%d connections", n)
				}
				closeNow(t, c)
				if channels, requests, queued, bytes := c.Sizes(); channels+requests+queued+bytes != 0 {
					t.Errorf("%d channels, %d requests, %d messages, %d bytes remain", channels, requests, queued, bytes)
				}
			})
		})
	}
}

// answerAll answers everything that a client sends.
func answerAll(ctx context.Context, s *socket) {
	for n := 1; ; n++ {
		m, ok := s.next(ctx.Done())
		if !ok {
			return
		}
		switch m.Action {
		case "JOIN_CHANNEL":
			s.ack(m, `{"recover":{"epoch":"e","offset":0},"diff":true}`)
			s.send("SYSTEM", "PRESENCE_STATE", m.ChannelName, "x", `{"users":[{"id":"a","presence":{}}],"more":false}`, "")
		case "LEAVE_CHANNEL":
			s.reply(m, "EXIT_ACKNOWLEDGE", `{}`)
		default:
			s.send("BROADCAST", "said", m.ChannelName, m.RequestID, `{}`, fmt.Sprintf(`,"offset":%d`, n))
		}
	}
}
