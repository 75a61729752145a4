package brokertest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/pondsocket/pond"
)

// A mistake is a fault that a broker may have, with the checks that find it.
type mistake struct {
	mistake string
	found   string
	mutate  func(m *mutant)
}

var mutants = slices.Concat(messageMutants, waiterMutants, logMutants)

var messageMutants = []mistake{
	{"own messages are dropped", "Echo Order", func(m *mutant) {
		var own sync.Map
		m.publish = func(ctx context.Context, topic string, batch [][]byte) error {
			for _, data := range batch {
				own.Store(string(data), true)
			}
			return m.BrokerLog.Publish(ctx, topic, batch)
		}
		m.receiving(func(_ string, r pond.Receiver) pond.Receiver {
			return &filter{Receiver: r, receive: func(e pond.Entry) {
				if _, ok := own.Load(string(e.Data)); !ok {
					r.Receive(e)
				}
			}}
		})
	}},
	{"own entries of the log are dropped", "LogAppend LogOrder", func(m *mutant) {
		var own sync.Map
		m.append = func(ctx context.Context, topic string, b pond.Batch) (pond.Position, error) {
			for _, data := range b.Data {
				own.Store(string(data), true)
			}
			return m.BrokerLog.Append(ctx, topic, b)
		}
		m.receiving(func(_ string, r pond.Receiver) pond.Receiver {
			return &filter{Receiver: r, receive: func(e pond.Entry) {
				if _, ok := own.Load(string(e.Data)); !ok {
					r.Receive(e)
				}
			}}
		})
	}},
	{"messages are swapped", "Order CloseFlushes", func(m *mutant) {
		m.receiving(func(_ string, r pond.Receiver) pond.Receiver {
			var held *pond.Entry
			return &filter{Receiver: r, receive: func(e pond.Entry) {
				if held == nil {
					held = &e
					return
				}
				r.Receive(e)
				r.Receive(*held)
				held = nil
			}}
		})
	}},
	{"a batch is sent in reverse", "Order", func(m *mutant) {
		m.publish = func(ctx context.Context, topic string, batch [][]byte) error {
			batch = slices.Clone(batch)
			slices.Reverse(batch)
			return m.BrokerLog.Publish(ctx, topic, batch)
		}
	}},
	{"messages are received twice", "Order Echo LogOrder", func(m *mutant) {
		m.receiving(func(_ string, r pond.Receiver) pond.Receiver {
			return &filter{Receiver: r, receive: func(e pond.Entry) {
				r.Receive(e)
				r.Receive(e)
			}}
		})
	}},
	{"every seventh message is lost in silence", "Order Disconnect Sever", func(m *mutant) {
		m.receiving(func(_ string, r pond.Receiver) pond.Receiver {
			n := 0
			return &filter{Receiver: r, receive: func(e pond.Entry) {
				if n++; n%7 != 0 {
					r.Receive(e)
				}
			}}
		})
	}},
	{"receivers are called concurrently", "Order", func(m *mutant) {
		m.receiving(func(_ string, r pond.Receiver) pond.Receiver {
			return &filter{Receiver: r, receive: func(e pond.Entry) { go r.Receive(e) }}
		})
	}},
	{"a star at the end of a topic is a pattern", "TopicsAreExact", func(m *mutant) {
		var mu sync.Mutex
		patterns := map[string]pond.Receiver{}
		m.subscribe = func(ctx context.Context, topic string, r pond.Receiver) (io.Closer, error) {
			mu.Lock()
			defer mu.Unlock()
			if prefix, ok := strings.CutSuffix(topic, "*"); ok {
				patterns[prefix] = r
			}
			return m.BrokerLog.Subscribe(ctx, topic, &filter{Receiver: r, receive: func(e pond.Entry) {
				r.Receive(e)
				mu.Lock()
				defer mu.Unlock()
				for prefix, other := range patterns {
					if strings.HasPrefix(topic, prefix) && topic != prefix+"*" {
						other.Receive(e)
					}
				}
			}})
		}
	}},
	{"topics are folded to lower case", "TopicsAreExact", renamed(strings.ToLower)},
	{"topics are truncated at the first space", "TopicsAreExact", renamed(func(topic string) string {
		name, _, _ := strings.Cut(topic, " ")
		return name
	})},
	{"topics are truncated at 255 bytes", "TopicsAreExact", renamed(func(topic string) string { return topic[:min(len(topic), 10)] })},
	{"messages are compacted", "Bytes LogBytes", func(m *mutant) {
		m.receiving(func(_ string, r pond.Receiver) pond.Receiver {
			return &filter{Receiver: r, receive: func(e pond.Entry) {
				e.Data = bytes.ReplaceAll(e.Data, []byte(" "), nil)
				r.Receive(e)
			}}
		})
	}},
	{"a published message has a position", "Bytes", func(m *mutant) {
		m.receiving(func(_ string, r pond.Receiver) pond.Receiver {
			return &filter{Receiver: r, receive: func(e pond.Entry) {
				e.Pos.Epoch = "k3"
				r.Receive(e)
			}}
		})
	}},
	{"the buffer of a message is used again", "Bytes Order LogAppend", func(m *mutant) {
		m.receiving(func(_ string, r pond.Receiver) pond.Receiver {
			buffer := make([]byte, 0, 300<<10)
			return &filter{Receiver: r, receive: func(e pond.Entry) {
				e.Data = append(buffer, e.Data...)
				r.Receive(e)
			}}
		})
	}},
	{"large messages are truncated", "MaxBytes LogPageBytes", func(m *mutant) {
		m.publish = func(ctx context.Context, topic string, batch [][]byte) error {
			return m.BrokerLog.Publish(ctx, topic, truncated(batch))
		}
		m.append = func(ctx context.Context, topic string, b pond.Batch) (pond.Position, error) {
			b.Data = truncated(b.Data)
			return m.BrokerLog.Append(ctx, topic, b)
		}
	}},
	{"a batch is sent up to the message that is too large", "MaxBytes", func(m *mutant) {
		m.publish = func(ctx context.Context, topic string, batch [][]byte) error {
			for _, data := range batch {
				if err := m.BrokerLog.Publish(ctx, topic, [][]byte{data}); err != nil {
					return err
				}
			}
			return nil
		}
	}},
	{"the size is not checked", "MaxBytes LogMaxBytes", func(m *mutant) { m.maxBytes = func() int { return 100 << 10 } }},
	{"small messages only", "MaxBytes", func(m *mutant) { m.maxBytes = func() int { return 1000 } }},
	{"an empty batch sends an empty message", "EmptyBatch", func(m *mutant) {
		m.publish = func(ctx context.Context, topic string, batch [][]byte) error {
			if len(batch) == 0 {
				batch = [][]byte{{}}
			}
			return m.BrokerLog.Publish(ctx, topic, batch)
		}
	}},
	{"contexts are not looked at", "CanceledPublish CanceledSubscribe LogCanceled", func(m *mutant) {
		m.publish = func(ctx context.Context, topic string, batch [][]byte) error {
			return m.BrokerLog.Publish(context.WithoutCancel(ctx), topic, batch)
		}
		m.subscribe = func(ctx context.Context, topic string, r pond.Receiver) (io.Closer, error) {
			return m.BrokerLog.Subscribe(context.WithoutCancel(ctx), topic, r)
		}
		m.append = func(ctx context.Context, topic string, b pond.Batch) (pond.Position, error) {
			return m.BrokerLog.Append(context.WithoutCancel(ctx), topic, b)
		}
	}},
	{"a subscription that failed stays", "CanceledSubscribe SubscribeWhileSevered", func(m *mutant) {
		m.subscribe = func(ctx context.Context, topic string, r pond.Receiver) (io.Closer, error) {
			closer, err := m.BrokerLog.Subscribe(ctx, topic, r)
			if err != nil && m.BrokerLog.Health() == nil {
				_, _ = m.BrokerLog.Subscribe(context.WithoutCancel(ctx), topic, r)
			}
			if err != nil && m.BrokerLog.Health() != nil {
				go func() {
					for m.BrokerLog.Health() != nil {
						wait(time.Millisecond)
					}
					_, _ = m.BrokerLog.Subscribe(context.WithoutCancel(ctx), topic, r)
				}()
			}
			return closer, err
		}
	}},
	{"Subscribe does not wait for the confirmation", "SubscribeIsConfirmed", func(m *mutant) {
		m.subscribe = func(ctx context.Context, topic string, r pond.Receiver) (io.Closer, error) {
			ctx = context.WithoutCancel(ctx)
			var closer io.Closer
			done := make(chan struct{})
			go func() {
				defer close(done)
				wait(time.Millisecond)
				closer, _ = m.BrokerLog.Subscribe(ctx, topic, r)
			}()
			return closerFunc(func() error {
				<-done
				return closer.Close()
			}), nil
		}
	}},
	{"the end of a subscription is forgotten", "NothingAfterUnsubscribe Contention", func(m *mutant) {
		m.subscribe = func(ctx context.Context, topic string, r pond.Receiver) (io.Closer, error) {
			_, err := m.BrokerLog.Subscribe(ctx, topic, r)
			return closerFunc(func() error { return nil }), err
		}
	}},
	{"a subscription ends a little later", "NothingAfterUnsubscribe", func(m *mutant) {
		m.subscribe = func(ctx context.Context, topic string, r pond.Receiver) (io.Closer, error) {
			inner, err := m.BrokerLog.Subscribe(ctx, topic, r)
			return closerFunc(func() error {
				go func() {
					wait(time.Millisecond)
					_ = inner.Close()
				}()
				return nil
			}), err
		}
	}},
	{"Close of a subscription does not wait for the receiver", "UnsubscribeWaits", func(m *mutant) {
		m.subscribe = func(ctx context.Context, topic string, r pond.Receiver) (io.Closer, error) {
			inner, err := m.BrokerLog.Subscribe(ctx, topic, r)
			return closerFunc(func() error {
				go inner.Close()
				return nil
			}), err
		}
	}},
	{"a second receiver replaces the first", "OneReceiver", func(m *mutant) {
		var mu sync.Mutex
		current := map[string]io.Closer{}
		m.subscribe = func(ctx context.Context, topic string, r pond.Receiver) (io.Closer, error) {
			mu.Lock()
			defer mu.Unlock()
			if c := current[topic]; c != nil {
				_ = c.Close()
			}
			closer, err := m.BrokerLog.Subscribe(ctx, topic, r)
			current[topic] = closer
			return closer, err
		}
	}},
	{"messages are queued, and Close forgets them", "CloseFlushes Stall", func(m *mutant) {
		queue := make(chan func(), 10_000)
		done := make(chan struct{})
		go func() {
			for {
				select {
				case f := <-queue:
					wait(time.Millisecond)
					f()
				case <-done:
					return
				}
			}
		}()
		m.publish = func(ctx context.Context, topic string, batch [][]byte) error {
			if err := m.BrokerLog.Health(); err != nil && m.closed() {
				return pond.ErrClosed
			}
			ctx = context.WithoutCancel(ctx)
			queue <- func() { _ = m.BrokerLog.Publish(ctx, topic, batch) }
			return nil
		}
		end := sync.OnceFunc(func() { close(done) })
		m.close = func(ctx context.Context) error {
			end()
			return m.BrokerLog.Close(ctx)
		}
	}},
	{"a closed broker publishes", "ClosedBroker", func(m *mutant) {
		m.publish = func(ctx context.Context, topic string, batch [][]byte) error {
			if m.closed() {
				return nil
			}
			return m.BrokerLog.Publish(ctx, topic, batch)
		}
	}},
	{"a closed broker receives", "ClosedBroker", func(m *mutant) {
		m.close = func(context.Context) error { return nil }
	}},
	{"Close waits for a backend that does nothing", "CloseWhileStalled", func(m *mutant) {
		m.close = func(ctx context.Context) error {
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Hour)
			defer cancel()
			return m.BrokerLog.Close(ctx)
		}
	}},
	{"gaps are kept secret", "Disconnect Sever", func(m *mutant) {
		m.receiving(func(_ string, r pond.Receiver) pond.Receiver {
			return &filter{Receiver: r, gap: func(error) {}}
		})
	}},
	{"a gap is reported only with the next message", "Disconnect", func(m *mutant) {
		m.receiving(func(_ string, r pond.Receiver) pond.Receiver {
			var pending error
			return &filter{Receiver: r, gap: func(reason error) { pending = reason }, receive: func(e pond.Entry) {
				if pending != nil {
					r.Gap(pending)
					pending = nil
				}
				r.Receive(e)
			}}
		})
	}},
	{"a gap is reported after the messages that follow it", "Disconnect Sever", func(m *mutant) {
		m.receiving(func(_ string, r pond.Receiver) pond.Receiver {
			var pending error
			return &filter{Receiver: r, gap: func(reason error) { pending = reason }, receive: func(e pond.Entry) {
				r.Receive(e)
				if pending != nil {
					r.Gap(pending)
					pending = nil
				}
			}}
		})
	}},
	{"gaps without a reason", "Echo Order", func(m *mutant) {
		m.receiving(func(_ string, r pond.Receiver) pond.Receiver {
			return &filter{Receiver: r, receive: func(e pond.Entry) {
				r.Gap(nil)
				r.Receive(e)
			}}
		})
	}},
	{"the broker is always well", "Sever SubscribeWhileSevered ClosedBroker", func(m *mutant) { m.health = func() error { return nil } }},
	{"a severed node does not notice failed calls", "Sever", func(m *mutant) {
		m.publish = func(ctx context.Context, topic string, batch [][]byte) error {
			_ = m.BrokerLog.Publish(ctx, topic, batch)
			return nil
		}
	}},
}

var waiterMutants = []mistake{
	{"AwaitSubscribers waits without an outage", "AwaitSubscribers", func(m *mutant) {
		m.await = func(ctx context.Context, _ string) error {
			wait(time.Millisecond)
			return context.Cause(ctx)
		}
	}},
	{"AwaitSubscribers waits for other calls", "AwaitSubscribersInOutage", func(m *mutant) {
		turn := make(chan struct{}, 1)
		m.await = func(ctx context.Context, topic string) error {
			turn <- struct{}{}
			defer func() { <-turn }()
			return (&mutant{BrokerLog: m.BrokerLog}).AwaitSubscribers(ctx, topic)
		}
	}},
	{"AwaitSubscribers does not look at the context", "AwaitSubscribers AwaitSubscribersInOutage", func(m *mutant) {
		m.await = func(ctx context.Context, topic string) error {
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
			defer cancel()
			return (&mutant{BrokerLog: m.BrokerLog}).AwaitSubscribers(ctx, topic)
		}
	}},
	{"AwaitSubscribers waits only for a moment", "AwaitSubscribersInOutage", func(m *mutant) {
		m.await = func(ctx context.Context, topic string) error {
			call, cancel := context.WithTimeout(ctx, soonTime/4)
			defer cancel()
			err := (&mutant{BrokerLog: m.BrokerLog}).AwaitSubscribers(call, topic)
			if errors.Is(err, context.DeadlineExceeded) {
				return context.Cause(ctx)
			}
			return err
		}
	}},
	{"AwaitSubscribers returns nil after Close", "AwaitSubscribers AwaitSubscribersInOutage", func(m *mutant) {
		m.await = func(ctx context.Context, topic string) error {
			err := (&mutant{BrokerLog: m.BrokerLog}).AwaitSubscribers(ctx, topic)
			if errors.Is(err, pond.ErrClosed) {
				return nil
			}
			return err
		}
	}},
	{"Close waits for AwaitSubscribers", "AwaitSubscribersInOutage", func(m *mutant) {
		var calls sync.WaitGroup
		m.await = func(ctx context.Context, topic string) error {
			calls.Add(1)
			defer calls.Done()
			return (&mutant{BrokerLog: m.BrokerLog}).AwaitSubscribers(ctx, topic)
		}
		m.close = func(ctx context.Context) error {
			calls.Wait()
			return m.BrokerLog.Close(ctx)
		}
	}},
}

// renamed changes the names of topics.
func renamed(f func(topic string) string) func(m *mutant) {
	return func(m *mutant) {
		var mu sync.Mutex
		receivers := map[string][]pond.Receiver{} // several topics may get one name
		m.publish = func(ctx context.Context, topic string, batch [][]byte) error {
			return m.BrokerLog.Publish(ctx, f(topic), batch)
		}
		m.subscribe = func(ctx context.Context, topic string, r pond.Receiver) (io.Closer, error) {
			mu.Lock()
			defer mu.Unlock()
			name := f(topic)
			receivers[name] = append(receivers[name], r)
			if len(receivers[name]) > 1 {
				return closerFunc(func() error { return nil }), nil
			}
			return m.BrokerLog.Subscribe(ctx, name, &filter{Receiver: r, receive: func(e pond.Entry) {
				mu.Lock()
				defer mu.Unlock()
				for _, r := range receivers[name] {
					r.Receive(e)
				}
			}})
		}
	}
}

// truncated returns messages of at most 100 KB.
func truncated(batch [][]byte) [][]byte {
	batch = slices.Clone(batch)
	for i, data := range batch {
		batch[i] = data[:min(len(data), 100_000)]
	}
	return batch
}

// closed reports whether the broker is closed.
func (m *mutant) closed() bool { return fmt.Sprint(m.BrokerLog.Health()) == fmt.Sprint(pond.ErrClosed) }
