package pondclient_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pondsocket/pond/pondclient"
)

func TestRequirement42ASlowProgramStallsNothing(t *testing.T) {
	run(t, func(t *testing.T, f *fake) {
		c, s := f.connected()
		ch, other := enter(t, c, s, room, `{}`), enter(t, c, s, "/chat/2", `{}`)
		events := collect(t, other)
		go func() { // an echo for all questions
			for m, ok := s.next(nil); ok; m, ok = s.next(nil) {
				s.reply(m, "answer", string(m.Payload))
			}
		}()
		var answers []string
		done := background(func() error {
			for ev, err := range ch.Events(t.Context()) {
				if err != nil {
					return err
				}
				time.Sleep(time.Minute) // it thinks, and asks
				m, err := ch.Request(t.Context(), "ask", ev.(*pondclient.Message).Payload)
				if err != nil {
					return err
				}
				if answers = append(answers, string(m.Payload)); len(answers) == 3 {
					return nil
				}
			}
			return nil
		})
		for i := range 3 {
			s.say(room, i, 0)
			s.say("/chat/2", i, 0)
		}
		events.is("0 1 2")
		if err := <-done; err != nil || fmt.Sprint(answers) != `[{"n":0} {"n":1} {"n":2}]` {
			t.Errorf("answers %v, error %v", answers, err)
		}
		if f.connects() != 1 {
			t.Error("the connection was lost")
		}
	})
}

func TestRequirement43OverflowIsAGap(t *testing.T) {
	run(t, func(t *testing.T, f *fake) {
		var mu sync.Mutex
		dropped := map[string]int{}
		c, s := f.connected(pondclient.WithObserver(&pondclient.Observer{Dropped: func(channel string, n int) {
			mu.Lock()
			defer mu.Unlock()
			dropped[channel] += n
		}}))
		slow := enter(t, c, s, room, `{}`, pondclient.WithBuffer(10, 1<<20))
		fast, err := c.Join(t.Context(), room)
		if err != nil {
			t.Fatal(err)
		}
		events := collect(t, fast)
		for i := range 100 {
			s.say(room, i, 0)
		}
		synctest.Wait()
		var want []string
		for i := range 100 {
			want = append(want, fmt.Sprint(i))
		}
		events.is(strings.Join(want, " "))
		if dropped[room] != 90 {
			t.Errorf("dropped %v", dropped)
		}
		collect(t, slow).is("0 1 2 3 4 5 6 7 8 9 gap:overflow(90)")
	})
	run(t, func(t *testing.T, f *fake) { // bytes count, and a large message fits if it is alone
		c, s := f.connected()
		ch := enter(t, c, s, room, `{}`, pondclient.WithBuffer(1000, 1000))
		large := `{"text":"` + strings.Repeat("x", 2000) + `"}`
		s.send("BROADCAST", "large", room, "x", large, "")
		s.send("BROADCAST", "large", room, "x", large, "")
		synctest.Wait()
		events := collect(t, ch)
		events.is("large gap:overflow(1)")
		s.say(room, 1, 0)
		events.is("1")
	})
	run(t, func(t *testing.T, f *fake) { // after an overflow, several messages arrive in a row
		c, s := f.connected()
		ch := enter(t, c, s, room, `{}`, pondclient.WithBuffer(10, 1<<20))
		go func() {
			for i := range 1000 { // ten times as fast as the program
				s.say(room, i, 0)
				time.Sleep(time.Second)
			}
		}()
		messages, gaps := 0, 0
		for ev := range ch.Events(within(t, 20*time.Minute)) {
			switch ev.(type) {
			case *pondclient.Message:
				messages++
				time.Sleep(10 * time.Second)
			case *pondclient.Gap:
				gaps++
			}
		}
		if messages < 100 || gaps < 10 || messages/gaps < 4 {
			t.Errorf("%d messages in runs between %d gaps", messages, gaps)
		}
	})
}

func TestRequirement43PresenceNeverOverflows(t *testing.T) {
	run(t, func(t *testing.T, f *fake) {
		c := f.client()
		s := f.welcome("diff")
		ch := enter(t, c, s, room, `{"diff":true}`, pondclient.WithPresence(), pondclient.WithBuffer(4, 1<<20))
		s.send("SYSTEM", "PRESENCE_STATE", room, "x", `{"users":[{"id":"a","presence":{}}],"total":1,"more":false}`, "")
		for i := range 100 {
			s.send("SYSTEM", "PRESENCE_DIFF", room, "x", fmt.Sprintf(`{"joins":[{"id":"u%d","presence":{}}],"leaves":[{"id":"u%d"}]}`, i, i-1), "")
			s.say(room, i, 0)
		}
		synctest.Wait()
		events := collect(t, ch)
		events.is(`presence +a{} +u99{} 0 1 2 gap:overflow(97)`)
		s.send("SYSTEM", "PRESENCE_DIFF", room, "x", `{"leaves":[{"id":"a"}]}`, "")
		events.is(`presence -a{}`)
	})
}
