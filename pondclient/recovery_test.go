package pondclient_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pondsocket/pond"
	"github.com/pondsocket/pond/pondclient"
)

// A log is a channel with a history on the server.
type log struct {
	epoch string
	top   int
}

// answer answers a join that asks for recovery, and replays the missed messages.
func (l *log) answer(s *socket, m received) {
	var from struct {
		Epoch  string
		Offset *int
		Last   *int
	}
	if m.From == nil {
		s.ack(m, fmt.Sprintf(`{"recover":{"epoch":%q,"offset":%d}}`, l.epoch, l.top))
		return
	}
	if err := decode(m.From, &from); err != nil {
		s.t.Error(err)
	}
	var start int
	switch {
	case from.Last != nil:
		start = max(l.top-*from.Last, 0)
	case from.Epoch != l.epoch:
		s.ack(m, fmt.Sprintf(`{"recover":{"epoch":%q,"offset":%d,"recovered":false,"reason":"epoch"}}`, l.epoch, l.top))
		return
	default:
		start = *from.Offset
	}
	s.ack(m, fmt.Sprintf(`{"recover":{"epoch":%q,"offset":%d,"to":%d,"recovered":true}}`, l.epoch, start, l.top))
	for i := start + 1; i <= l.top; i++ {
		s.say(m.ChannelName, i, i)
	}
	s.send("SYSTEM", "RECOVERED", m.ChannelName, "x", fmt.Sprintf(`{"epoch":%q,"offset":%d}`, l.epoch, l.top), "")
}

// say adds a message and sends it to s if s is not nil.
func (l *log) say(s *socket) {
	l.top++
	if s != nil {
		s.say(room, l.top, l.top)
	}
}

func TestRequirement25PositionsComeFromTheServer(t *testing.T) {
	run(t, func(t *testing.T, f *fake) {
		c := f.client()
		s := f.welcome("recover")
		ch := enter(t, c, s, room, `{"recover":{"epoch":"k3","offset":12}}`)
		events := collect(t, ch)
		s.cut() // before any event
		s = f.welcome("recover")
		m := s.expect("JOIN_CHANNEL")
		if string(m.From) != `{"epoch":"k3","offset":12,"id":"u1"}` || fmt.Sprint(m.Want) != "[recover]" {
			t.Errorf("joined with from %s, want %v", m.From, m.Want)
		}
		l := &log{"k3", 14}
		l.answer(s, m)
		events.is("13r 14r recovered")
		// Payloads that look like positions are not positions, and neither are replies.
		s.send("BROADCAST", "said", room, "x", `{"n":7,"offset":99,"epoch":"z"}`, "")
		s.send("SYSTEM", "reply", room, "x", `{"offset":99}`, "")
		s.send("SYSTEM", "POSITION", room, "x", `{"epoch":"k3","offset":20}`, "")
		s.say(room, 21, 21)
		s.say(room, 25, 25) // a missing offset is not a loss
		events.is("7 reply 21 25")
		last := events.raw[len(events.raw)-1].(*pondclient.Message)
		if last.Position != (pond.Position{Epoch: "k3", Offset: 25}) {
			t.Errorf("position %+v", last.Position)
		}
		s.cut()
		s = f.welcome("recover")
		if m := s.expect("JOIN_CHANNEL"); string(m.From) != `{"epoch":"k3","offset":25,"id":"u1"}` {
			t.Errorf("joined with from %s", m.From)
		}
	})
}

func TestRequirement26EveryRejoinReports(t *testing.T) {
	for reason, want := range map[string]string{
		`{"recover":{"epoch":"q9","offset":4,"recovered":false,"reason":"epoch"}}`:        "gap:epoch",
		`{"recover":{"epoch":"k3","offset":40,"recovered":false,"reason":"expired"}}`:     "gap:expired",
		`{"recover":{"epoch":"k3","offset":40,"recovered":false,"reason":"limit"}}`:       "gap:limit",
		`{"recover":{"epoch":"k3","offset":40,"recovered":false,"reason":"unavailable"}}`: "gap:unavailable",
		`{"recover":{"epoch":"k3","offset":40}}`:                                          "gap:fresh",
		`{"recover":{"epoch":"k3","offset":12}}`:                                          "recovered",
		`{}`:                                                                              "gap:fresh",
	} {
		run(t, func(t *testing.T, f *fake) {
			c := f.client()
			s := f.welcome("recover")
			events := collect(t, enter(t, c, s, room, `{"recover":{"epoch":"k3","offset":12}}`))
			events.is("") // the first join has nothing to report
			s.cut()
			s = f.welcome("recover")
			s.join(reason)
			events.is(want)
			s.say(room, 41, 41)
			events.is("41")
		})
	}
	run(t, func(t *testing.T, f *fake) { // losses that the server announces
		c := f.client()
		s := f.welcome("recover")
		events := collect(t, enter(t, c, s, room, `{"recover":{"epoch":"k3","offset":12}}`))
		s.send("SYSTEM", "GAP", room, "x", `{"epoch":"k4","offset":2,"reason":"expired"}`, "")
		s.say(room, 3, 3)
		events.is("gap:expired 3")
	})
	run(t, func(t *testing.T, f *fake) { // a program without recovery
		c := f.client()
		s := f.welcome("recover")
		events := collect(t, enter(t, c, s, room, `{}`, pondclient.WithoutRecovery()))
		s.cut()
		s = f.welcome("recover")
		if m := s.join(`{}`); m.From != nil || m.Want != nil {
			t.Errorf("joined with from %s, want %v", m.From, m.Want)
		}
		events.is("gap:fresh")
	})
	run(t, func(t *testing.T, f *fake) { // newcomers, and programs that stored a position
		c := f.client()
		s := f.welcome("recover")
		l := &log{"k3", 20}
		join := func(opt pondclient.JoinOption) (*pondclient.Channel, received) {
			var ch *pondclient.Channel
			joined := background(func() (err error) { ch, err = c.Join(t.Context(), room, opt); return err })
			m := s.expect("JOIN_CHANNEL")
			l.answer(s, m)
			if err := <-joined; err != nil {
				t.Fatal(err)
			}
			return ch, m
		}
		ch, m := join(pondclient.WithLast(3))
		if string(m.From) != `{"last":3}` {
			t.Errorf("joined with from %s", m.From)
		}
		collect(t, ch).is("18r 19r 20r recovered")
		if err := ch.Leave(t.Context()); err != nil {
			t.Error(err)
		}
		s.expect("LEAVE_CHANNEL")
		ch, m = join(pondclient.WithPosition(pond.Position{Epoch: "k3", Offset: 19}))
		if string(m.From) != `{"epoch":"k3","offset":19}` {
			t.Errorf("joined with from %s", m.From)
		}
		events := collect(t, ch)
		events.is("20r recovered")
		s.cut()
		s = f.welcome("recover")
		l.answer(s, s.expect("JOIN_CHANNEL"))
		events.is("recovered")
	})
}

func TestRequirement27RecoverySurvivesTenOverlappingDrops(t *testing.T) {
	run(t, func(t *testing.T, f *fake) {
		c := f.client()
		s := f.welcome("recover")
		l := &log{"k3", 0}
		events := collect(t, enter(t, c, s, room, `{"recover":{"epoch":"k3","offset":0}}`))
		var want []string
		expect := func(n int, suffix string) {
			for len(want) < n {
				want = append(want, fmt.Sprint(len(want)+1, suffix))
			}
		}
		for range 10 {
			l.say(s)
		}
		expect(10, "")
		for i := range 10 {
			s.cut()
			for range 5 {
				l.say(nil)
			}
			s = f.welcome("recover")
			m := s.expect("JOIN_CHANNEL")
			switch i % 3 {
			case 0: // it breaks before the answer
			case 1: // it breaks in the middle of the replay
				var from struct{ Offset int }
				_ = decode(m.From, &from)
				s.ack(m, fmt.Sprintf(`{"recover":{"epoch":"k3","offset":%d,"to":%d,"recovered":true}}`, from.Offset, l.top))
				for j := from.Offset + 1; j <= from.Offset+3; j++ {
					s.say(room, j, j)
				}
				expect(from.Offset+3, "r")
			case 2: // it breaks before RECOVERED
				var from struct{ Offset int }
				_ = decode(m.From, &from)
				s.ack(m, fmt.Sprintf(`{"recover":{"epoch":"k3","offset":%d,"to":%d,"recovered":true}}`, from.Offset, l.top))
				for j := from.Offset + 1; j <= l.top; j++ {
					s.say(room, j, j)
				}
				expect(l.top, "r")
			}
		}
		s.cut()
		s = f.welcome("recover")
		l.answer(s, s.expect("JOIN_CHANNEL"))
		expect(l.top, "r")
		l.say(s)
		want = append(want, "recovered", fmt.Sprint(l.top))
		events.is(strings.Join(want, " "))
	})
}

func TestRequirement28EveryRejoinSendsAPosition(t *testing.T) {
	run(t, func(t *testing.T, f *fake) {
		c := f.client()
		s := f.welcome("recover")
		enter(t, c, s, room, `{"recover":{"epoch":"k3","offset":12}}`)
		for range 5 { // no event, ever
			s.cut()
			s = f.welcome("recover")
			m := s.expect("JOIN_CHANNEL")
			if string(m.From) != `{"epoch":"k3","offset":12,"id":"u1"}` {
				t.Errorf("joined with from %s", m.From)
			}
			s.ack(m, `{"recover":{"epoch":"k3","offset":12,"to":12,"recovered":true}}`)
		}
	})
	run(t, func(t *testing.T, f *fake) { // a join without an answer has none
		c := f.client()
		s := f.welcome("recover")
		joined := background(func() error { _, err := c.Join(t.Context(), room, pondclient.WithLast(5)); return err })
		for range 3 {
			if m := s.expect("JOIN_CHANNEL"); string(m.From) != `{"last":5}` {
				t.Errorf("joined with from %s", m.From)
			}
			s.cut()
			s = f.welcome("recover")
		}
		s.join(`{"recover":{"epoch":"k3","offset":0,"to":0,"recovered":true}}`)
		if err := <-joined; err != nil {
			t.Error(err)
		}
	})
}

func TestRequirement29LeavingStopsAReplay(t *testing.T) {
	run(t, func(t *testing.T, f *fake) {
		c := f.client()
		s := f.welcome("recover")
		ch := enter(t, c, s, room, `{"recover":{"epoch":"k3","offset":0}}`)
		two, err := c.Join(t.Context(), room)
		if err != nil {
			t.Fatal(err)
		}
		events := collect(t, ch)
		s.cut()
		s = f.welcome("recover")
		m := s.expect("JOIN_CHANNEL") // one for both
		s.quiet()
		s.ack(m, `{"recover":{"epoch":"k3","offset":0,"to":9,"recovered":true}}`)
		s.say(room, 1, 1)
		events.is("1r")
		for _, ch := range []*pondclient.Channel{two, ch} {
			if err := ch.Leave(t.Context()); err != nil {
				t.Error(err)
			}
		}
		s.expect("LEAVE_CHANNEL")
		for i := 2; i <= 9; i++ {
			s.say(room, i, i)
		}
		if err := events.end(); err != nil {
			t.Error(err)
		}
		events.is("")
		s.quiet()
		// The next membership starts again.
		again := background(func() error { _, err := c.Join(t.Context(), room); return err })
		if m := s.expect("JOIN_CHANNEL"); m.From != nil {
			t.Errorf("joined with from %s", m.From)
		} else {
			s.ack(m, `{"recover":{"epoch":"k3","offset":9}}`)
		}
		if err := <-again; err != nil {
			t.Error(err)
		}
	})
}

func TestDisorderLeadsToARejoin(t *testing.T) { // rule C-X2
	for name, offset := range map[string]int{"repeated": 13, "earlier": 12} {
		t.Run(name, func(t *testing.T) {
			run(t, func(t *testing.T, f *fake) {
				c := f.client()
				s := f.welcome("recover")
				events := collect(t, enter(t, c, s, room, `{"recover":{"epoch":"k3","offset":11}}`))
				l := &log{"k3", 11}
				l.say(s)
				l.say(s)
				s.say(room, offset, offset)
				s.say(room, 14, 14) // from the old membership
				l.top = 15
				leave := s.expect("LEAVE_CHANNEL")
				s.say(room, 15, 15)
				s.reply(leave, "EXIT_ACKNOWLEDGE", `{}`)
				m := s.expect("JOIN_CHANNEL")
				if string(m.From) != `{"epoch":"k3","offset":13,"id":"u1"}` {
					t.Errorf("joined with from %s", m.From)
				}
				l.answer(s, m)
				events.is("12 13 gap:disorder 14r 15r recovered")
			})
		})
	}
	run(t, func(t *testing.T, f *fake) { // if the server continues like this, the client does not flood it
		c := f.client()
		s := f.welcome("recover")
		enter(t, c, s, room, `{"recover":{"epoch":"k3","offset":11}}`)
		start := time.Now()
		for range 20 {
			s.say(room, 1, 1)
			s.expect("LEAVE_CHANNEL")
			s.join(`{"recover":{"epoch":"k3","offset":11,"to":11,"recovered":true}}`)
		}
		if d := time.Since(start); d < 2*time.Minute {
			t.Errorf("20 rejoins in %v", d)
		}
	})
}

func TestWhatCameBeforeALeaveWasConfirmedIsOld(t *testing.T) {
	run(t, func(t *testing.T, f *fake) {
		c, s := f.connected()
		ch := enter(t, c, s, room, `{}`)
		if err := ch.Leave(t.Context()); err != nil {
			t.Error(err)
		}
		leave := s.expect("LEAVE_CHANNEL")
		joined := make(chan *pondclient.Channel)
		go func() {
			ch, err := c.Join(t.Context(), room)
			if err != nil {
				t.Error(err)
			}
			joined <- ch
		}()
		m := s.expect("JOIN_CHANNEL")
		s.say(room, 1, 0)
		s.send("SYSTEM", "EVICTED", room, "x", `{"reason":"of the old membership"}`, "")
		s.reply(leave, "EXIT_ACKNOWLEDGE", `{}`)
		s.ack(m, `{}`)
		s.say(room, 2, 0)
		events := collect(t, <-joined)
		events.is("2")
	})
}

func TestAnInvalidMessageHarmsNothing(t *testing.T) {
	run(t, func(t *testing.T, f *fake) {
		c, s := f.connected()
		ch := enter(t, c, s, room, `{}`)
		events := collect(t, ch)
		for _, text := range []string{`{`, `[]`, `"x"`, `null`, `{"action":7}`, `{"event":{}}`, `{"offset":"1"}`} {
			s.raw(text)
			events.is("gap:invalid")
		}
		// Several documents in one message, and payloads that are not objects.
		s.raw(`{"action":"BROADCAST","event":"a","channelName":"/chat/1","requestId":"x","payload":null}` + "\n\n" +
			`{"action":"BROADCAST","event":"b","channelName":"/chat/1","requestId":"x","payload":[1]}` + "\r\n" +
			`{"action":"BROADCAST","event":"c","channelName":"/chat/1","requestId":"x"}`)
		events.is("a b c")
		time.Sleep(time.Minute)
		synctest.Wait()
		if f.connects() != 1 {
			t.Error("it connected again")
		}
	})
}
