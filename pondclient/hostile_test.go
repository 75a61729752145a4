package pondclient_test

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pondsocket/pond"
	"github.com/pondsocket/pond/pondclient"
)

// Positions that contradict the client's request. The client must not report that it
// recovered, and must not move back.
func TestPositionsThatDoNotFollow(t *testing.T) {
	at12 := `{"recover":{"epoch":"k3","offset":12}}`
	rejoined := func(t *testing.T, f *fake, ack string) (*collector, *socket) {
		c := f.client()
		s := f.welcome("recover")
		events := collect(t, enter(t, c, s, room, at12))
		s.cut()
		s = f.welcome("recover")
		s.join(ack)
		return events, s
	}
	for name, ack := range map[string]string{
		"recovered from a later offset": `{"recover":{"epoch":"k3","offset":15,"to":20,"recovered":true}}`,
		"recovered in another epoch":    `{"recover":{"epoch":"k4","offset":12,"to":20,"recovered":true}}`,
		"recovered from nowhere":        `{"recover":{"recovered":true}}`,
		"no epoch":                      `{"recover":{"offset":12}}`,
		"wrong type":                    `{"recover":true}`,
		"wrong types":                   `{"recover":{"epoch":3,"offset":"12","to":[],"recovered":"true"}}`,
		"negative":                      `{"recover":{"epoch":"k3","offset":-12,"to":-1,"recovered":true}}`,
	} {
		t.Run(name, func(t *testing.T) {
			run(t, func(t *testing.T, f *fake) {
				events, s := rejoined(t, f, ack)
				s.send("SYSTEM", "RECOVERED", room, "x", `{"epoch":"k3","offset":20}`, "")
				if got := events.take(); !strings.HasPrefix(got, "gap:") || strings.Contains(got, "recovered") {
					t.Errorf("events: %s", got)
				}
			})
		})
	}
	for name, opts := range map[string][]pondclient.JoinOption{
		"no position was asked for": nil,
		"no recovery is wanted":     {pondclient.WithoutRecovery()},
	} {
		t.Run(name, func(t *testing.T) {
			run(t, func(t *testing.T, f *fake) {
				c := f.client()
				s := f.welcome("recover")
				events := collect(t, enter(t, c, s, room, `{}`, opts...))
				s.cut()
				s = f.welcome("recover")
				s.join(`{"recover":{"epoch":"k3","offset":12,"to":13,"recovered":true}}`)
				s.say(room, 13, 13)
				s.send("SYSTEM", "RECOVERED", room, "x", `{"epoch":"k3","offset":13}`, "")
				s.say(room, 14, 14)
				if opts == nil {
					events.is("gap:fresh 13r 14")
				} else {
					events.is("gap:fresh 13 RECOVERED 14")
				}
			})
		})
	}
	t.Run("a gap in the replay", func(t *testing.T) {
		run(t, func(t *testing.T, f *fake) {
			events, s := rejoined(t, f, `{"recover":{"epoch":"k3","offset":12,"to":20,"recovered":true}}`)
			s.say(room, 13, 13)
			s.send("SYSTEM", "GAP", room, "x", `{"epoch":"k3","offset":18,"reason":"expired"}`, "")
			s.say(room, 19, 19)
			s.send("SYSTEM", "RECOVERED", room, "x", `{"epoch":"k3","offset":20}`, "")
			s.say(room, 21, 21)
			events.is("13r gap:expired 19r 21")
		})
	})
	for name, notice := range map[string]string{
		"back":          `{"epoch":"k3","offset":11}`,
		"another epoch": `{"epoch":"k4","offset":14}`,
		"wrong types":   `{"epoch":7,"offset":"14"}`,
		"nothing":       `{}`,
	} {
		for _, event := range []string{"RECOVERED", "POSITION"} {
			t.Run(event+" "+name, func(t *testing.T) {
				run(t, func(t *testing.T, f *fake) {
					events, s := rejoined(t, f, `{"recover":{"epoch":"k3","offset":12,"to":13,"recovered":true}}`)
					s.say(room, 13, 13)
					s.send("SYSTEM", event, room, "x", notice, "")
					s.expect("LEAVE_CHANNEL")
					if m := s.expect("JOIN_CHANNEL"); string(m.From) != `{"epoch":"k3","offset":13,"id":"u1"}` {
						t.Errorf("joined with from %s", m.From)
					}
					events.is("13r gap:disorder")
				})
			})
		}
	}
}

// A response that never ends is covered by the deadline, too.
func TestRefusalsThatDoNotEnd(t *testing.T) {
	for _, over := range bothTransports {
		t.Run(string(over), func(t *testing.T) {
			run(t, func(t *testing.T, f *fake) {
				f.refuseWith(func(r *http.Request) *refusal {
					return &refusal{status: http.StatusServiceUnavailable, header: http.Header{"Content-Length": {"100"}}, hang: true}
				})
				f.client(pondclient.WithTransport(over))
				time.Sleep(30 * time.Second)
				f.refuseWith(nil)
				before := time.Now()
				f.welcome()
				if d := time.Since(before); d > time.Minute {
					t.Errorf("connected after %v", d)
				}
			})
		})
	}
}

// A message that the server never takes must not keep the client from working.
func TestPoison(t *testing.T) {
	t.Run("a join by POST", func(t *testing.T) {
		run(t, func(t *testing.T, f *fake) {
			c := f.client(overStream)
			f.welcome()
			f.postWith(func(*http.Request, string) int { return http.StatusRequestEntityTooLarge })
			_, err := c.Join(within(t, time.Minute), room)
			if e, ok := errors.AsType[*pond.Error](err); !ok || e.Code != http.StatusRequestEntityTooLarge {
				t.Errorf("error %v", err)
			}
		})
	})
	t.Run("a rejoin by POST", func(t *testing.T) {
		run(t, func(t *testing.T, f *fake) {
			c := f.client(overStream)
			s := f.welcome()
			events := collect(t, enter(t, c, s, room, `{}`))
			f.postWith(func(*http.Request, string) int { return http.StatusBadRequest })
			s.cut()
			f.welcome()
			if e, ok := errors.AsType[*pond.Error](events.end()); !ok || e.Code != http.StatusBadRequest {
				t.Errorf("error %v", events.err)
			}
		})
	})
	t.Run("a join over a WebSocket", func(t *testing.T) {
		run(t, func(t *testing.T, f *fake) {
			c := f.client()
			s := f.welcome()
			events := collect(t, enter(t, c, s, "/chat/2", `{}`))
			joined := background(func() error {
				_, err := c.Join(within(t, time.Hour), room, pondclient.WithParams(map[string]string{"x": strings.Repeat("x", 1<<20)}))
				return err
			})
			s.expect("JOIN_CHANNEL")
			s.closeWith(1009, "too large")
			err := <-joined
			if e, ok := errors.AsType[*pond.Error](err); !ok || e.Code != http.StatusRequestEntityTooLarge {
				t.Errorf("error %v", err)
			}
			s = f.welcome()
			s.join(`{}`)
			events.is("gap:fresh")
			s.quiet()
		})
	})
	t.Run("a request over a WebSocket", func(t *testing.T) {
		run(t, func(t *testing.T, f *fake) {
			c := f.client()
			s := f.welcome()
			ch := enter(t, c, s, room, `{}`)
			asked := background(func() error {
				_, err := ch.Request(t.Context(), "x", map[string]string{"x": strings.Repeat("x", 1<<20)}, pondclient.Idempotent())
				return err
			})
			s.expect("BROADCAST")
			s.closeWith(1009, "too large")
			s = f.welcome()
			s.join(`{}`)
			err := <-asked
			if e, ok := errors.AsType[*pond.Error](err); !ok || e.Code != http.StatusRequestEntityTooLarge {
				t.Errorf("error %v", err)
			}
			s.quiet()
		})
	})
}

func TestAdviceWithoutBounds(t *testing.T) {
	for _, value := range []string{"99999999999999999999999999", "9223372036854775807", "700"} {
		run(t, func(t *testing.T, f *fake) {
			f.refuseWith(func(*http.Request) *refusal {
				return &refusal{status: 429, header: http.Header{"Retry-After": {value}}}
			})
			f.client()
			time.Sleep(9 * time.Minute)
			if n := f.connects(); n != 1 {
				t.Errorf("%s: %d attempts in nine minutes", value, n)
			}
		})
	}
	for _, value := range []string{"0", "-1", "-99999999999999999999999", "1.5", "x", ""} {
		run(t, func(t *testing.T, f *fake) {
			f.refuseWith(func(*http.Request) *refusal {
				return &refusal{status: 429, header: http.Header{"Retry-After": {value}}}
			})
			f.client()
			time.Sleep(9 * time.Minute)
			if n := f.connects(); n < 10 || n > 100 {
				t.Errorf("%s: %d attempts in nine minutes", value, n)
			}
		})
	}
}

func TestAServerThatIsBusyForTooLong(t *testing.T) {
	run(t, func(t *testing.T, f *fake) {
		c := f.client(overStream)
		s := f.welcome()
		ch := enter(t, c, s, room, `{}`)
		events := collect(t, ch)
		f.postWith(func(*http.Request, string) int { return 429 })
		f.retry = "3600"
		if err := ch.Send("x", nil); err != nil {
			t.Fatal(err)
		}
		for range 20 { // the stream works
			time.Sleep(15 * time.Second)
			s.stream(": keepalive\n\n")
		}
		events.is("failure x: 429 no")
		before := len(f.posts)
		for _, event := range []string{"1", "2", "3"} {
			if err := ch.Send(event, nil); err != nil {
				t.Fatal(err)
			}
		}
		events.is("failure 1: 429 no failure 2: 429 no failure 3: 429 no")
		if n := len(f.posts) - before; n > 3 {
			t.Errorf("%d POSTs to a busy server", n)
		}
		f.postWith(nil)
		if err := ch.Send("y", nil); err != nil {
			t.Fatal(err)
		}
		if m := s.expect("BROADCAST"); m.Event != "y" {
			t.Errorf("sent %s", m.Event)
		}
	})
}

func TestAPostThatIsRedirectedIsNotSent(t *testing.T) {
	for _, status := range []int{301, 302, 303} {
		run(t, func(t *testing.T, f *fake) {
			c := f.client(overStream)
			s := f.welcome()
			ch := enter(t, c, s, room, `{}`)
			events := collect(t, ch)
			f.postWith(func(*http.Request, string) int { return status })
			f.refuseWith(func(r *http.Request) *refusal {
				if r.URL.Path == "/login" {
					return &refusal{status: 200, text: "please log in"}
				}
				return nil
			})
			if err := ch.Send("x", nil); err != nil {
				t.Fatal(err)
			}
			if got := events.take(); !strings.HasPrefix(got, fmt.Sprintf("failure x: 502 the POST was redirected with status %d", status)) {
				t.Errorf("%d: events: %s", status, got)
			}
		})
	}
}

// Some servers answer on the channel of the endpoint.
func TestRefusalsOnAnotherChannel(t *testing.T) {
	for _, channel := range []string{"ENDPOINT", "GATEWAY", ""} {
		for _, action := range []string{"ERROR", "SYSTEM"} {
			run(t, func(t *testing.T, f *fake) {
				c, s := f.connected()
				joined := background(func() error { _, err := c.Join(within(t, time.Minute), room); return err })
				m := s.expect("JOIN_CHANNEL")
				s.send(action, "INTERNAL_ERROR", channel, m.RequestID, `{"message":"no","code":500}`, "")
				if e, ok := errors.AsType[*pond.Error](<-joined); !ok || e.Message != "no" {
					t.Errorf("%s %s: %v", action, channel, e)
				}
				s.send(action, "INTERNAL_ERROR", channel, m.RequestID, `{"message":"no","code":500}`, "")
			})
		}
	}
	run(t, func(t *testing.T, f *fake) { // of a message
		c, s := f.connected()
		ch := enter(t, c, s, room, `{}`)
		events := collect(t, ch)
		if err := ch.Send("x", nil); err != nil {
			t.Fatal(err)
		}
		m := s.expect("BROADCAST")
		s.send("SYSTEM", "INTERNAL_ERROR", "GATEWAY", m.RequestID, `{"message":"no","code":500}`, "")
		events.is("failure x: 500 no: INTERNAL_ERROR")
	})
}

// What cannot be read may have been a message.
func TestWhatCannotBeReadIsAGap(t *testing.T) {
	for name, text := range map[string]string{
		"offset":       `{"action":"BROADCAST","event":"said","channelName":"/chat/1","requestId":"x","payload":{},"offset":"13"}`,
		"request ID":   `{"action":"BROADCAST","event":"said","channelName":"/chat/1","requestId":7,"payload":{}}`,
		"event":        `{"action":"BROADCAST","event":{},"channelName":"/chat/1","requestId":"x","payload":{}}`,
		"action":       `{"action":["BROADCAST"],"event":"said","channelName":"/chat/1","requestId":"x","payload":{}}`,
		"not a number": `{"action":"BROADCAST","event":"said","channelName":"/chat/1","requestId":"x","payload":{"x":NaN}}`,
		"half":         `{"action":"BROADCAST","event":"said","channelName":"/cha`,
		"junk":         strings.Repeat("junk", 1<<18),
	} {
		t.Run(name, func(t *testing.T) {
			run(t, func(t *testing.T, f *fake) {
				c, s := f.connected()
				events := collect(t, enter(t, c, s, room, `{}`))
				other := collect(t, enter(t, c, s, "/chat/2", `{}`))
				s.raw(text)
				synctest.Wait()
				s.say(room, 1, 0)
				events.is("gap:invalid 1")
				want := ""
				if !strings.Contains(text, `"/chat/1"`) || strings.Contains(text, "NaN") {
					want = "gap:invalid"
				}
				other.is(want)
			})
		})
	}
}
