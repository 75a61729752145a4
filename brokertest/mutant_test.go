package brokertest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pondsocket/pond"
	"github.com/pondsocket/pond/brokertest/memorybroker"
)

// A mutant is a broker with one fault. Nil functions have none.
type mutant struct {
	pond.BrokerLog // the broker without the fault

	publish   func(ctx context.Context, topic string, batch [][]byte) error
	subscribe func(ctx context.Context, topic string, r pond.Receiver) (io.Closer, error)
	health    func() error
	maxBytes  func() int
	close     func(ctx context.Context) error
	await     func(ctx context.Context, topic string) error
	open      func(ctx context.Context, topic string, keep pond.Retention) (pond.Position, error)
	append    func(ctx context.Context, topic string, b pond.Batch) (pond.Position, error)
	since     func(ctx context.Context, topic string, from pond.Position, limit int) (pond.Page, error)
	last      func(ctx context.Context, topic string, limit int) (pond.Page, error)
	tops      func(ctx context.Context, topics []string) ([]pond.Position, error)
	drop      func(ctx context.Context, topic string) error
}

func (m *mutant) Publish(ctx context.Context, topic string, batch [][]byte) error {
	if m.publish != nil {
		return m.publish(ctx, topic, batch)
	}
	return m.BrokerLog.Publish(ctx, topic, batch)
}

func (m *mutant) Subscribe(ctx context.Context, topic string, r pond.Receiver) (io.Closer, error) {
	if m.subscribe != nil {
		return m.subscribe(ctx, topic, r)
	}
	return m.BrokerLog.Subscribe(ctx, topic, r)
}

func (m *mutant) Health() error {
	if m.health != nil {
		return m.health()
	}
	return m.BrokerLog.Health()
}

func (m *mutant) MaxBytes() int {
	if m.maxBytes != nil {
		return m.maxBytes()
	}
	return m.BrokerLog.MaxBytes()
}

func (m *mutant) Close(ctx context.Context) error {
	if m.close != nil {
		return m.close(ctx)
	}
	return m.BrokerLog.Close(ctx)
}

// AwaitSubscribers waits until the node is connected.
func (m *mutant) AwaitSubscribers(ctx context.Context, topic string) error {
	if m.await != nil {
		return m.await(ctx, topic)
	}
	for ctx.Err() == nil {
		if err := m.BrokerLog.Health(); err == nil || errors.Is(err, pond.ErrClosed) {
			return err
		}
		select {
		case <-ctx.Done():
		case <-time.After(time.Millisecond):
		}
	}
	return context.Cause(ctx)
}

func (m *mutant) Open(ctx context.Context, topic string, keep pond.Retention) (pond.Position, error) {
	if m.open != nil {
		return m.open(ctx, topic, keep)
	}
	return m.BrokerLog.Open(ctx, topic, keep)
}

func (m *mutant) Append(ctx context.Context, topic string, b pond.Batch) (pond.Position, error) {
	if m.append != nil {
		return m.append(ctx, topic, b)
	}
	return m.BrokerLog.Append(ctx, topic, b)
}

func (m *mutant) Since(ctx context.Context, topic string, from pond.Position, limit int) (pond.Page, error) {
	if m.since != nil {
		return m.since(ctx, topic, from, limit)
	}
	return m.BrokerLog.Since(ctx, topic, from, limit)
}

func (m *mutant) Last(ctx context.Context, topic string, limit int) (pond.Page, error) {
	if m.last != nil {
		return m.last(ctx, topic, limit)
	}
	return m.BrokerLog.Last(ctx, topic, limit)
}

func (m *mutant) Tops(ctx context.Context, topics []string) ([]pond.Position, error) {
	if m.tops != nil {
		return m.tops(ctx, topics)
	}
	return m.BrokerLog.Tops(ctx, topics)
}

func (m *mutant) Drop(ctx context.Context, topic string) error {
	if m.drop != nil {
		return m.drop(ctx, topic)
	}
	return m.BrokerLog.Drop(ctx, topic)
}

// receiving wraps the receivers of the broker.
func (m *mutant) receiving(wrap func(topic string, r pond.Receiver) pond.Receiver) {
	m.subscribe = func(ctx context.Context, topic string, r pond.Receiver) (io.Closer, error) {
		return m.BrokerLog.Subscribe(ctx, topic, wrap(topic, r))
	}
}

// A filter is a receiver with one fault.
type filter struct {
	pond.Receiver
	receive func(e pond.Entry)
	gap     func(reason error)
}

func (f *filter) Receive(e pond.Entry) {
	if f.receive != nil {
		f.receive(e)
		return
	}
	f.Receiver.Receive(e)
}

func (f *filter) Gap(reason error) {
	if f.gap != nil {
		f.gap(reason)
		return
	}
	f.Receiver.Gap(reason)
}

type closerFunc func() error

func (f closerFunc) Close() error { return f() }

// harness creates clusters of mutants.
func harness(mutate func(m *mutant)) *Harness {
	return &Harness{
		Bubble: true,
		Open: func(testing.TB) *Cluster {
			bus := memorybroker.New(memorybroker.WithMaxBytes(256 << 10)) // large messages are slow
			var nodes atomic.Int64
			original := func(b pond.Broker) *memorybroker.Broker { return b.(*mutant).BrokerLog.(*memorybroker.Broker) }
			return &Cluster{
				Node: func() pond.Broker {
					m := &mutant{BrokerLog: bus.Broker(fmt.Sprint("node", nodes.Add(1)))}
					mutate(m)
					return m
				},
				Disconnect: map[string]func(pond.Broker){"reset": func(b pond.Broker) {
					original(b).Disconnect()
					original(b).Connect()
				}},
				Sever: func(b pond.Broker) (restore func()) {
					original(b).Disconnect()
					return original(b).Connect
				},
				Stall: func(pond.Broker) (resume func()) {
					bus.Pause()
					return bus.Resume
				},
				LoseLog:      func(topic string) { bus.LoseLogs(topic) },
				LoseResponse: func(b pond.Broker, topic string) { original(b).FailAppends(topic, 1) },
			}
		},
	}
}

// A recorder is a testing.TB that keeps failures to itself.
type recorder struct {
	testing.TB

	mu       sync.Mutex
	failures []string
	cleanups []func()
}

func (r *recorder) Helper() {}

func (r *recorder) fail(text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failures = append(r.failures, text)
}

func (r *recorder) Error(args ...any) { r.fail(fmt.Sprint(args...)) }

func (r *recorder) Errorf(format string, args ...any) { r.fail(fmt.Sprintf(format, args...)) }

func (r *recorder) Fatal(args ...any) {
	r.fail(fmt.Sprint(args...))
	runtime.Goexit()
}

func (r *recorder) Fatalf(format string, args ...any) {
	r.fail(fmt.Sprintf(format, args...))
	runtime.Goexit()
}

func (r *recorder) Cleanup(f func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.cleanups = append(r.cleanups, f)
}

// failures runs a check in a bubble and returns its failures.
func failures(t *testing.T, h *Harness, c check) []string {
	t.Helper()
	rec := &recorder{}
	synctest.Test(t, func(t *testing.T) {
		rec.TB = t
		done := make(chan struct{})
		go func() {
			defer close(done)
			h.run(rec, c)
		}()
		<-done
		for _, f := range slices.Backward(rec.cleanups) {
			f()
		}
		wait(time.Hour) // for delayed actions of mutants
	})
	return rec.failures
}

// TestMutants shows that the suite finds faults: for each fault, at least the named
// checks fail, and without a fault none does.
func TestMutants(t *testing.T) {
	for _, test := range mutants {
		t.Run(test.mistake, func(t *testing.T) {
			for name := range strings.FieldsSeq(test.found) {
				i := slices.IndexFunc(checks(), func(c check) bool { return c.name == name })
				if i < 0 {
					t.Fatalf("no check %s", name)
				}
				found := failures(t, harness(test.mutate), checks()[i])
				if len(found) == 0 {
					t.Errorf("%s does not find it", name)
					continue
				}
				t.Logf("%s: %.200s", name, found[0])
			}
		})
	}
}

// TestEveryCheckFindsSomething shows that each check is necessary.
func TestEveryCheckFindsSomething(t *testing.T) {
	for _, c := range checks() {
		if !slices.ContainsFunc(mutants, func(m mistake) bool { return slices.Contains(strings.Fields(m.found), c.name) }) {
			t.Errorf("no mistake is found by %s", c.name)
		}
		if found := failures(t, harness(func(*mutant) {}), c); len(found) > 0 {
			t.Errorf("%s: %q", c.name, found)
		}
	}
}

// A harness must declare missing features.
func TestMissingFaultIsNoSilentSkip(t *testing.T) {
	h := harness(func(*mutant) {})
	whole := h.Open
	h.Open = func(t testing.TB) *Cluster {
		c := whole(t)
		return &Cluster{Node: func() pond.Broker { return struct{ pond.Broker }{c.Node()} }}
	}
	for _, c := range checks() {
		found := failures(t, h, c)
		if (len(found) > 0) != (c.needs != "") {
			t.Errorf("%s needs %q: %q", c.name, c.needs, found)
		}
	}
}

// wait waits in a bubble.
func wait(d time.Duration) { <-time.After(d) }
