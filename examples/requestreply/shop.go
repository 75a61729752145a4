package main

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/pondsocket/pond"
)

// A Query asks about an item.
type Query struct {
	Item string `json:"item"`
}

// A Price answers it.
type Price struct {
	Item  string `json:"item"`
	Cents int    `json:"cents"`
	Left  int    `json:"left"`
}

// An Order asks for some of an item.
type Order struct {
	Item  string `json:"item"`
	Count int    `json:"count"`
}

// A Receipt answers it.
type Receipt struct {
	Number int `json:"number"`
	Cents  int `json:"cents"`
}

// A Stock tells everybody else what is left.
type Stock struct {
	Item string `json:"item"`
	Left int    `json:"left"`
}

// A Delivery answers how long an item takes.
type Delivery struct {
	Days int `json:"days"`
}

const (
	askPrice    pond.Event[Query]    = "price"
	price       pond.Event[Price]    = "price"
	order       pond.Event[Order]    = "order"
	receipt     pond.Event[Receipt]  = "receipt"
	stock       pond.Event[Stock]    = "stock"
	askDelivery pond.Event[Query]    = "delivery"
	delivery    pond.Event[Delivery] = "delivery"
)

// patience is how long the supplier has.
const patience = 2 * time.Second

// A Shop answers questions.
type Shop struct {
	supplier func(ctx context.Context, item string) (days int, err error)

	mu     sync.Mutex // guards the following fields, and orders what is told of them
	goods  map[string]*Price
	orders int
}

func (s *Shop) open(e *pond.Endpoint) {
	shop := e.Lobby("/shop", func(ctx *pond.JoinContext) error { return ctx.Accept() })
	pond.On(shop, askPrice, s.onPrice)
	pond.On(shop, order, s.onOrder)
	pond.On(shop, askDelivery, s.onDelivery)
}

// find needs the lock.
func (s *Shop) find(item string) (*Price, error) {
	if p, ok := s.goods[item]; ok {
		return p, nil
	}
	return nil, pond.Errorf(http.StatusNotFound, "we have no %q", item)
}

// onPrice is the simplest form: one answer, or one error.
func (s *Shop) onPrice(ctx *pond.EventContext, q Query) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, err := s.find(q.Item)
	if err != nil {
		return err
	}
	return ctx.Reply(price.With(*p))
}

// onOrder answers the sender, and tells the others what has changed. They must be
// told by Others: a broadcast carries the ID of the request, too, and the first
// message with it is the answer.
func (s *Shop) onOrder(ctx *pond.EventContext, o Order) error {
	if o.Count < 1 {
		return pond.Errorf(http.StatusUnprocessableEntity, "order one at least")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	p, err := s.find(o.Item)
	if err != nil {
		return err
	}
	if o.Count > p.Left {
		return &pond.Error{
			Code:    http.StatusConflict,
			Message: "there are not enough left",
			Details: Stock{o.Item, p.Left}, // for programs; the message is for people
		}
	}
	p.Left -= o.Count
	s.orders++
	return errors.Join(
		ctx.Reply(receipt.With(Receipt{s.orders, o.Count * p.Cents})),
		ctx.Others().Broadcast(stock.With(Stock{o.Item, p.Left})),
	)
}

// onDelivery asks somebody else, who may be slow. ctx ends when the client goes
// away, and then nobody needs the answer. What else goes wrong concerns the log:
// the client learns no more than "internal error".
func (s *Shop) onDelivery(ctx *pond.EventContext, q Query) error {
	asking, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	days, err := s.supplier(asking, q.Item)
	if errors.Is(err, context.DeadlineExceeded) {
		return &pond.Error{Code: http.StatusGatewayTimeout, Message: "the supplier does not answer", Err: err}
	}
	if err != nil {
		return err
	}
	return ctx.Reply(delivery.With(Delivery{days}))
}
