package pond

import (
	"encoding/json"
	"slices"
)

// A Handler handles one moment in a client's life: C is one of
// [*ConnectionContext], [*JoinContext], [*EventContext], [*OutgoingContext] and
// [*LeaveContext]. An error that it returns refuses or answers the client; see
// [Error] for what the client learns. A panic counts as an error.
type Handler[C any] func(ctx C) error

// A Middleware wraps a Handler, in the shape that net/http made common. One
// generic function can serve all five moments:
//
//	func logged[C context.Context](next pond.Handler[C]) pond.Handler[C]
type Middleware[C any] func(next Handler[C]) Handler[C]

// Chain wraps h in middlewares. The first is the outermost: it runs first.
func Chain[C any](h Handler[C], middlewares ...Middleware[C]) Handler[C] {
	for _, m := range slices.Backward(middlewares) {
		h = m(h)
	}
	return h
}

// An Event is the name of an event whose payload is a T. Declare one for each
// event, in a package that server and Go clients share:
//
//	const Said pond.Event[Message] = "message"
type Event[T any] string

// With returns the arguments of Broadcast and Reply, checked by the compiler:
//
//	ctx.Broadcast(Said.With(m))
func (e Event[T]) With(payload T) (name string, _ any) { return string(e), payload }

// On registers h for an event. It is [Lobby.OnMessage] for payloads that are a
// T: a payload that does not decode into one is answered with
// [http.StatusBadRequest], and h does not see it.
func On[T any](l *Lobby, event Event[T], h func(ctx *EventContext, payload T) error) {
	l.OnMessage(string(event), func(ctx *EventContext) error {
		var payload T
		if err := ctx.Bind(&payload); err != nil {
			return err
		}
		return h(ctx, payload)
	})
}

// A registered handler is one that the Pond calls.
type registered[C any] struct {
	handler Handler[C]
	panics  panicLog
}

// call runs a handler and turns a panic into an error.
func (r *registered[C]) call(ctx C) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = r.panics.recovered(v)
		}
	}()
	return r.handler(ctx)
}

// bind decodes a client's payload.
func bind(payload []byte, v any) error {
	if err := json.Unmarshal(payload, v); err != nil {
		return badPayload(err)
	}
	return nil
}
