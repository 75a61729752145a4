package main

import (
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/pondsocket/pond"
)

const (
	step    = 100              // minimum increase of a bid, in cents
	snipe   = 10 * time.Second // a bid within this time before the end ...
	respite = 10 * time.Second // ... moves the end to this time after the bid
)

// A Bid is sent by a client.
type Bid struct {
	Cents int `json:"cents"`
}

// A State is the state of an auction as members see it. The names of other bidders are
// secret.
type State struct {
	Cents int    `json:"cents"`          // the highest bid
	By    string `json:"by,omitempty"`   // never sent to a client: see hide
	Yours bool   `json:"yours"`          // whether it is the recipient's bid
	Ends  int64  `json:"ends,omitempty"` // in milliseconds since 1970; zero if it is over
}

const (
	placed   pond.Event[Bid]   = "bid"
	state    pond.Event[State] = "state"    // sent to a new member
	accepted pond.Event[State] = "accepted" // the answer to a bid
	outbid   pond.Event[State] = "outbid"   // sent to the other members
	sold     pond.Event[State] = "sold"
)

// A House runs auctions. Each auction has a channel, "/auctions/" followed by the name of
// the item. An auction ends in time even if its channel has no members.
type House struct {
	endpoint *pond.Endpoint

	mu       sync.Mutex // guards the following field, and orders the messages about auctions
	auctions map[string]*auction
}

type auction struct {
	cents int
	by    string
	ends  time.Time
	timer *time.Timer
	over  bool
}

func newHouse(p *pond.Pond) *House {
	h := &House{auctions: map[string]*auction{}}
	h.endpoint = p.Endpoint("/socket", onConnect)
	lobby := h.endpoint.Lobby("/auctions/:item", h.onJoin)
	pond.On(lobby, placed, h.onBid)
	lobby.OnOutgoing("*", hide)
	return h
}

// Open starts an auction.
func (h *House) Open(item string, lasts time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.auctions[item] = &auction{
		ends:  time.Now().Add(lasts),
		timer: time.AfterFunc(lasts, func() { h.end(item) }),
	}
}

// Close stops all timers, so that no auction ends any more.
func (h *House) Close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, a := range h.auctions {
		a.timer.Stop()
	}
}

// onConnect accepts any name. See the example jwt for authentication.
func onConnect(ctx *pond.ConnectionContext) error {
	name := strings.TrimSpace(ctx.Query().Get("name"))
	if name == "" {
		return ctx.Decline(http.StatusUnauthorized, "who are you?")
	}
	ctx.Assign("name", name)
	return ctx.Accept()
}

func (h *House) onJoin(ctx *pond.JoinContext) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	a, ok := h.auctions[ctx.Channel().Param("item")]
	if !ok {
		return ctx.Decline(http.StatusNotFound, "auction not found")
	}
	if err := ctx.Accept(); err != nil {
		return err
	}
	return ctx.Reply(state.With(a.state()))
}

func (h *House) onBid(ctx *pond.EventContext, b Bid) error {
	name, _ := ctx.Get("name").(string)
	h.mu.Lock()
	defer h.mu.Unlock()
	a := h.auctions[ctx.Channel().Param("item")]
	switch {
	case a.over:
		return pond.Errorf(http.StatusGone, "the auction is over")
	case a.by == name:
		return pond.Errorf(http.StatusConflict, "the highest bid is yours")
	case b.Cents < a.cents+step:
		return &pond.Error{
			Code:    http.StatusUnprocessableEntity,
			Message: "the bid is too low",
			Details: Bid{a.cents + step},
		}
	}
	a.cents, a.by = b.Cents, name
	if now := time.Now(); a.ends.Sub(now) < snipe {
		a.ends = now.Add(respite)
		a.timer.Reset(respite)
	}
	if err := ctx.Reply(accepted.With(a.state())); err != nil {
		return err
	}
	return ctx.Others().Broadcast(outbid.With(a.state()))
}

// end is called by the timer.
func (h *House) end(item string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	a := h.auctions[item]
	if time.Now().Before(a.ends) {
		return // a bid arrived first, and reset the timer
	}
	a.over = true
	if ch, ok := h.endpoint.Channel("/auctions/" + item); ok {
		_ = ch.Broadcast(sold.With(a.state())) // later members receive the state
	}
}

func (a *auction) state() State {
	s := State{Cents: a.cents, By: a.by, Ends: a.ends.UnixMilli()}
	if a.over {
		s.Ends = 0
	}
	return s
}

// hide replaces the name of the highest bidder with whether it is the recipient.
func hide(ctx *pond.OutgoingContext) error {
	var s State
	if err := ctx.Bind(&s); err != nil {
		return err
	}
	s.Yours = s.By == ctx.Get("name") // the name is never empty
	s.By = ""
	return ctx.Transform(s)
}
