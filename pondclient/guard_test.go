package pondclient_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pondsocket/pond/internal/pipenet"
	"github.com/pondsocket/pond/internal/ws"
	"github.com/pondsocket/pond/pondclient"
)

// Tests of details that are not part of a requirement.

// block makes the client's writer wait: the server stops reading.
func block(t *testing.T, s *socket, ch *pondclient.Channel) {
	t.Helper()
	s.conn.(*pipenet.Conn).Hold()
	for range 300 {
		if err := ch.Send("say", map[string]string{"text": strings.Repeat("x", 1000)}); err != nil {
			t.Fatal(err)
		}
	}
	synctest.Wait()
}

func TestAnEndIsNoticedWhileWritingIsBlocked(t *testing.T) {
	run(t, func(t *testing.T, f *fake) {
		c, s := f.connected(pondclient.WithoutCompression())
		ch := enter(t, c, s, room, `{}`)
		block(t, s, ch)
		before := time.Now()
		s.closeWith(1001, "")
		f.welcome()
		if d := time.Since(before); d > 2*time.Second {
			t.Errorf("connected again after %v", d)
		}
	})
}

func TestABlockedWriteEndsTheConnection(t *testing.T) {
	run(t, func(t *testing.T, f *fake) {
		c, s := f.connected(pondclient.WithoutCompression())
		ch := enter(t, c, s, room, `{}`)
		block(t, s, ch)
		before := time.Now()
		next := background(func() *socket { return f.accept() })
		for {
			select {
			case <-next:
				if d := time.Since(before); d < 29*time.Second || d > 33*time.Second {
					t.Errorf("connected again after %v", d)
				}
				return
			case <-time.After(5 * time.Second): // data still arrives
				s.say(room, 1, 0)
			}
		}
	})
}

func TestTheCloseFrameIsAnswered(t *testing.T) {
	run(t, func(t *testing.T, f *fake) {
		_, s := f.connected()
		s.closeWith(4001, "bye")
		s.gone()
		if s.code != 4001 {
			t.Errorf("answered with %d", s.code)
		}
	})
	run(t, func(t *testing.T, f *fake) { // and a server that breaks the protocol gets a close frame
		_, s := f.connected()
		_, _ = s.conn.Write([]byte{0x83, 0})
		s.gone()
		if s.code != ws.CloseProtocolError {
			t.Errorf("answered with %d", s.code)
		}
	})
	run(t, func(t *testing.T, f *fake) { // like one that sends a message that is too large
		_, s := f.connected(pondclient.WithMaxMessageSize(1000))
		s.raw(strings.Repeat("x", 1001))
		s.gone()
		if s.code != ws.CloseTooBig {
			t.Errorf("answered with %d", s.code)
		}
	})
}

func TestAFallbackThatFailsIsNoDeadEnd(t *testing.T) {
	run(t, func(t *testing.T, f *fake) {
		f.refuseWith(noWebSockets(502))
		f.client(overBoth)
		s := f.welcome() // an event stream
		f.refuseWith(func(r *http.Request) *refusal {
			if !ws.IsUpgrade(r) {
				return &refusal{status: 502} // now in the other order
			}
			return nil
		})
		before := time.Now()
		s.cut()
		if s := f.welcome(); !ws.IsUpgrade(s.request) || time.Since(before) > 6*time.Second { // the delays are up to 2 and 4 seconds
			t.Errorf("connected after %v", time.Since(before))
		}
	})
}

func TestRefusedRejoinsAreSpread(t *testing.T) {
	run(t, func(t *testing.T, f *fake) {
		c, s := f.connected()
		enter(t, c, s, room, `{}`)
		s.cut()
		s = f.welcome()
		before := time.Now()
		for range 12 {
			m := s.expect("JOIN_CHANNEL")
			s.send("SYSTEM", "UNAUTHORIZED", room, m.RequestID, `{"status":503}`, "")
		}
		if d := time.Since(before); d < 40*time.Second || d > 5*time.Minute {
			t.Errorf("twelve joins in %v", d)
		}
	})
}

func TestLastIsForTheFirstJoin(t *testing.T) {
	run(t, func(t *testing.T, f *fake) {
		c := f.client()
		s := f.welcome("recover")
		enter(t, c, s, room, `{}`, pondclient.WithLast(3)) // this channel has no history
		s.cut()
		s = f.welcome("recover")
		if m := s.expect("JOIN_CHANNEL"); m.From != nil {
			t.Errorf("joined with from %s", m.From)
		}
	})
}

// Some servers do not confirm that a client left.
func TestOldMembershipsWithoutAConfirmation(t *testing.T) {
	run(t, func(t *testing.T, f *fake) {
		c, s := f.connected()
		ch := enter(t, c, s, room, `{}`)
		if err := ch.Leave(t.Context()); err != nil {
			t.Error(err)
		}
		s.expect("LEAVE_CHANNEL")
		joined := background(func() error { _, err := c.Join(t.Context(), room); return err })
		m := s.expect("JOIN_CHANNEL")
		s.send("SYSTEM", "EVICTED", room, "x", `{"reason":"of the old membership"}`, "")
		s.ack(m, `{}`)
		if err := <-joined; err != nil {
			t.Error(err)
		}
		s.say(room, 1, 0)
		s.quiet()
	})
	run(t, func(t *testing.T, f *fake) { // after disorder, the frames before the answer are repeated
		c := f.client()
		s := f.welcome("recover")
		events := collect(t, enter(t, c, s, room, `{"recover":{"epoch":"k3","offset":5}}`))
		s.say(room, 5, 5)
		s.expect("LEAVE_CHANNEL")
		m := s.expect("JOIN_CHANNEL")
		s.say(room, 6, 6)
		s.ack(m, `{"recover":{"epoch":"k3","offset":5,"to":6,"recovered":true}}`)
		s.say(room, 6, 6)
		s.send("SYSTEM", "RECOVERED", room, "x", `{"epoch":"k3","offset":6}`, "")
		events.is("gap:disorder 6r recovered")
		s.send("SYSTEM", "RECOVERED", room, "x", `{"epoch":"k3","offset":6}`, "") // of nothing
		events.is("")
	})
}

func TestEvictionInTheWordsOfTheGoServer(t *testing.T) {
	run(t, func(t *testing.T, f *fake) {
		c, s := f.connected()
		events := collect(t, enter(t, c, s, room, `{}`))
		s.send("SYSTEM", "evicted", room, "x", `{"reason":"spam","userId":"somebody else"}`, "")
		events.is("evicted")
		s.send("SYSTEM", "evicted", room, "x", `{"reason":"spam","userId":"u1"}`, "")
		if e, ok := errors.AsType[*pondclient.RemovedError](events.end()); !ok || e.Reason != "spam" {
			t.Errorf("error %v", events.err)
		}
	})
}

func TestPresenceIsDifferencesOrLists(t *testing.T) {
	run(t, func(t *testing.T, f *fake) {
		c := f.client()
		s := f.welcome("diff")
		events := collect(t, enter(t, c, s, room, `{"diff":true}`, pondclient.WithPresence()))
		s.send("SYSTEM", "PRESENCE_STATE", room, "x", `{"users":[{"id":"a","presence":{}}],"more":false}`, "")
		s.send("PRESENCE", "JOIN", room, "x", `{"changed":{"id":"b"},"presence":[{"id":"b"}]}`, "")
		events.is("presence +a{}")
	})
	run(t, func(t *testing.T, f *fake) { // differences without a state lead to another join
		c := f.client()
		s := f.welcome("diff")
		enter(t, c, s, room, `{"diff":true}`, pondclient.WithPresence())
		for i := range 1001 {
			s.send("SYSTEM", "PRESENCE_DIFF", room, "x", fmt.Sprintf(`{"joins":[{"id":"u%d","presence":{}}]}`, i), "")
		}
		s.expect("LEAVE_CHANNEL")
		s.expect("JOIN_CHANNEL")
	})
}

func TestAnOverflowAfterPresenceIsAnotherGap(t *testing.T) {
	run(t, func(t *testing.T, f *fake) {
		c := f.client()
		s := f.welcome("diff")
		ch := enter(t, c, s, room, `{"diff":true}`, pondclient.WithPresence(), pondclient.WithBuffer(2, 1<<20))
		for i := range 6 {
			s.say(room, i, 0)
		}
		s.send("SYSTEM", "PRESENCE_STATE", room, "x", `{"users":[{"id":"a","presence":{}}],"more":false}`, "")
		for i := range 3 {
			s.say(room, i, 0)
		}
		synctest.Wait()
		collect(t, ch).is("0 1 gap:overflow(4) presence +a{} gap:overflow(3)")
	})
}

func TestTokensAreRenewedBeforeTheyExpire(t *testing.T) {
	run(t, func(t *testing.T, f *fake) {
		source, _ := counted(10 * time.Minute)
		f.client(pondclient.WithTokenSource(source))
		s := f.welcome()
		time.Sleep(9*time.Minute + 30*time.Second)
		s.cut()
		if got := bearer(f.welcome().request); got != "2" {
			t.Errorf("token %q", got)
		}
	})
	run(t, func(t *testing.T, f *fake) { // a token that is set in the meantime is used immediately
		release := make(chan struct{})
		c := f.client(pondclient.WithTokenSource(func(context.Context) (pondclient.Token, error) {
			<-release
			return pondclient.Token{}, errors.New("no token today")
		}))
		synctest.Wait()
		c.SetToken("mine")
		before := time.Now()
		close(release)
		if s := f.welcome(); bearer(s.request) != "mine" || time.Since(before) != 0 {
			t.Errorf("token %q after %v", bearer(s.request), time.Since(before))
		}
	})
}
