package main

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/pondsocket/pond"
	"github.com/pondsocket/pond/pondtest"
)

const lasts = 5 * time.Minute

// An evening is the setup of most tests: a house with an auction of a lamp.
type evening struct {
	t     *testing.T
	d     *pondtest.Driver
	tr    pondtest.Transport
	pond  *pond.Pond
	house *House
}

// hold runs a test with each transport. A bubble cannot have subtests, so they are outside
// of pondtest.Run. Timers must start in the bubble, so the auction is opened inside.
func hold(t *testing.T, test func(t *testing.T, e *evening)) {
	for _, tr := range pondtest.Transports {
		t.Run(string(tr), func(t *testing.T) {
			p := pond.New()
			house, mux := handler(p)
			pondtest.Run(t, mux, func(t *testing.T, d *pondtest.Driver) {
				defer p.Shutdown(t.Context())
				house.Open("lamp", lasts)
				test(t, &evening{t, d, tr, p, house})
			})
		})
	}
}

// bidder connects a client that joins the auction of the lamp and receives its state.
func (e *evening) bidder(name string) *pondtest.Session {
	e.t.Helper()
	s := e.d.Connect(e.tr, "/socket", pondtest.Query("name", name))
	e.look(s)
	return s
}

func (e *evening) look(s *pondtest.Session) State {
	e.t.Helper()
	s.Join("/auctions/lamp", nil)
	return decode(e.t, s.Expect("state"))
}

func bid(s *pondtest.Session, cents int) pondtest.Message {
	return s.Request("/auctions/lamp", "bid", Bid{cents})
}

func decode(t *testing.T, payload json.RawMessage) (s State) {
	t.Helper()
	if err := json.Unmarshal(payload, &s); err != nil {
		t.Fatal(err)
	}
	return s
}

// Request returns the answer to one message, even if other messages arrive first.
func TestBids(t *testing.T) {
	hold(t, func(t *testing.T, e *evening) {
		ann, bob := e.bidder("Ann"), e.bidder("Bob")
		for _, tt := range []struct {
			who    *pondtest.Session
			cents  int
			answer string // the event, or a part of the error
		}{
			{ann, 99, `"details":{"cents":100}`},
			{ann, 100, "accepted"},
			{ann, 500, "the highest bid is yours"},
			{bob, 199, "the bid is too low"},
			{bob, -1, "the bid is too low"},
			{bob, 200, "accepted"},
			{ann, 1000, "accepted"},
		} {
			answer := bid(tt.who, tt.cents)
			if answer.Event != tt.answer && !strings.Contains(string(answer.Payload), tt.answer) {
				t.Errorf("a bid of %d gets %v, want %s", tt.cents, answer, tt.answer)
			}
		}
	})
}

// Quiet proves that no message was sent, because the server is idle.
func TestRejectedBidIsSentToNobodyElse(t *testing.T) {
	hold(t, func(t *testing.T, e *evening) {
		ann, bob := e.bidder("Ann"), e.bidder("Bob")
		if answer := bid(ann, 1); answer.Action != "ERROR" {
			t.Error(answer)
		}
		bob.Quiet()
		bid(ann, 100)
		bob.Expect("outbid")
		bob.Quiet()
	})
}

// Time passes only when all goroutines wait, and then at once. No clock is injected.
func TestAuctionEndsInTime(t *testing.T) {
	hold(t, func(t *testing.T, e *evening) {
		ann, bob := e.bidder("Ann"), e.bidder("Bob")
		bid(ann, 100)
		bob.Expect("outbid")

		time.Sleep(lasts - time.Nanosecond)
		ann.Quiet()
		bob.Quiet()
		time.Sleep(time.Nanosecond)
		if s := decode(t, ann.Expect("sold")); !s.Yours || s.Cents != 100 || s.Ends != 0 {
			t.Error(s)
		}
		if s := decode(t, bob.Expect("sold")); s.Yours {
			t.Error(s)
		}
		if answer := bid(bob, 200); !strings.Contains(string(answer.Payload), "the auction is over") {
			t.Error(answer)
		}
	})
}

func TestLateBidMovesTheEnd(t *testing.T) {
	hold(t, func(t *testing.T, e *evening) {
		ann, bob := e.bidder("Ann"), e.bidder("Bob")
		bid(ann, 100)
		time.Sleep(lasts - time.Second)
		ends := decode(t, bid(bob, 200).Payload).Ends
		if want := time.Now().Add(respite).UnixMilli(); ends != want {
			t.Errorf("the end is at %d, want %d", ends, want)
		}
		ann.Expect("outbid")
		time.Sleep(respite - time.Nanosecond) // long after the original end
		ann.Quiet()
		time.Sleep(time.Nanosecond)
		ann.Expect("sold")
	})
}

// The timer may fire while a bid that moves the end is handled. Either can be first, but
// they must agree.
func TestBidAtTheLastMoment(t *testing.T) {
	hold(t, func(t *testing.T, e *evening) {
		ann := e.bidder("Ann")
		time.Sleep(lasts)
		answer := bid(ann, 100)
		time.Sleep(2 * respite)
		s := decode(t, ann.ReceiveEvent("sold").Payload)
		if accepted := answer.Event == "accepted"; s.Yours != accepted {
			t.Errorf("accepted: %t, sold to her: %t", accepted, s.Yours)
		}
		ann.Quiet()
	})
}

// Raw is the received message, byte for byte.
func TestNamesAreSecret(t *testing.T) {
	hold(t, func(t *testing.T, e *evening) {
		ann, bob, eve := e.bidder("Ann"), e.bidder("Bob"), e.bidder("Eve")
		bid(ann, 100)
		bid(bob, 200)
		time.Sleep(lasts)
		e.look(e.d.Connect(e.tr, "/socket?name=late"))
		for who, s := range map[string]*pondtest.Session{"Ann": ann, "Bob": bob, "Eve": eve} {
			heard := s.Drain()
			if len(heard) == 0 {
				t.Errorf("%s received nothing", who)
			}
			for _, m := range heard {
				if bytes.Contains(m.Raw, []byte("Ann")) || bytes.Contains(m.Raw, []byte("Bob")) {
					t.Errorf("%s received %s", who, m.Raw)
				}
			}
		}
	})
}

// Send does not wait for the answer, so these bids are in flight at the same time.
func TestSpectatorsReceiveOneOrder(t *testing.T) {
	hold(t, func(t *testing.T, e *evening) {
		ann, bob, eve, joe := e.bidder("Ann"), e.bidder("Bob"), e.bidder("Eve"), e.bidder("Joe")
		for cents := 100; cents <= 2000; cents += 100 {
			ann.Send("/auctions/lamp", "bid", Bid{cents})
			bob.Send("/auctions/lamp", "bid", Bid{cents})
		}
		last := 0
		for _, m := range e.d.SameOrder("outbid", eve, joe) {
			s := decode(t, m.Payload)
			if s.Cents < last+step {
				t.Errorf("%d after %d", s.Cents, last)
			}
			last = s.Cents
		}
	})
}

// After Vanish, the server does not know that the client lost the network. Reconnect is the
// same client with a new connection.
func TestLostConnectionLosesNoBid(t *testing.T) {
	hold(t, func(t *testing.T, e *evening) {
		ann, bob := e.bidder("Ann"), e.bidder("Bob")
		bid(ann, 100)
		ann.Vanish()
		bid(bob, 200)
		again := ann.Reconnect()
		if s := e.look(again); s.Yours || s.Cents != 200 {
			t.Error(s)
		}
		bid(again, 300)
		again.Reset()
		time.Sleep(lasts)
		if s := e.look(again.Reconnect()); !s.Yours || s.Cents != 300 || s.Ends != 0 {
			t.Error(s)
		}
	})
}

// A client that does not read is disconnected after some time. The auction continues for
// the others.
func TestStalledClientDelaysNobody(t *testing.T) {
	hold(t, func(t *testing.T, e *evening) {
		ann, bob, sleeper := e.bidder("Ann"), e.bidder("Bob"), e.bidder("Zoe")
		sleeper.Stall()
		for cents := 100; cents <= 100_000; cents += 200 {
			bid(ann, cents)
			bid(bob, cents+100)
		}
		if got := len(ann.Drain()); got != 500 {
			t.Errorf("Ann was outbid %d times, want 500", got)
		}
		time.Sleep(3 * time.Minute) // of heartbeats
		if got := e.house.endpoint.Len(); got != 2 {
			t.Errorf("%d clients remain, want 2", got)
		}
	})
}

// Declined returns the response to a handshake that must fail.
func TestWhoMayJoin(t *testing.T) {
	hold(t, func(t *testing.T, e *evening) {
		if resp := e.d.Declined(e.tr, "/socket?name=+"); resp.StatusCode != http.StatusUnauthorized {
			t.Error(resp.Status)
		}
		ann := e.bidder("Ann")
		if answer := ann.Join("/auctions/moon", nil); answer.Event != "UNAUTHORIZED" {
			t.Error(answer)
		}
		if answer := ann.Request("/auctions/moon", "bid", Bid{100}); answer.Action != "ERROR" {
			t.Error(answer)
		}
	})
}

func TestShutdown(t *testing.T) {
	hold(t, func(t *testing.T, e *evening) {
		ann := e.bidder("Ann")
		bid(ann, 100)
		if err := e.pond.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		e.house.Close()
		if code, _ := ann.Closed(); e.tr == pondtest.WebSocket && code != 1001 {
			t.Errorf("closed with %d", code)
		}
		e.d.Declined(e.tr, "/socket?name=Bob")
		time.Sleep(lasts) // no timer may fire after the shutdown
		if e.house.auctions["lamp"].over {
			t.Error("sold after the shutdown")
		}
	})
}
