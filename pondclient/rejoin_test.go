package pondclient_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pondsocket/pond/pondclient"
)

func TestRequirement19EventsBeforeTheAnswerAreHeld(t *testing.T) {
	run(t, func(t *testing.T, f *fake) {
		c, s := f.connected()
		joined := make(chan *pondclient.Channel)
		go func() {
			ch, err := c.Join(t.Context(), "/chat/1")
			if err != nil {
				t.Error(err)
			}
			joined <- ch
		}()
		m := s.expect("JOIN_CHANNEL")
		for i := range 50 {
			s.say("/chat/1", i, 0)
		}
		s.reply(m, "welcome", `{}`) // some servers let replies overtake the answer
		s.ack(m, `{}`)
		s.say("/chat/1", 50, 0)
		events := collect(t, <-joined)
		var want strings.Builder
		for i := range 50 {
			fmt.Fprint(&want, i, " ")
		}
		events.is(want.String() + "welcome 50")
	})
	run(t, func(t *testing.T, f *fake) { // the held frames are limited
		c, s := f.connected()
		joined := make(chan *pondclient.Channel)
		go func() {
			ch, _ := c.Join(t.Context(), "/chat/1", pondclient.WithBuffer(10, 1<<20))
			joined <- ch
		}()
		m := s.expect("JOIN_CHANNEL")
		for i := range 50 {
			s.say("/chat/1", i, 0)
		}
		s.ack(m, `{}`)
		events := collect(t, <-joined)
		events.is("0 1 2 3 4 5 6 7 8 9 gap:overflow(40)")
	})
}

func TestRequirement20OneJoinPerChannelAfterAReconnect(t *testing.T) {
	run(t, func(t *testing.T, f *fake) {
		c, s := f.connected()
		var want []string
		for i := range 10 {
			name := fmt.Sprintf("/chat/%d", i)
			want = append(want, name)
			enter(t, c, s, name, `{}`)
		}
		unanswered := background(func() error { _, err := c.Join(t.Context(), "/chat/x"); return err })
		s.expect("JOIN_CHANNEL")
		for range 5 {
			s.cut()
			s = f.welcome()
			var got []string
			for range 11 {
				m := s.expect("JOIN_CHANNEL")
				got = append(got, m.ChannelName)
				if m.ChannelName != "/chat/x" {
					s.ack(m, `{}`)
				}
			}
			if !slices.Equal(got, append(slices.Clone(want), "/chat/x")) {
				t.Errorf("joined %v", got)
			}
			s.quiet()
		}
		// On a connection that stays open, an unanswered join is repeated.
		var gaps []time.Duration
		last := time.Now()
		var m received
		for range 5 {
			m = s.expect("JOIN_CHANNEL")
			gaps = append(gaps, m.at.Sub(last))
			last = m.at
			if m.ChannelName != "/chat/x" {
				t.Errorf("joined %s again", m.ChannelName)
			}
		}
		if gaps[0] < 10*time.Second || gaps[0] > 13*time.Second || gaps[4] < 60*time.Second || gaps[4] > 75*time.Second {
			t.Errorf("repeated after %v", gaps)
		}
		s.ack(m, `{}`)
		if err := <-unanswered; err != nil {
			t.Error(err)
		}
	})
}

func TestRequirement20ALateAnswerToTheFirstOfTwoJoinsCounts(t *testing.T) {
	run(t, func(t *testing.T, f *fake) {
		c, s := f.connected()
		joined := make(chan *pondclient.Channel)
		go func() {
			ch, err := c.Join(t.Context(), "/chat/1")
			if err != nil {
				t.Error(err)
			}
			joined <- ch
		}()
		first, second := s.expect("JOIN_CHANNEL"), s.expect("JOIN_CHANNEL")
		s.ack(first, `{}`)
		s.say("/chat/1", 1, 0)
		events := collect(t, <-joined)
		events.is("1")
		// One server answers the second join with an acknowledgement, another with an error.
		s.send("ERROR", "CHANNEL_ERROR", "/chat/1", second.RequestID, `{"status":400}`, "")
		s.ack(second, `{}`)
		s.say("/chat/1", 2, 0)
		events.is("2")
	})
}
