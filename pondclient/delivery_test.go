package pondclient_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pondsocket/pond"
	"github.com/pondsocket/pond/pondclient"
)

const room = "/chat/1"

// offline returns a client that was a member and lost its connection.
func offline(t *testing.T, f *fake, opts ...pondclient.Option) (*pondclient.Client, *pondclient.Channel, *collector) {
	t.Helper()
	c, s := f.connected(opts...)
	ch := enter(t, c, s, room, `{}`)
	events := collect(t, ch)
	s.cut()
	synctest.Wait()
	return c, ch, events
}

func TestRequirement22TheOfflineQueueIsBounded(t *testing.T) {
	t.Run("number", func(t *testing.T) {
		run(t, func(t *testing.T, f *fake) {
			_, ch, _ := offline(t, f, pondclient.WithQueue(pondclient.Queue{Messages: 3}))
			for i := range 3 {
				if err := ch.Send(fmt.Sprint("e", i), nil); err != nil {
					t.Fatal(err)
				}
			}
			isError(t, ch.Send("e3", nil), pondclient.ErrQueueFull)
			_, err := ch.Request(t.Context(), "e4", nil)
			isError(t, err, pondclient.ErrQueueFull)
			s := f.welcome()
			s.join(`{}`)
			for i := range 3 {
				if m := s.expect("BROADCAST"); m.Event != fmt.Sprint("e", i) {
					t.Errorf("sent %s", m.Event)
				}
			}
			s.quiet()
			if err := ch.Send("more", nil); err != nil {
				t.Error(err)
			}
		})
	})
	t.Run("none", func(t *testing.T) {
		run(t, func(t *testing.T, f *fake) {
			_, ch, _ := offline(t, f, pondclient.WithQueue(pondclient.Queue{Messages: -1}))
			isError(t, ch.Send("e", nil), pondclient.ErrQueueFull)
		})
	})
	t.Run("bytes", func(t *testing.T) {
		run(t, func(t *testing.T, f *fake) {
			_, ch, _ := offline(t, f, pondclient.WithQueue(pondclient.Queue{Bytes: 10_000}))
			payload := map[string]string{"text": strings.Repeat("x", 4000)}
			for _, want := range []error{nil, nil, pondclient.ErrQueueFull} {
				if err := ch.Send("e", payload); !errors.Is(err, want) {
					t.Errorf("error %v, want %v", err, want)
				}
			}
			if err := ch.Send("small", nil); err != nil {
				t.Error(err)
			}
		})
	})
	t.Run("age", func(t *testing.T) {
		run(t, func(t *testing.T, f *fake) {
			_, ch, events := offline(t, f, pondclient.WithQueue(pondclient.Queue{Age: 20 * time.Second}))
			f.accept() // the server sends nothing
			if err := ch.Send("old", map[string]int{"n": 1}); err != nil {
				t.Fatal(err)
			}
			asked := background(func() error { _, err := ch.Request(t.Context(), "ask", nil); return err })
			time.Sleep(15 * time.Second)
			events.is("")
			if err := ch.Send("young", nil); err != nil {
				t.Fatal(err)
			}
			time.Sleep(10 * time.Second)
			events.is("failure old: " + pondclient.ErrExpired.Error())
			isError(t, <-asked, pondclient.ErrExpired)
			s := f.welcome()
			s.join(`{}`)
			if m := s.expect("BROADCAST"); m.Event != "young" {
				t.Errorf("sent %s", m.Event)
			}
			s.quiet()
		})
	})
	t.Run("discard", func(t *testing.T) {
		run(t, func(t *testing.T, f *fake) {
			_, ch, events := offline(t, f)
			asked := background(func() error { _, err := ch.Request(t.Context(), "ask", nil); return err })
			synctest.Wait()
			for i := range 3 {
				if err := ch.Send(fmt.Sprint("e", i), map[string]int{"i": i}); err != nil {
					t.Fatal(err)
				}
			}
			got := ch.Discard()
			if len(got) != 3 || got[2].Event != "e2" || string(got[2].Payload) != `{"i":2}` || got[2].Channel != room {
				t.Errorf("discarded %+v", got)
			}
			isError(t, <-asked, pondclient.ErrDiscarded)
			s := f.welcome()
			s.join(`{}`)
			s.quiet()
			events.is("gap:fresh")
		})
	})
}

func TestRequirement23OnlyIdempotentRequestsAreRepeated(t *testing.T) {
	run(t, func(t *testing.T, f *fake) {
		c, s := f.connected()
		ch := enter(t, c, s, room, `{}`)
		events := collect(t, ch)
		once := background(func() error { _, err := ch.Request(t.Context(), "once", nil); return err })
		s.expect("BROADCAST")
		again := background(func() string {
			m, err := ch.Request(t.Context(), "again", nil, pondclient.Idempotent())
			if err != nil {
				return err.Error()
			}
			return m.Event
		})
		s.expect("BROADCAST")
		for range 3 {
			s.cut()
			s = f.welcome()
			s.join(`{}`)
			if m := s.expect("BROADCAST"); m.Event != "again" {
				t.Errorf("sent %s again", m.Event)
			}
		}
		isError(t, <-once, pondclient.ErrUnknownOutcome)
		s.cut()
		s = f.welcome()
		s.join(`{}`)
		s.reply(s.expect("BROADCAST"), "done", `{}`)
		if got := <-again; got != "done" {
			t.Errorf("got %s", got)
		}
		s.quiet()
		events.is("gap:fresh gap:fresh gap:fresh gap:fresh")
	})
}

func TestRequirement23Answers(t *testing.T) {
	run(t, func(t *testing.T, f *fake) {
		c, s := f.connected()
		ch := enter(t, c, s, room, `{}`)
		events := collect(t, ch)
		type answer struct {
			m   *pondclient.Message
			err error
		}
		ask := func(opts ...pondclient.SendOption) (received, <-chan answer) {
			got := background(func() answer {
				m, err := ch.Request(t.Context(), "ask", map[string]int{"x": 1}, opts...)
				return answer{m, err}
			})
			return s.expect("BROADCAST"), got
		}
		m, got := ask()
		s.reply(m, "answer", `{"y":2}`)
		if a := <-got; a.err != nil || a.m.Event != "answer" || string(a.m.Payload) != `{"y":2}` || !a.m.Direct {
			t.Errorf("got %+v", a)
		}
		events.is("") // the answer is not also an event

		m, got = ask() // a broadcast answers, and is an event
		s.send("BROADCAST", "said", room, m.RequestID, `{"n":5}`, "")
		if a := <-got; a.err != nil || a.m.Event != "said" || a.m.Direct {
			t.Errorf("got %+v", a)
		}
		events.is("5")
		s.reply(m, "second", `{}`) // a reply without a request is an event
		events.is("second")

		m, got = ask(pondclient.ReplyNamed("answer"))
		s.send("PRESENCE", "JOIN", room, m.RequestID, `{"changed":{},"presence":[]}`, "")
		s.send("BROADCAST", "said", room, m.RequestID, `{"n":6}`, "")
		s.reply(m, "answer", `{}`)
		if a := <-got; a.err != nil || a.m.Event != "answer" {
			t.Errorf("got %+v", a)
		}
		events.is("6")

		for event, payload := range map[string]string{
			"HANDLER_NOT_FOUND": `{"code":409,"message":"no","status":409,"statusCode":409,"error":{"message":"no","status":409},"details":[1]}`,
			"INVALID_MESSAGE":   `{"error":{"message":"no","status":409},"details":[1]}`,
			"CHANNEL_ERROR":     `{"code":"CHANNEL_ERROR","error":"no","statusCode":409,"details":[1]}`,
		} {
			m, got = ask()
			s.send("ERROR", event, room, m.RequestID, payload, "")
			a := <-got
			if e, ok := errors.AsType[*pond.Error](a.err); !ok || e.Code != 409 || e.Message != "no" || fmt.Sprintf("%s", e.Details) != "[1]" {
				t.Errorf("%s: error %v", event, a.err)
			}
			isError(t, a.err, pondclient.Code(event))
		}
		m, got = ask()
		s.send("SYSTEM", "NOT_FOUND", room, m.RequestID, `{"channel":"/chat/1"}`, "")
		if a := <-got; !errors.Is(a.err, pondclient.Code("NOT_FOUND")) {
			t.Errorf("error %v", a.err)
		}

		// An error that does not answer a request is a failure of the sent message.
		if err := ch.Send("say", nil); err != nil {
			t.Error(err)
		}
		m = s.expect("BROADCAST")
		s.send("ERROR", "HANDLER_NOT_FOUND", room, m.RequestID, `{"code":429,"message":"too many messages"}`, "")
		s.send("ERROR", "INVALID_MESSAGE", "ENDPOINT", m.RequestID, `{"status":413,"message":"too large"}`, "")
		events.is("failure say: 429 too many messages: HANDLER_NOT_FOUND failure say: 413 too large: INVALID_MESSAGE")
	})
}

func TestRequirement24CallsDuringClosingSettle(t *testing.T) {
	run(t, func(t *testing.T, f *fake) {
		c, s := f.connected()
		ch := enter(t, c, s, room, `{}`)
		events := collect(t, ch)
		sent := background(func() error { _, err := ch.Request(t.Context(), "sent", nil); return err })
		s.expect("BROADCAST")
		joining := background(func() error { _, err := c.Join(t.Context(), "/chat/2"); return err })
		s.expect("JOIN_CHANNEL")
		closed := background(func() error { return c.Close(t.Context()) })
		again := background(func() error { return c.Close(t.Context()) })
		for _, err := range []error{<-sent, <-joining} {
			isError(t, err, pondclient.ErrClosed)
		}
		if err := errors.Join(<-closed, <-again, events.end()); err != nil {
			t.Error(err)
		}
		_, err := ch.Request(t.Context(), "late", nil)
		isError(t, err, pondclient.ErrClosed)
		isError(t, ch.Send("late", nil), pondclient.ErrClosed)
		_, err = c.Join(t.Context(), "/chat/3")
		isError(t, err, pondclient.ErrClosed)
		isError(t, c.Ready(t.Context()), pondclient.ErrClosed)
		if err := errors.Join(ch.Flush(t.Context()), ch.Leave(t.Context()), c.Close(t.Context())); err != nil {
			t.Error(err)
		}
		for range ch.Events(t.Context()) {
			t.Error("an event after Close")
		}
	})
	run(t, func(t *testing.T, f *fake) { // a request that waits for the connection, while it closes
		c, ch, _ := offline(t, f)
		asked := background(func() error { _, err := ch.Request(t.Context(), "ask", nil); return err })
		synctest.Wait()
		ctx := within(t, 100*time.Millisecond)
		if err := c.Close(ctx); err != nil { // requests are settled, so they are not reported
			t.Error(err)
		}
		isError(t, <-asked, pondclient.ErrClosed)
	})
}
