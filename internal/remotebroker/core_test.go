package remotebroker

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pondsocket/pond"
)

var errTest = errors.New("test")

// newCore returns a core whose subscriptions are confirmed at once by link, if it is not
// nil, and which counts those that were removed.
func newCore(link any) (c *Core, removed *int) {
	removed = new(int)
	return New("test", func(_ context.Context, s *Subscription) {
		if link != nil {
			s.Confirm(link, errTest, nil)
		}
	}, func(*Subscription) { *removed++ }), removed
}

// A log is a receiver.
type log struct{ events []string }

func (l *log) Receive(e pond.Entry) { l.events = append(l.events, string(e.Data)) }
func (l *log) Gap(reason error)     { l.events = append(l.events, "gap: "+reason.Error()) }

func TestSubscriptionAcrossConnections(t *testing.T) {
	first, second := new(int), new(int)
	c, removed := newCore(first)
	r := &log{}
	closer, err := c.Subscribe(t.Context(), "t", "key", r)
	if err != nil {
		t.Fatal(err)
	}
	s := c.Find("key")
	entry := func(text string) pond.Entry { return pond.Entry{Data: []byte(text)} }
	s.Receive(first, entry("1"))
	s.Confirm(first, errTest, nil) // again
	s.Receive(second, entry("too early"))
	s.Confirm(second, errTest, func() bool { return false })
	s.Receive(second, entry("moved on"))
	s.Confirm(second, errTest, func() bool { return true })
	s.Receive(first, entry("too late"))
	s.Receive(second, entry("2"))
	s.Lose(first) // long ago
	s.Receive(second, entry("3"))
	s.Lose(second)
	s.Receive(second, entry("lost"))
	s.Confirm(second, errTest, nil)
	s.Receive(second, entry("4"))
	if err := closer.Close(); err != nil || *removed != 1 {
		t.Errorf("Close: %v; removed %d times", err, *removed)
	}
	s.Receive(second, entry("closed"))
	s.Confirm(first, errTest, nil)
	if err := closer.Close(); err != nil || *removed != 1 || c.Find("key") != nil {
		t.Errorf("Close, again: %v; removed %d times", err, *removed)
	}
	want := []string{"1", "gap: test", "2", "3", "gap: test", "4"}
	if !slices.Equal(r.events, want) {
		t.Errorf("%q, want %q", r.events, want)
	}
}

func TestSubscribeFails(t *testing.T) {
	link := new(int)
	c, _ := newCore(link)
	if _, err := c.Subscribe(t.Context(), "t", "key", &log{}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Subscribe(t.Context(), "t", "key", &log{}); err == nil || err.Error() != `test: subscribed to "t" already` {
		t.Errorf("a second receiver: %v", err)
	}
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.Subscribe(canceled, "u", "u", &log{}); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: %v", err)
	}

	synctest.Test(t, func(t *testing.T) {
		c, removed := newCore(nil) // nothing is confirmed
		c.added = func(_ context.Context, s *Subscription) {
			if s.Topic == "refused" {
				s.Refuse(errTest)
				s.Refuse(errTest) // again
			}
		}
		if _, err := c.Subscribe(t.Context(), "refused", "refused", &log{}); !errors.Is(err, errTest) {
			t.Errorf("refused: %v", err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if _, err := c.Subscribe(ctx, "late", "late", &log{}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("not confirmed: %v", err)
		}
		failed := make(chan error)
		go func() {
			_, err := c.Subscribe(t.Context(), "closed", "closed", &log{})
			failed <- err
		}()
		synctest.Wait()
		if err := c.Close(t.Context()); err != nil {
			t.Error(err)
		}
		if err := <-failed; !errors.Is(err, pond.ErrClosed) {
			t.Errorf("closed meanwhile: %v", err)
		}
		if _, err := c.Subscribe(t.Context(), "after", "after", &log{}); !errors.Is(err, pond.ErrClosed) {
			t.Errorf("after Close: %v", err)
		}
		if *removed != 2 || len(c.Subscriptions()) != 0 {
			t.Errorf("removed %d, left %d", *removed, len(c.Subscriptions()))
		}
	})
}

func TestCloseWaitsForCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _ := newCore(nil)
		c.SetTrouble(nil)
		if err := c.Health(); err != nil {
			t.Errorf("Health: %v", err)
		}
		c.Go(func() { <-c.Context().Done() })
		returned := make(chan error, 3)
		go func() {
			returned <- c.Do(t.Context(), func(context.Context) error { time.Sleep(time.Second); return nil })
		}()
		go func() {
			returned <- c.Do(t.Context(), func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() })
		}()
		synctest.Wait()
		began := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := c.Close(ctx); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != time.Minute {
			t.Errorf("Close: %v after %v", err, time.Since(began))
		}
		if err := <-returned; err != nil {
			t.Errorf("a call that ends in time: %v", err)
		}
		if err := <-returned; !errors.Is(err, pond.ErrClosed) {
			t.Errorf("a call that was interrupted: %v", err)
		}
		if err := c.Do(t.Context(), func(context.Context) error { return nil }); !errors.Is(err, pond.ErrClosed) {
			t.Errorf("Do after Close: %v", err)
		}
		if err := c.Health(); !errors.Is(err, pond.ErrClosed) {
			t.Errorf("Health after Close: %v", err)
		}
	})
}

func TestErrorsOfCalls(t *testing.T) {
	c, _ := newCore(nil)
	if err := c.Health(); err == nil || err.Error() != "test: not connected yet" {
		t.Errorf("Health: %v", err)
	}
	err := c.Do(t.Context(), func(context.Context) error { return errTest })
	if !errors.Is(err, errTest) || err.Error() != "test: test" {
		t.Errorf("%v", err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	if err := c.Do(ctx, func(ctx context.Context) error { cancel(errTest); <-ctx.Done(); return ctx.Err() }); !errors.Is(err, errTest) {
		t.Errorf("canceled: %v, want the cause", err)
	}
	if err := c.Do(ctx, func(context.Context) error { t.Error("called"); return nil }); !errors.Is(err, errTest) {
		t.Errorf("canceled before: %v, want the cause", err)
	}
}

// The delays grow up to two seconds, and begin again after a connection that worked.
func TestRetry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		var calls int
		began := time.Now()
		Retry(ctx, func() error {
			if calls++; calls == 1000 {
				cancel()
			}
			return errTest
		})
		if mean := time.Since(began) / 999; mean < 800*time.Millisecond || mean > 1200*time.Millisecond {
			t.Errorf("a mean delay of %v, want about 1 s", mean)
		}
		calls, began = 0, time.Now()
		var working time.Duration
		Retry(t.Context(), func() error {
			if calls++; calls == 100 {
				return nil
			}
			time.Sleep(6 * time.Second)
			working += 6 * time.Second
			return errTest
		})
		if waited := time.Since(began) - working; calls != 100 || waited > 99*firstBackoff {
			t.Errorf("%d calls, and waited for %v", calls, waited)
		}
	})
}
