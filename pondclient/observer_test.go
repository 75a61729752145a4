package pondclient_test

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pondsocket/pond/pondclient"
)

// An observer may call the client, even in a way that causes another notification.
func TestAnObserverMayUseTheClient(t *testing.T) {
	run(t, func(t *testing.T, f *fake) {
		var c *pondclient.Client
		var ch *pondclient.Channel
		var calls []string
		c, s := f.connected(pondclient.WithObserver(&pondclient.Observer{
			Connected: func(id string, transport pondclient.Transport) {
				calls = append(calls, "connected "+string(transport)+" "+id)
			},
			Disconnected: func(_ *pondclient.ConnectionError, action pondclient.Action, _ time.Duration) {
				calls = append(calls, "disconnected "+action.String())
				if got := c.UserID() + string(c.Transport()); got != "" {
					t.Errorf("still connected as %s", got)
				}
			},
			Dropped: func(channel string, _ int) {
				if calls = append(calls, "dropped "+channel); len(calls) < 5 {
					_ = ch.Discard()
					_ = ch.Send("say", nil)
				}
			},
		}))
		ch = enter(t, c, s, room, `{}`, pondclient.WithBuffer(1, 1000))
		for range 3 {
			s.say(room, 1, 0)
		}
		synctest.Wait()
		s.cut()
		f.welcome()
		got := c.UserID()
		if want := []string{"connected websocket u1", "dropped " + room, "dropped " + room, "disconnected retry", "connected websocket u1"}; got != "u1" || !slices.Equal(calls, want) {
			t.Errorf("got %q, want %q", calls, want)
		}
	})
}

// Messages that expire while the client is stopped are reported when the program reads
// events.
func TestFailuresWhileStopped(t *testing.T) {
	run(t, func(t *testing.T, f *fake) {
		c, s := f.connected(pondclient.WithToken("old"))
		ch := enter(t, c, s, room, `{}`)
		s.cut()
		synctest.Wait()
		if err := ch.Send("say", nil); err != nil {
			t.Fatal(err)
		}
		s = f.welcome()
		s.closeWith(4401, "")
		time.Sleep(10 * time.Minute)
		events := collect(t, ch)
		isError(t, events.end(), pondclient.ErrStopped)
		events.is("failure say: " + pondclient.ErrExpired.Error())
	})
}
