package brokertest

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"time"

	"github.com/pondsocket/pond"
)

// closeChecks test Close.
var closeChecks = []check{
	{"CloseFlushes", "", (*env).closeFlushes},
	{"ClosedBroker", "", (*env).closedBroker},
}

// closeFlushes: messages arrive if their Publish returned nil, even during Close.
func (e *env) closeFlushes() {
	const topics = 6
	a, b := e.node(), e.node()
	receivers := make([]*receiver, topics)
	accepted := make([]int, topics)
	var wg sync.WaitGroup
	for i := range receivers {
		topic := e.topic(strconv.Itoa(i))
		receivers[i] = e.subscribe(b, topic)
		ctx := e.context()
		wg.Go(func() {
			for {
				err := a.Publish(ctx, topic, batch(message("a", accepted[i]+1)))
				if err != nil {
					if !errors.Is(err, pond.ErrClosed) {
						e.Errorf("Publish during Close: %v, want ErrClosed", err)
					}
					return
				}
				accepted[i]++
				if e.bubble {
					<-time.After(time.Millisecond) // otherwise virtual time does not advance
				}
			}
		})
	}
	for _, r := range receivers {
		r.texts(10)
	}
	if err := a.Close(e.context()); err != nil {
		e.Errorf("Close: %v", err)
	}
	wg.Wait()
	for i, r := range receivers {
		e.inOrder(r.texts(accepted[i])[:accepted[i]], 1, accepted[i]) // one more may have arrived although its Publish returned an error
	}
}

// closedBroker: after Close, no receiver is called, and all methods return ErrClosed.
func (e *env) closedBroker() {
	a, b, topic := e.node(), e.node(), e.topic("a")
	ra, rb := e.subscribe(a, topic), e.subscribe(b, topic)
	e.publish(b, topic, message("b", 1))
	e.inOrder(ra.texts(1), 1, 1)
	if err := a.Close(e.context()); err != nil {
		e.Errorf("Close: %v", err)
	}
	ra.end()
	e.publish(b, topic, `{"last":true}`)
	rb.awaitText(`{"last":true}`)
	e.settle()
	ra.close() // does nothing
	if err := a.Publish(e.context(), topic, batch(`{}`)); !errors.Is(err, pond.ErrClosed) {
		e.Errorf("Publish: %v, want ErrClosed", err)
	}
	if _, err := a.Subscribe(e.context(), topic, ra); !errors.Is(err, pond.ErrClosed) {
		e.Errorf("Subscribe: %v, want ErrClosed", err)
	}
	if err := a.Health(); !errors.Is(err, pond.ErrClosed) {
		e.Errorf("Health: %v, want ErrClosed", err)
	}
	if err := a.Close(e.context()); err != nil {
		e.Errorf("closing again: %v", err)
	}
	if log, ok := a.(pond.BrokerLog); ok {
		e.closedLog(log, topic)
	}
}

func (e *env) closedLog(log pond.BrokerLog, topic string) {
	ctx := e.context()
	calls := map[string]func(ctx context.Context) error{
		"Open":   func(ctx context.Context) error { _, err := log.Open(ctx, topic, keep); return err },
		"Append": func(ctx context.Context) error { _, err := log.Append(ctx, topic, produce("a", 1, `{}`)); return err },
		"Since":  func(ctx context.Context) error { _, err := log.Since(ctx, topic, pond.Position{}, 1); return err },
		"Last":   func(ctx context.Context) error { _, err := log.Last(ctx, topic, 1); return err },
		"Tops":   func(ctx context.Context) error { _, err := log.Tops(ctx, []string{topic}); return err },
		"Drop":   func(ctx context.Context) error { return log.Drop(ctx, topic) },
	}
	for name, call := range calls {
		if err := call(ctx); !errors.Is(err, pond.ErrClosed) {
			e.Errorf("%s: %v, want ErrClosed", name, err)
		}
	}
}
