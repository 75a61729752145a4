package memorybroker_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pondsocket/pond"
	"github.com/pondsocket/pond/brokertest/memorybroker"
)

var keep = pond.Retention{Messages: 100, Bytes: 1 << 20, Age: time.Hour}

// A trace contains the messages of all receivers of a test, in the order of time.
type trace struct {
	mu    sync.Mutex
	start time.Time
	lines []string
}

func (tr *trace) add(name, text string) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.lines = append(tr.lines, fmt.Sprintf("%v %s %s", time.Since(tr.start), name, text))
}

// texts returns the messages of one receiver.
func (tr *trace) texts(name string) []string {
	synctest.Wait()
	tr.mu.Lock()
	defer tr.mu.Unlock()
	var texts []string
	for _, line := range tr.lines {
		if f := strings.SplitN(line, " ", 3); f[1] == name {
			texts = append(texts, f[2])
		}
	}
	return texts
}

type receiver struct {
	trace *trace
	name  string
}

func (r *receiver) Receive(e pond.Entry) { r.trace.add(r.name, string(e.Data)) }

func (r *receiver) Gap(reason error) { r.trace.add(r.name, "gap: "+reason.Error()) }

func subscribe(t *testing.T, tr *trace, b pond.Broker, topic, name string) {
	t.Helper()
	closer, err := b.Subscribe(t.Context(), topic, &receiver{tr, name})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closer.Close() })
}

func publish(t *testing.T, b pond.Broker, topic string, texts ...string) {
	t.Helper()
	if err := b.Publish(t.Context(), topic, batch(texts...)); err != nil {
		t.Error(err)
	}
}

func batch(texts ...string) (b [][]byte) {
	for _, text := range texts {
		b = append(b, []byte(text))
	}
	return b
}

func wantTexts(t *testing.T, tr *trace, name string, want ...string) {
	t.Helper()
	if got := tr.texts(name); !slices.Equal(got, want) {
		t.Errorf("%s got %q, want %q", name, got, want)
	}
}

// play simulates a sequence of calls with faults, and returns the received messages
// with their times.
func play(t *testing.T, seed uint64) (lines []string) {
	synctest.Test(t, func(t *testing.T) {
		bus := memorybroker.New(memorybroker.WithSeed(seed), memorybroker.WithSparseOffsets())
		bus.SetFaults(memorybroker.Faults{
			MinDelay: time.Millisecond, MaxDelay: 50 * time.Millisecond,
			Drop: 0.1, Fail: 0.1, TimeOut: 0.1, Duplicate: 0.1,
		})
		tr := &trace{start: time.Now()}
		var wg sync.WaitGroup
		for _, name := range []string{"a", "b", "c"} {
			b := bus.Broker(name)
			for _, topic := range []string{"t1", "t2", "t3"} {
				wg.Go(func() {
					for {
						_, err := b.Subscribe(t.Context(), topic, &receiver{tr, name + topic})
						if err == nil || strings.Contains(err.Error(), "already") {
							break
						}
					}
					for n := range 20 {
						text := fmt.Sprint(name, n)
						var err error
						if topic == "t3" {
							_, err = b.Append(t.Context(), topic, pond.Batch{Producer: name, First: uint64(n + 1), Data: batch(text), Keep: keep})
						} else {
							err = b.Publish(t.Context(), topic, batch(text))
						}
						if err != nil {
							tr.add(name+topic, err.Error())
						}
					}
				})
			}
			defer b.Close(t.Context())
		}
		wg.Wait()
		time.Sleep(time.Second)
		synctest.Wait()
		lines = tr.lines
	})
	return lines
}

// Runs with faults and the same seed are equal, to the nanosecond.
func TestFaultsAreDeterministic(t *testing.T) {
	first := play(t, 7)
	for range 5 {
		if again := play(t, 7); !slices.Equal(again, first) {
			for i := range first {
				if i >= len(again) || again[i] != first[i] {
					t.Fatalf("event %d: %q, and before %q", i, again[min(i, len(again)-1)], first[i])
				}
			}
			t.Fatalf("%d events, and before %d", len(again), len(first))
		}
	}
	if slices.Equal(play(t, 8), first) {
		t.Error("another seed changes nothing")
	}
	for _, what := range []string{"gap: memorybroker: a message was dropped", "injected failure", "injected timeout"} {
		if !slices.ContainsFunc(first, func(line string) bool { return strings.Contains(line, what) }) {
			t.Errorf("no %q in %d events", what, len(first))
		}
	}
}

// Messages of one topic stay in order, and those of two topics do not.
func TestDelayReordersTopicsOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bus := memorybroker.New()
		bus.SetFaults(memorybroker.Faults{MaxDelay: 100 * time.Millisecond})
		a, b := bus.Broker("a"), bus.Broker("b")
		tr := &trace{start: time.Now()}
		subscribe(t, tr, b, "t1", "b")
		subscribe(t, tr, b, "t2", "b")
		var sent, t1 []string
		var wg sync.WaitGroup
		for n := range 50 {
			text := fmt.Sprint("1-", n)
			t1 = append(t1, text)
			sent = append(sent, text, fmt.Sprint("2-", n))
			wg.Go(func() { publish(t, a, "t1", text) })
			wg.Go(func() { publish(t, a, "t2", fmt.Sprint("2-", n)) })
			wg.Wait()
		}
		time.Sleep(time.Second)
		got := tr.texts("b")
		if slices.Equal(got, sent) || len(got) != len(sent) {
			t.Errorf("%d messages in the order of sending", len(got))
		}
		got = slices.DeleteFunc(got, func(s string) bool { return s[0] != '1' })
		if !slices.Equal(got, t1) {
			t.Errorf("topic 1: %q", got)
		}
	})
}

func TestDropIsAnnounced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bus := memorybroker.New()
		a := bus.Broker("a")
		tr := &trace{start: time.Now()}
		subscribe(t, tr, a, "t", "a")
		publish(t, a, "t", "1")
		bus.SetFaults(memorybroker.Faults{Drop: 1})
		publish(t, a, "t", "2")
		bus.SetFaults(memorybroker.Faults{Drop: 1, Silent: true})
		publish(t, a, "t", "3")
		bus.SetFaults(memorybroker.Faults{Duplicate: 1})
		publish(t, a, "t", "4")
		wantTexts(t, tr, "a", "1", "gap: memorybroker: a message was dropped", "4", "4")
	})
}

func TestFailedCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bus := memorybroker.New()
		a := bus.Broker("a")
		tr := &trace{start: time.Now()}
		subscribe(t, tr, a, "t", "a")
		bus.SetFaults(memorybroker.Faults{Fail: 1})
		if a.Publish(t.Context(), "t", batch("1")) == nil {
			t.Error("no failure")
		}
		bus.SetFaults(memorybroker.Faults{TimeOut: 1})
		if a.Publish(t.Context(), "t", batch("2")) == nil {
			t.Error("no failure")
		}
		if _, err := a.Subscribe(t.Context(), "u", &receiver{tr, "u"}); err == nil {
			t.Error("no failure")
		}
		bus.SetFaults(memorybroker.Faults{})
		publish(t, a, "u", "3")
		wantTexts(t, tr, "a", "2")
		wantTexts(t, tr, "u")
	})
}

// If the context of a call ends while the response is in transit, the call still has
// its effect.
func TestContextEndsOnTheWayBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bus := memorybroker.New()
		a := bus.Broker("a")
		bus.SetFaults(memorybroker.Faults{MinDelay: 10 * time.Millisecond, MaxDelay: 10 * time.Millisecond})
		ctx, cancel := context.WithTimeout(t.Context(), 15*time.Millisecond)
		defer cancel()
		b := pond.Batch{Producer: "a", First: 1, Data: batch("1"), Keep: keep}
		if _, err := a.Append(ctx, "t", b); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Append: %v", err)
		}
		if page, err := a.Since(t.Context(), "t", pond.Position{}, 10); err != nil || len(page.Entries) != 1 {
			t.Errorf("log: %+v, %v", page, err)
		}
	})
}

func TestPartition(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bus := memorybroker.New()
		tr := &trace{start: time.Now()}
		nodes := map[string]*memorybroker.Broker{}
		for _, name := range []string{"a", "b", "c"} {
			nodes[name] = bus.Broker(name)
			subscribe(t, tr, nodes[name], "t", name)
		}
		say := func(n int) {
			for _, name := range []string{"a", "b", "c"} {
				publish(t, nodes[name], "t", fmt.Sprint(name, n))
				synctest.Wait()
			}
		}
		say(1)
		bus.Partition([]string{"a"}, []string{"b", "c"})
		if err := nodes["b"].Health(); err != nil {
			t.Errorf("Health: %v; a node is not notified that others are unreachable", err)
		}
		say(2)
		if _, err := nodes["a"].Open(t.Context(), "t", keep); err != nil {
			t.Errorf("Open in the first group: %v", err)
		}
		if _, err := nodes["b"].Open(t.Context(), "t", keep); err == nil {
			t.Error("Open in the second group")
		}
		bus.Heal()
		synctest.Wait()
		say(3)
		const gap = "gap: memorybroker: partitioned"
		wantTexts(t, tr, "a", "a1", "b1", "c1", "a2", gap, "a3", "b3", "c3")
		wantTexts(t, tr, "b", "a1", "b1", "c1", gap, "b2", "c2", "a3", "b3", "c3")
		wantTexts(t, tr, "c", "a1", "b1", "c1", gap, "b2", "c2", "a3", "b3", "c3")
	})
}

func TestPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bus := memorybroker.New()
		a := bus.Broker("a")
		tr := &trace{start: time.Now()}
		subscribe(t, tr, a, "t", "a")
		if !bus.Pause() || bus.Pause() || a.Health() == nil {
			t.Error("not paused")
		}
		done := make(chan error)
		go func() { done <- a.Publish(t.Context(), "t", batch("1")) }()
		time.Sleep(time.Hour)
		wantTexts(t, tr, "a")
		bus.Resume()
		bus.Resume()
		if err := <-done; err != nil || a.Health() != nil {
			t.Errorf("Publish: %v, Health: %v", err, a.Health())
		}
		wantTexts(t, tr, "a", "1")
	})
}

// The queue of a slow receiver is limited.
func TestQueueOverflow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bus := memorybroker.New(memorybroker.WithQueueBytes(100))
		a := bus.Broker("a")
		tr := &trace{start: time.Now()}
		subscribe(t, tr, a, "t", "a")
		bus.SetFaults(memorybroker.Faults{MinDelay: time.Second, MaxDelay: time.Second})
		large := strings.Repeat("x", 60)
		go publish(t, a, "t", "1", large, large, "4")
		time.Sleep(10 * time.Second)
		wantTexts(t, tr, "a", "gap: memorybroker: too many messages were queued", "4")
	})
}

// An unused log does not stay in memory, and a node may connect again.
func TestNothingStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bus := memorybroker.New()
		for i := range 100 {
			b := bus.Broker("a")
			for n := range 10 {
				if _, err := b.Open(t.Context(), fmt.Sprint(i, "/", n), keep); err != nil {
					t.Fatal(err)
				}
			}
			if err := b.Close(t.Context()); err != nil {
				t.Fatal(err)
			}
			time.Sleep(keep.Age)
		}
		if n := bus.Logs(); n > 50 {
			t.Errorf("%d logs", n)
		}
	})
}

// Retries are recognized for at least two minutes, but not forever.
func TestProducersAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bus := memorybroker.New()
		a := bus.Broker("a")
		top := func(producer string) uint64 {
			pos, err := a.Append(t.Context(), "t", pond.Batch{Producer: producer, First: 1, Data: batch("1"), Keep: keep})
			if err != nil {
				t.Fatal(err)
			}
			return pos.Offset
		}
		top("boot")
		for range 11 {
			time.Sleep(10 * time.Second)
			top(fmt.Sprint("other", time.Now()))
		}
		time.Sleep(9 * time.Second)
		if n := top("boot"); n != 12 {
			t.Errorf("offset %d after a retry, want 12", n)
		}
		for range 1000 {
			time.Sleep(10 * time.Second)
			top(fmt.Sprint("other", time.Now()))
			if n := bus.Producers("t"); n > 30 {
				t.Fatalf("%d producers", n)
			}
		}
	})
}

func TestMisusePanics(t *testing.T) {
	bus := memorybroker.New()
	bus.Broker("a")
	for name, f := range map[string]func(){
		"two brokers": func() { bus.Broker("a") },
		"probability": func() { bus.SetFaults(memorybroker.Faults{Drop: 1.5}) },
		"delay":       func() { bus.SetFaults(memorybroker.Faults{MinDelay: 2, MaxDelay: 1}) },
		"max bytes":   func() { memorybroker.WithMaxBytes(1) },
		"queue bytes": func() { memorybroker.WithQueueBytes(0) },
	} {
		func() {
			defer func() {
				if text := fmt.Sprint(recover()); !strings.HasPrefix(text, "memorybroker: ") {
					t.Errorf("%s: %s", name, text)
				}
			}()
			f()
		}()
	}
}

// A bus that was created outside a bubble works inside.
func TestBusFromOutside(t *testing.T) {
	bus := memorybroker.New()
	synctest.Test(t, func(t *testing.T) {
		a := bus.Broker("a")
		tr := &trace{start: time.Now()}
		subscribe(t, tr, a, "t", "a")
		publish(t, a, "t", "1")
		wantTexts(t, tr, "a", "1")
		if err := a.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
}
