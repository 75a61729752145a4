package cluster_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pondsocket/pond/internal/cluster"
)

var (
	errAway     = errors.New("away")
	errTooLarge = errors.New("too large")
)

// A backend takes what lanes send.
type backend struct {
	mu    sync.Mutex // guards the following fields
	calls []string
	fail  error
	block chan struct{} // calls wait until it is closed, unless it is nil
	lost  int           // events
	seqs  []uint64      // that messages got
	fails int           // calls of GaveUp
}

func (b *backend) send(ctx context.Context, topic string, log any, first uint64, batch [][]byte) error {
	b.mu.Lock()
	block := b.block
	b.mu.Unlock()
	if block != nil {
		select {
		case <-block:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	var call strings.Builder
	call.WriteString(topic)
	if log != nil {
		fmt.Fprint(&call, "#", first)
	}
	for _, data := range batch {
		call.WriteString(" " + string(data))
	}
	b.calls = append(b.calls, call.String())
	return b.fail
}

func (b *backend) setFail(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.fail = err
}

// expect checks the calls since the last time.
func (b *backend) expect(t *testing.T, want ...string) {
	t.Helper()
	synctest.Wait()
	b.mu.Lock()
	defer b.mu.Unlock()
	if !slices.Equal(b.calls, want) {
		t.Errorf("calls %q, want %q", b.calls, want)
	}
	b.calls = nil
}

// withLanes runs test in a bubble.
func withLanes(t *testing.T, test func(t *testing.T, l *cluster.Lanes, b *backend)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b := &backend{}
		l := cluster.NewLanes(cluster.LanesConfig{
			Number:    func(message []byte, seq uint64, _ cluster.Count) []byte { b.seqs = append(b.seqs, seq); return message },
			Send:      b.send,
			Permanent: func(err error) bool { return errors.Is(err, errTooLarge) },
			GaveUp: func(_ string, events int, _ cluster.Span, _ error) {
				b.mu.Lock()
				defer b.mu.Unlock()
				b.lost += events
				b.fails++
			},
			LaneBytes: 2000, TotalBytes: 3000, Timeout: time.Second, Patience: 10 * time.Second,
		})
		test(t, l, b)
		if err := l.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

func push(t *testing.T, l *cluster.Lanes, topic, data string) {
	t.Helper()
	if err := l.Push(topic, cluster.Item{Data: []byte(data)}); err != nil {
		t.Fatal(err)
	}
}

// Goroutines that are ready at the same time share a batch.
func TestLanesShareABatch(t *testing.T) {
	const rounds, messages = 10, 10
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	withLanes(t, func(t *testing.T, l *cluster.Lanes, b *backend) {
		for range rounds {
			for range messages {
				go func() { _ = l.Push("x", cluster.Item{Data: []byte("1")}) }()
			}
			synctest.Wait()
		}
		b.mu.Lock()
		defer b.mu.Unlock()
		sent := strings.Count(strings.Join(b.calls, ""), "1")
		if calls := len(b.calls); calls > 2*rounds || sent != rounds*messages {
			t.Errorf("%d calls with %d messages, want about %d with %d", calls, sent, rounds, rounds*messages)
		}
	})
}

// What is queued while a batch is in flight is the next batch, in order; other topics do
// not wait.
func TestLanesBatch(t *testing.T) {
	withLanes(t, func(t *testing.T, l *cluster.Lanes, b *backend) {
		b.block = make(chan struct{})
		push(t, l, "x", "1")
		synctest.Wait()
		push(t, l, "x", "2")
		push(t, l, "x", "3")
		b.mu.Lock()
		block := b.block
		b.block = nil
		b.mu.Unlock()
		push(t, l, "y", "4")
		b.expect(t, "y 4")
		close(block)
		b.expect(t, "x 1", "x 2 3")
		if n, _, bytes := l.Queued(); n > 0 || bytes != 0 {
			t.Errorf("lanes %q with %d bytes are left", l.Topics(), bytes)
		}
	})
}

// Stored messages are in batches of their own. Their numbers increase over all topics, and
// are the same when a batch is sent again.
func TestLanesNumbers(t *testing.T) {
	withLanes(t, func(t *testing.T, l *cluster.Lanes, b *backend) {
		b.setFail(errAway)
		for _, data := range []string{"1", "2"} {
			_ = l.Push("x", cluster.Item{Data: []byte(data), Log: "log"})
		}
		push(t, l, "x", "3")
		_ = l.Push("x", cluster.Item{Data: []byte("4"), Log: "log"})
		b.expect(t, "x#1 1 2")
		b.setFail(nil)
		time.Sleep(time.Second)
		b.expect(t, "x#1 1 2", "x 3", "x#3 4")
		_ = l.Push("y", cluster.Item{Data: []byte("5"), Log: "log"})
		b.expect(t, "y#4 5")
	})
}

// A lane gives up when all attempts fail for too long: with everything that is queued, and
// once for each of it. The next message is a new beginning.
func TestLanesGiveUp(t *testing.T) {
	withLanes(t, func(t *testing.T, l *cluster.Lanes, b *backend) {
		b.setFail(errAway)
		results := make(chan error, 3)
		for range 3 {
			_ = l.Push("x", cluster.Item{Data: []byte("1"), Event: true, Done: func(err error) { results <- err }})
			time.Sleep(3 * time.Second)
		}
		push(t, l, "x", "state")
		synctest.Wait()
		if n, failing, _ := l.Queued(); n != 1 || failing != 1 || len(results) > 0 {
			t.Errorf("%d of %d lanes fail, and %d messages are done", failing, n, len(results))
		}
		time.Sleep(4 * time.Second)
		synctest.Wait()
		if len(results) != 3 || <-results != errAway || b.lost != 3 || b.fails != 1 { //nolint:errorlint // the error itself
			t.Errorf("%d results, %d events lost, %d failures", len(results), b.lost, b.fails)
		}
		if _, failing, _ := l.Queued(); failing != 0 {
			t.Errorf("%d lanes fail", failing)
		}
		b.setFail(nil)
		b.calls = nil
		push(t, l, "x", "2")
		b.expect(t, "x 2")
	})
}

// A message that can never be sent does not hold up those behind it.
func TestLanesPermanentError(t *testing.T) {
	withLanes(t, func(t *testing.T, l *cluster.Lanes, b *backend) {
		b.setFail(errTooLarge)
		var got error
		_ = l.Push("x", cluster.Item{Data: []byte("1"), Done: func(err error) { got = err }})
		b.expect(t, "x 1")
		b.setFail(nil)
		push(t, l, "x", "2")
		b.expect(t, "x 2")
		synctest.Wait()
		if !errors.Is(got, errTooLarge) {
			t.Errorf("result %v", got)
		}
	})
}

// Each topic, and all together, are limited.
func TestLanesLimits(t *testing.T) {
	withLanes(t, func(t *testing.T, l *cluster.Lanes, b *backend) {
		b.setFail(errAway)
		big := cluster.Item{Data: make([]byte, 1500)}
		small := cluster.Item{Data: make([]byte, 500)}
		if err := l.Push("x", big); err != nil {
			t.Fatal(err)
		}
		if err := l.Push("x", small); !errors.Is(err, cluster.ErrFull) {
			t.Errorf("the lane took more than its limit: %v", err)
		}
		if err := l.Push("y", small); err != nil {
			t.Error(err)
		}
		if err := l.Push("z", big); !errors.Is(err, cluster.ErrFull) {
			t.Errorf("all lanes together took more than their limit: %v", err)
		}
		time.Sleep(13 * time.Second)
		synctest.Wait()
		if _, _, bytes := l.Queued(); bytes != 0 {
			t.Errorf("%d bytes are queued after giving up", bytes)
		}
	})
}

// The last item with a key takes the place of the queued one, but not of one in flight.
func TestLanesKeys(t *testing.T) {
	withLanes(t, func(t *testing.T, l *cluster.Lanes, b *backend) {
		block := make(chan struct{})
		b.block = block
		key := func(data string) { _ = l.Push("x", cluster.Item{Data: []byte(data), Key: "k"}) }
		key("1")
		synctest.Wait()
		key("2")
		push(t, l, "x", "other")
		key("3")
		key("4")
		b.mu.Lock()
		b.block = nil
		b.mu.Unlock()
		close(block)
		b.expect(t, "x 1", "x 4 other")
		if want := []uint64{1, 2, 3, 2, 2}; !slices.Equal(b.seqs, want) { // each keeps its place
			t.Errorf("numbers %d, want %d", b.seqs, want)
		}
		key("5")
		b.expect(t, "x 5")
	})
}

// An item with a key does not take a place before an item that fixes the key.
func TestLanesFixedKeys(t *testing.T) {
	withLanes(t, func(t *testing.T, l *cluster.Lanes, b *backend) {
		block := make(chan struct{})
		b.block = block
		item := func(it cluster.Item, data string) {
			it.Data = []byte(data)
			if err := l.Push("x", it); err != nil {
				t.Fatal(err)
			}
		}
		k, n := cluster.Item{Key: "k"}, cluster.Item{Key: "n"}
		push(t, l, "x", "first")
		synctest.Wait()
		item(k, "k1")
		item(n, "n1")
		item(cluster.Item{Fixes: []string{"k", "other"}}, "fixes k")
		item(k, "k2")
		item(n, "n2")
		item(k, "k3")
		item(cluster.Item{FixesAll: true}, "fixes all")
		item(k, "k4")
		item(n, "n3")
		b.mu.Lock()
		b.block = nil
		b.mu.Unlock()
		close(block)
		b.expect(t, "x first", "x k1 n2 fixes k k3 fixes all k4 n3")
	})
}

// Flush waits for everything that is queued. Close does not, and later messages are
// refused.
func TestLanesClose(t *testing.T) {
	withLanes(t, func(t *testing.T, l *cluster.Lanes, b *backend) {
		b.setFail(errAway)
		var got error
		_ = l.Push("x", cluster.Item{Data: []byte("1"), Event: true, Done: func(err error) { got = err }})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := l.Flush(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Flush returned %v", err)
		}
		b.setFail(nil)
		if err := l.Flush(t.Context()); err != nil || got != nil {
			t.Errorf("Flush returned %v, the message got %v", err, got)
		}
		b.block = make(chan struct{}) // never closed
		_ = l.Push("x", cluster.Item{Data: []byte("2"), Event: true, Done: func(err error) { got = err }})
		synctest.Wait()
		if err := l.Close(t.Context()); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		if !errors.Is(got, cluster.ErrClosed) || b.lost != 1 {
			t.Errorf("the message got %v, and %d are lost", got, b.lost)
		}
		if err := l.Push("x", cluster.Item{}); !errors.Is(err, cluster.ErrClosed) {
			t.Errorf("Push after Close returned %v", err)
		}
	})
}

// Close does not wait longer than its context for a backend that ignores cancelled contexts.
func TestLanesCloseWithContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		block := make(chan struct{})
		l := cluster.NewLanes(cluster.LanesConfig{
			Number:    func(message []byte, _ uint64, _ cluster.Count) []byte { return message },
			Send:      func(context.Context, string, any, uint64, [][]byte) error { <-block; return nil },
			Permanent: func(error) bool { return false },
			LaneBytes: 2000, TotalBytes: 2000, Timeout: time.Second, Patience: time.Second,
		})
		push(t, l, "x", "1")
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := l.Close(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Close returned %v", err)
		}
		close(block)
		if err := l.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// A queue keeps the order, and drops what is too much together with a note.
func TestQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var got []string
		block := make(chan struct{})
		var q cluster.Queue[string]
		q.Init(10, func(s string) { <-block; got = append(got, s) }, func() string { return "lost" })
		q.Push("1", 4)
		synctest.Wait()
		q.Push("2", 6)
		q.Push("event", 0)
		q.Push("3", 6) // too much: 2 is dropped with it
		q.Push("4", 6)
		close(block)
		synctest.Wait()
		if want := []string{"1", "event", "lost", "4"}; !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
		q.Push("large", 100) // the queue is empty
		synctest.Wait()
		if got[len(got)-1] != "large" {
			t.Errorf("got %q", got)
		}
		if err := q.Close(t.Context()); err != nil {
			t.Error(err)
		}
		q.Push("late", 1)
		synctest.Wait()
		if got[len(got)-1] != "large" {
			t.Error("a closed queue took a value")
		}
	})
}

// A function that ends its goroutine does not stop the queue.
func TestQueueGoexit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var got []string
		var q cluster.Queue[string]
		q.Init(100, func(s string) {
			if s == "exit" {
				runtime.Goexit()
			}
			got = append(got, s)
		}, nil)
		for _, s := range []string{"1", "exit", "2"} {
			q.Push(s, 1)
		}
		synctest.Wait()
		if !slices.Equal(got, []string{"1", "2"}) {
			t.Errorf("got %q", got)
		}
		q.Push("exit", 1)
		if err := q.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// Close does not wait longer than its context for a function that takes long, and no further
// value reaches the function.
func TestQueueCloseWithContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		block := make(chan struct{})
		var got []string
		var q cluster.Queue[string]
		q.Init(100, func(s string) { got = append(got, s); <-block }, nil)
		q.Push("1", 1)
		q.Push("2", 1)
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := q.Close(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Close returned %v", err)
		}
		close(block)
		if err := q.Close(t.Context()); err != nil {
			t.Error(err)
		}
		if !slices.Equal(got, []string{"1"}) {
			t.Errorf("the function got %q", got)
		}
	})
}
