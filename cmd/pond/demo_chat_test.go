package main

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/pondsocket/pond"
	"github.com/pondsocket/pond/pondtest"
)

// chatTest runs test against the chat, over each transport.
func chatTest(t *testing.T, test func(t *testing.T, connect func() *pondtest.Session)) {
	for _, tr := range pondtest.Transports {
		t.Run(string(tr), func(t *testing.T) {
			p := pond.New()
			openChat(p.Endpoint("/socket", accept))
			pondtest.Run(t, p, func(t *testing.T, d *pondtest.Driver) {
				test(t, func() *pondtest.Session { return d.Connect(tr, "/socket") })
			})
		})
	}
}

// enter joins a room and consumes the messages that a new member receives.
func enter(t *testing.T, s *pondtest.Session, room, name string, opts ...pondtest.JoinOption) {
	t.Helper()
	if m := s.Join("/chat/"+room, Profile{name}, opts...); m.Event != "ACKNOWLEDGE" {
		t.Fatalf("%s cannot join %s: %v", name, room, m)
	}
	s.ReceiveEvent("JOIN")
}

func expect[T any](t *testing.T, s *pondtest.Session, event pond.Event[T]) (payload T) {
	t.Helper()
	pondtest.Message{Payload: s.Expect(string(event))}.Bind(t, &payload)
	return payload
}

func TestChat(t *testing.T) {
	chatTest(t, func(t *testing.T, connect func() *pondtest.Session) {
		ann, bob := connect(), connect()
		enter(t, ann, "lounge", "Ann")
		enter(t, bob, "lounge", "  Bob   the  second ")
		ann.Expect("JOIN")

		bob.Send("/chat/lounge", "typing", Typing{true})
		var change struct{ Presence []Person }
		pondtest.Message{Payload: ann.Expect("UPDATE")}.Bind(t, &change)
		want := []Person{{ann.ID(), "Ann", false}, {bob.ID(), "Bob the second", true}}
		if fmt.Sprint(change.Presence) != fmt.Sprint(want) {
			t.Errorf("presence: %v, want %v", change.Presence, want)
		}

		bob.Send("/chat/lounge", "message", Message{ID: "1", Text: " hi ", From: ann.ID(), Name: "Ann"})
		m := expect(t, ann, said)
		if m.Text != "hi" || m.From != bob.ID() || m.Name != "Bob the second" {
			t.Errorf("message: %+v", m)
		}

		bob.Close()
		ann.Expect("LEAVE")
		ann.Quiet()
	})
}

func TestChatRejects(t *testing.T) {
	chatTest(t, func(t *testing.T, connect func() *pondtest.Session) {
		ann := connect()
		for _, tt := range []struct{ room, name string }{
			{"lounge", ""},
			{"lounge", " "},
			{"lounge", "a\u202eb"},
			{"lounge", strings.Repeat("a", 33)},
			{"no room", "Ann"},
			{"%61", "Ann"},
			{"a?b=c", "Ann"},
			{strings.Repeat("a", 33), "Ann"},
		} {
			if m := ann.Join("/chat/"+tt.room, Profile{tt.name}); m.Event != "UNAUTHORIZED" {
				t.Errorf("%q in %q: %v", tt.name, tt.room, m)
			}
		}

		enter(t, ann, "Grüße_2-é", "👩‍🚀")
		for _, tt := range []struct {
			event   string
			payload any
		}{
			{"message", Message{ID: "1", Text: "\n"}},
			{"message", Message{ID: "1", Text: strings.Repeat("é", 2001)}},
			{"message", Message{Text: "hi"}},
			{"rename", Profile{"\x00"}},
		} {
			if m := ann.Request("/chat/Grüße_2-é", tt.event, tt.payload); m.Action != "ERROR" {
				t.Errorf("%s %v: %v", tt.event, tt.payload, m)
			}
		}
		ann.Quiet()
	})
}

func TestChatRemembers(t *testing.T) {
	chatTest(t, func(t *testing.T, connect func() *pondtest.Session) {
		ann := connect()
		enter(t, ann, "lounge", "Ann")
		for i := range shownMessages + 1 {
			ann.Request("/chat/lounge", "message", Message{ID: strconv.Itoa(i), Text: "hi"})
		}

		bob := connect()
		enter(t, bob, "lounge", "Bob", pondtest.Last(shownMessages))
		for i := range shownMessages {
			if m := expect(t, bob, said); m.ID != strconv.Itoa(i+1) {
				t.Fatalf("message %d is %+v", i, m)
			}
		}
		bob.Expect("RECOVERED")
		ann.Expect("JOIN")

		// A message that was sent before is answered, and not broadcast again.
		if m := ann.Request("/chat/lounge", "message", Message{ID: "7", Text: "hi"}); m.Action != "SYSTEM" {
			t.Errorf("broadcast again: %v", m)
		}
		var all Latest
		ann.Request("/chat/lounge", "latest", nil).Bind(t, &all)
		if n := len(all.Messages); n != shownMessages || all.Messages[n-1].ID != strconv.Itoa(shownMessages) {
			t.Errorf("the latest %d messages: %v", n, all.Messages)
		}
		bob.Quiet()
	})
}

func TestChatListsRooms(t *testing.T) {
	chatTest(t, func(t *testing.T, connect func() *pondtest.Session) {
		reader, ann, bob := connect(), connect(), connect()
		reader.Join(roomList, nil)
		want := func(rooms ...Room) {
			t.Helper()
			if got := expect(t, reader, listed).Rooms; fmt.Sprint(got) != fmt.Sprint(rooms) {
				t.Errorf("rooms: %v, want %v", got, rooms)
			}
		}
		want()
		enter(t, ann, "b", "Ann")
		want(Room{"b", 1})
		enter(t, bob, "a", "Bob")
		want(Room{"a", 1}, Room{"b", 1})
		bob.Leave("/chat/a")
		want(Room{"b", 1})
		enter(t, bob, "b", "Bob")
		want(Room{"b", 2})
		bob.Close()
		want(Room{"b", 1})
		reader.Quiet()
	})
}
