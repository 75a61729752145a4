package channel_test

import (
	"context"
	"errors"
	"runtime"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pondsocket/pond"
	"github.com/pondsocket/pond/internal/suite/kit"
	"github.com/pondsocket/pond/pondtest"
)

// Contexts that handlers derive, also from one another, cost no goroutine. They end
// with the connection.
func TestDerivedContextsCostNoGoroutine(t *testing.T) {
	const n = 100
	var derived []context.Context
	var called atomic.Int32
	derive := func(t *testing.T, ctx context.Context) {
		before := runtime.NumGoroutine()
		for range n {
			short, cancel := context.WithTimeout(context.WithValue(ctx, &called, 1), time.Hour)
			derived = append(derived, short)
			_ = cancel // the connection ends it
			context.AfterFunc(ctx, func() { called.Add(1) })
			never := context.AfterFunc(ctx, func() { t.Error("called although it was stopped") })
			never()
		}
		if more := runtime.NumGoroutine() - before; more > n/2 {
			t.Errorf("%d contexts cost %d goroutines", n, more)
		}
	}
	server := func() *pond.Pond {
		derived = nil
		called.Store(0)
		p := pond.New(pond.WithLogger(kit.Silent))
		l := p.Endpoint("/socket", kit.Accept).Lobby("/chat/:room", func(ctx *pond.JoinContext) error {
			derive(t, ctx)
			ctx.AfterFunc(func() { called.Add(1) })
			return ctx.Accept()
		})
		l.OnMessage("derive", func(ctx *pond.EventContext) error {
			derive(t, ctx)
			ctx.AfterFunc(func() { called.Add(1) })
			return ctx.Reply("derived", nil)
		})
		l.OnOutgoing("derived", func(ctx *pond.OutgoingContext) error {
			derive(t, ctx)
			ctx.AfterFunc(func() { called.Add(1) })
			return nil
		})
		l.OnLeave(func(ctx *pond.LeaveContext) error {
			short, cancel := context.WithTimeout(ctx, time.Hour)
			defer cancel()
			return short.Err()
		})
		return p
	}
	kit.OnBoth(t, server, func(t *testing.T, d *pondtest.Driver, tr pondtest.Transport) {
		s := d.Connect(tr, "/socket")
		s.Join("/chat/1", nil)
		s.Request("/chat/1", "derive", nil)
		synctest.Wait()
		if len(derived) != 3*n {
			t.Fatalf("%d contexts", len(derived))
		}
		for _, ctx := range derived {
			if ctx.Err() != nil {
				t.Fatal("cancelled while the client is connected")
			}
		}
		s.Close()
		synctest.Wait()
		for _, ctx := range derived {
			if !errors.Is(ctx.Err(), context.Canceled) {
				t.Fatalf("after the end: %v", ctx.Err())
			}
		}
		if got := called.Load(); got != 3*(n+1) {
			t.Errorf("%d functions were called", got)
		}
	})
}
