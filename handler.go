package pond

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"

	"github.com/pondsocket/pond/internal/strictjson"
)

// A Handler handles one event in the life of a client: C is one of
// [*ConnectionContext], [*JoinContext], [*EventContext], [*OutgoingContext] and
// [*LeaveContext]. If it returns an error, the request of the client fails, and the
// client receives the error if it is an [*Error]. A nil *Error is no error. A panic,
// or a call of [runtime.Goexit], counts as an error that is not an *Error; only that
// event is affected.
type Handler[C any] func(ctx C) error

// A Middleware wraps a Handler, as middlewares for net/http do. One generic function
// can serve all five types of handlers:
//
//	func logged[C context.Context](next pond.Handler[C]) pond.Handler[C]
type Middleware[C any] func(next Handler[C]) Handler[C]

// Chain wraps h in middlewares. The first middleware is the outermost and runs first. A
// middleware sees nil if the next handler returned a nil [*Error].
func Chain[C any](h Handler[C], middlewares ...Middleware[C]) Handler[C] {
	for _, m := range slices.Backward(middlewares) {
		next := h
		h = m(func(ctx C) error {
			if err := next(ctx); !succeeded(err) {
				return err
			}
			return nil
		})
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

// On is like [Lobby.OnMessage], but decodes the payload into a T for h. If the payload
// does not decode into a T or is ambiguous, h is not called, and the client receives an
// error with [http.StatusBadRequest]. See [EventContext.Bind].
func On[T any](l *Lobby, event Event[T], h func(ctx *EventContext, payload T) error) {
	if h == nil {
		l.OnMessage(string(event), nil) // panics
	}
	l.OnMessage(string(event), func(ctx *EventContext) error {
		var payload T
		if err := ctx.Bind(&payload); err != nil {
			return err
		}
		return h(ctx, payload)
	})
}

// bind decodes a payload for a handler. Members of the channel may receive the same
// payload, so they must decode it to the same values.
func bind(payload []byte, v any) error {
	err := strictjson.Unmarshal(payload, v)
	if err == nil {
		return nil
	}
	if ambiguous, ok := errors.AsType[*strictjson.AmbiguousError](err); ok {
		return &Error{Code: http.StatusBadRequest, Message: "the payload is ambiguous: " + ambiguous.Problem, Err: err}
	}
	if _, ok := errors.AsType[*json.InvalidUnmarshalError](err); ok {
		return fmt.Errorf("pond: cannot bind the payload: %w", err) // the handler's mistake, not the client's
	}
	return badPayload(err)
}
