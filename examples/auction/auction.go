package main

import (
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/pondsocket/pond"
)

const (
	step    = 100              // cents that a bid must be higher than the last one
	snipe   = 10 * time.Second // a bid so close to the end ...
	respite = 10 * time.Second // ... moves the end to here
)

// A Bid is what a client offers.
type Bid struct {
	Cents int `json:"cents"`
}

// A State is what members know of an auction. Who else bids is a secret.
type State struct {
	Cents int    `json:"cents"`          // the highest bid
	By    string `json:"by,omitempty"`   // never reaches a client: see hide
	Yours bool   `json:"yours"`          // whether it is the recipient's
	Ends  int64  `json:"ends,omitempty"` // in milliseconds since 1970; zero if it is over
}

const (
	placed   pond.Event[Bid]   = "bid"
	state    pond.Event[State] = "state"    // who joins gets it
	accepted pond.Event[State] = "accepted" // the answer to a bid
	outbid   pond.Event[State] = "outbid"   // everybody else gets it
	sold     pond.Event[State] = "sold"
)

// A House holds auctions. Each is a channel, "/auctions/" and the name of what is
// sold. An auction ends in time, whether anybody looks or not.
type House struct {
	endpoint *pond.Endpoint

	mu       sync.Mutex // guards the following field, and orders what is told of auctions
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

// Open begins an auction.
func (h *House) Open(item string, lasts time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.auctions[item] = &auction{
		ends:  time.Now().Add(lasts),
		timer: time.AfterFunc(lasts, func() { h.end(item) }),
	}
}

// Close ends nothing, but no auction will end any more.
func (h *House) Close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, a := range h.auctions {
		a.timer.Stop()
	}
}

// onConnect believes everybody. The example jwt does not.
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
		return ctx.Decline(http.StatusNotFound, "there is no such auction")
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
			Message: "that is not enough",
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
		return // a bid was faster, and has set the timer again
	}
	a.over = true
	if ch, ok := h.endpoint.Channel("/auctions/" + item); ok {
		_ = ch.Broadcast(sold.With(a.state())) // whoever comes later gets the state
	}
}

func (a *auction) state() State {
	s := State{Cents: a.cents, By: a.by, Ends: a.ends.UnixMilli()}
	if a.over {
		s.Ends = 0
	}
	return s
}

// hide tells recipients whether the highest bid is theirs, and no name.
func hide(ctx *pond.OutgoingContext) error {
	var s State
	if err := ctx.Bind(&s); err != nil {
		return err
	}
	s.Yours = s.By == ctx.Get("name") // which is never empty
	s.By = ""
	return ctx.Transform(s)
}
