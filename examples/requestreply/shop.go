package main

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/pondsocket/pond"
)

// A Query is a request about an item.
type Query struct {
	Item string `json:"item"`
}

// A Price is the answer to a request for a price.
type Price struct {
	Item  string `json:"item"`
	Cents int    `json:"cents"`
	Left  int    `json:"left"`
}

// An Order is a request to buy an item.
type Order struct {
	Item  string `json:"item"`
	Count int    `json:"count"`
}

// A Receipt is the answer to an Order.
type Receipt struct {
	Number int `json:"number"`
	Cents  int `json:"cents"`
}

// A Stock is sent to the other members after an order.
type Stock struct {
	Item string `json:"item"`
	Left int    `json:"left"`
}

// A Delivery is the answer to a request for the delivery time.
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

// patience is the timeout for the supplier.
const patience = 2 * time.Second

// A Shop answers requests.
type Shop struct {
	supplier func(ctx context.Context, item string) (days int, err error)

	mu     sync.Mutex // guards the following fields, and orders the messages about them
	goods  map[string]*Price
	orders int
}

func (s *Shop) open(e *pond.Endpoint) {
	shop := e.Lobby("/shop", func(ctx *pond.JoinContext) error { return ctx.Accept() })
	pond.On(shop, askPrice, s.onPrice)
	pond.On(shop, order, s.onOrder)
	pond.On(shop, askDelivery, s.onDelivery)
}

// find must be called with the lock held.
func (s *Shop) find(item string) (*Price, error) {
	if p, ok := s.goods[item]; ok {
		return p, nil
	}
	return nil, pond.Errorf(http.StatusNotFound, "item %q not found", item)
}

// onPrice is the simplest handler: it returns one answer or one error.
func (s *Shop) onPrice(ctx *pond.EventContext, q Query) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, err := s.find(q.Item)
	if err != nil {
		return err
	}
	return ctx.Reply(price.With(*p))
}

// onOrder answers the sender, and sends the change to the other members. It must use Others,
// because a broadcast also carries the ID of the request, and the first message with this ID
// is the answer.
func (s *Shop) onOrder(ctx *pond.EventContext, o Order) error {
	if o.Count < 1 {
		return pond.Errorf(http.StatusUnprocessableEntity, "the count must be positive")
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
			Message: "not enough in stock",
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

// onDelivery calls another service, which may be slow. ctx is canceled when the client
// disconnects, because then the answer is not needed. Other errors are logged, and the
// client receives only "internal error".
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
