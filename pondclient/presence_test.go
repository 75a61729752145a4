package pondclient_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/pondsocket/pond/pondclient"
)

func TestRequirement21PresenceWaitsForTheSnapshot(t *testing.T) {
	const name = "/chat/1"
	run(t, func(t *testing.T, f *fake) {
		c := f.client()
		s := f.welcome("diff")
		ch := enter(t, c, s, name, `{"diff":true}`, pondclient.WithPresence())
		events := collect(t, ch)
		state := func(payload string) { s.send("SYSTEM", "PRESENCE_STATE", name, "x", payload, "") }
		diff := func(payload string) { s.send("SYSTEM", "PRESENCE_DIFF", name, "x", payload, "") }
		diff(`{"joins":[{"id":"c","presence":{"n":3}}],"total":3}`)
		events.is("")
		state(`{"users":[{"id":"a","presence":{"n":1}}],"total":3,"more":true}`)
		diff(`{"updates":[{"id":"a","presence":{"n":9}}],"total":3}`)
		events.is("")
		state(`{"users":[{"id":"b","presence":{"n":2}}],"total":3,"more":false}`)
		events.is(`presence +a{"n":9} +b{"n":2} +c{"n":3}`)
		diff(`{"joins":[{"id":"d","presence":{}}],"updates":[{"id":"b","presence":{"n":7}}],"leaves":[{"id":"a"},{"id":"?"}],"total":3}`)
		events.is(`presence +d{} ~b{"n":7} -a{"n":9}`)
		s.say(name, 1, 0)
		if err := ch.Send("say", nil); err != nil { // queued messages wait for the answer
			t.Error(err)
		}
		s.expect("BROADCAST")
		s.cut()
		synctest.Wait()
		if err := ch.Send("later", nil); err != nil {
			t.Error(err)
		}
		s = f.welcome("diff")
		m := s.expect("JOIN_CHANNEL")
		if !slices.Equal(m.Want, []string{"diff"}) {
			t.Errorf("want %v", m.Want)
		}
		diff(`{"leaves":[{"id":"c"}],"total":2}`)
		s.quiet()
		events.is("1")
		s.ack(m, `{"diff":true}`)
		if m := s.expect("BROADCAST"); m.Event != "later" {
			t.Errorf("sent %s", m.Event)
		}
		diff(`{"leaves":[{"id":"d"}],"total":2}`)
		events.is("gap:fresh")
		if got := fmt.Sprint(ids(ch.Members())); got != "[b c d]" {
			t.Errorf("before the snapshot, members are %s", got)
		}
		state(`{"users":[{"id":"b","presence":{"n":7}},{"id":"d","presence":{}}],"total":1,"more":false}`)
		events.is(`presence -c{"n":3} -d{}`)
		if got := fmt.Sprint(ids(ch.Members())); got != "[b]" {
			t.Errorf("members are %s", got)
		}
	})
}

// The identity of a member is that of the server, if it is published.
func TestPresenceOfIdentities(t *testing.T) {
	const name = "/chat/1"
	run(t, func(t *testing.T, f *fake) {
		c := f.client()
		s := f.welcome("diff")
		ch := enter(t, c, s, name, `{"diff":true}`, pondclient.WithPresence())
		s.send("SYSTEM", "PRESENCE_STATE", name, "x", `{"users":[{"id":"a","user":"ann","presence":{}},{"id":"b","presence":{}}],"more":false}`, "")
		s.send("SYSTEM", "PRESENCE_DIFF", name, "x", `{"joins":[{"id":"c","user":"ann","presence":{}}],"updates":[{"id":"a","user":"ann","presence":{"n":1}}],"total":3}`, "")
		synctest.Wait()
		var got strings.Builder
		for _, m := range ch.Members() {
			got.WriteString(m.ID + ":" + m.User + " ")
		}
		if got.String() != "a:ann b: c:ann " {
			t.Errorf("members are %s", got.String())
		}
	})
}

func ids(members []pondclient.Member) (list []string) {
	for _, m := range members {
		list = append(list, m.ID)
	}
	return list
}

func TestRequirement21PresenceAsLists(t *testing.T) {
	const name = "/chat/1"
	run(t, func(t *testing.T, f *fake) {
		c, s := f.connected()
		ch := enter(t, c, s, name, `{}`, pondclient.WithPresence())
		events := collect(t, ch)
		presence := func(event, payload string) { s.send("PRESENCE", event, name, "x", payload, "") }
		presence("JOIN", `{"changed":{"id":"a"},"presence":[{"id":"a"}]}`)
		events.is(`presence +a{"id":"a"}`)
		presence("JOIN", `{"changed":{"n":1},"presence":[{"id":"a"},{"n":1},{"n":1}]}`)
		events.is(`presence +{"n":1} +{"n":1}`)
		presence("UPDATE", `{"changed":{"id":"a"},"presence":[{"id":"a","x":2},{"n":1},{"n":1}]}`)
		events.is(`presence ~a{"id":"a","x":2}`)
		presence("LEAVE", `{"changed":{"n":1},"presence":[{"id":"a","x":2},{"n":1}]}`)
		events.is(`presence -{"n":1}`)
		presence("UPDATE", `{"changed":{"id":"a","x":2},"presence":[{"id":"a","x":2},{"n":1}]}`) // nothing changed
		events.is("")
		// The official Go server sends no lists.
		presence("UPDATE", `{"event":"UPDATE","userId":"a","changed":{"id":"a","x":3}}`)
		events.is(`presence ~a{"id":"a","x":3}`)
		presence("LEAVE", `{"event":"LEAVE","userId":"q","changed":{"n":1}}`)
		events.is(`presence -{"n":1}`)
		if got := ch.Members(); len(got) != 1 || got[0].ID != "a" {
			t.Errorf("members are %v", got)
		}
		// A second Channel starts with all members.
		two, err := c.Join(t.Context(), name, pondclient.WithPresence())
		if err != nil {
			t.Fatal(err)
		}
		collect(t, two).is(`presence +a{"id":"a","x":3}`)
	})
	run(t, func(t *testing.T, f *fake) { // presence was not requested
		c := f.client()
		s := f.welcome("diff", "recover")
		ch := enter(t, c, s, name, `{}`)
		events := collect(t, ch)
		s.send("PRESENCE", "JOIN", name, "x", `{"changed":{"id":"a"},"presence":[{"id":"a"}]}`, "")
		events.is("")
		if len(ch.Members()) != 0 {
			t.Errorf("members are %v", ch.Members())
		}
	})
}
