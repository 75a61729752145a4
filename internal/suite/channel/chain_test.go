package channel_test

import (
	"strings"
	"testing"

	"github.com/pondsocket/pond"
)

// The middlewares of a chain run from the first to the last.
func TestChain(t *testing.T) {
	var order []string
	note := func(name string) pond.Middleware[*pond.EventContext] {
		return func(next pond.Handler[*pond.EventContext]) pond.Handler[*pond.EventContext] {
			return func(ctx *pond.EventContext) error {
				order = append(order, name)
				return next(ctx)
			}
		}
	}
	h := pond.Chain(func(*pond.EventContext) error { order = append(order, "handler"); return nil }, note("a"), note("b"))
	if err := h(nil); err != nil || strings.Join(order, " ") != "a b handler" {
		t.Errorf("%v, %v", order, err)
	}
}
