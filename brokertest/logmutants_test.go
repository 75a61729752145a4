package brokertest

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pondsocket/pond"
)

var logMutants = []mistake{
	{"Prev is always zero", "LogAppend LogOrder LogPages", func(m *mutant) {
		m.receiving(func(_ string, r pond.Receiver) pond.Receiver {
			return &filter{Receiver: r, receive: func(e pond.Entry) {
				e.Prev = 0
				r.Receive(e)
			}}
		})
		m.since = func(ctx context.Context, topic string, from pond.Position, limit int) (pond.Page, error) {
			page, err := m.BrokerLog.Since(ctx, topic, from, limit)
			for i := range page.Entries {
				page.Entries[i].Prev = 0
			}
			return page, err
		}
	}},
	{"a retry is stored again", "LogRetry LogLostResponse", func(m *mutant) {
		var calls atomic.Int64
		m.append = func(ctx context.Context, topic string, b pond.Batch) (pond.Position, error) {
			b.Producer = fmt.Sprint(calls.Add(1))
			return m.BrokerLog.Append(ctx, topic, b)
		}
	}},
	{"a longer retry is taken for stored", "LogRetry LogLostResponse", func(m *mutant) {
		var mu sync.Mutex
		seen := map[string]bool{}
		m.append = func(ctx context.Context, topic string, b pond.Batch) (pond.Position, error) {
			mu.Lock()
			defer mu.Unlock()
			key := fmt.Sprint(topic, b.Producer, b.First)
			if seen[key] {
				return m.BrokerLog.Open(ctx, topic, b.Keep)
			}
			seen[key] = true
			return m.BrokerLog.Append(ctx, topic, b)
		}
	}},
	{"all producers share their numbers", "LogOrder LogProducers", func(m *mutant) {
		m.append = func(ctx context.Context, topic string, b pond.Batch) (pond.Position, error) {
			b.Producer = "all"
			return m.BrokerLog.Append(ctx, topic, b)
		}
	}},
	{"a batch is stored message by message", "LogOrder LogMaxBytes", func(m *mutant) {
		m.append = func(ctx context.Context, topic string, b pond.Batch) (pos pond.Position, err error) {
			for i, data := range b.Data {
				one := b
				one.First, one.Data = b.First+uint64(i), [][]byte{data}
				if pos, err = m.BrokerLog.Append(ctx, topic, one); err != nil {
					return pos, err
				}
				wait(time.Millisecond)
			}
			return pos, nil
		}
	}},
	{"Append stores, and does not send", "LogAppend LogOrder", func(m *mutant) {
		m.receiving(func(_ string, r pond.Receiver) pond.Receiver {
			return &filter{Receiver: r, receive: func(e pond.Entry) {
				if e.Pos == (pond.Position{}) {
					r.Receive(e)
				}
			}}
		})
	}},
	{"entries of the log wait for the next message", "LogAndPublish", func(m *mutant) {
		m.receiving(func(_ string, r pond.Receiver) pond.Receiver {
			var held []pond.Entry
			return &filter{Receiver: r, receive: func(e pond.Entry) {
				if e.Pos.Offset > 0 && len(held) == 0 {
					held = append(held, e)
					return
				}
				r.Receive(e)
				for _, h := range held {
					r.Receive(h)
				}
				held = nil
			}}
		})
	}},
	{"Append returns the position before", "LogAppend LogOpen", func(m *mutant) {
		m.append = func(ctx context.Context, topic string, b pond.Batch) (pond.Position, error) {
			pos, err := m.BrokerLog.Append(ctx, topic, b)
			if pos.Offset > 0 {
				pos.Offset--
			}
			return pos, err
		}
	}},
	{"one epoch for all", "LogOpen LogLost LogDrop LogEnds", func(m *mutant) {
		m.open = func(ctx context.Context, topic string, keep pond.Retention) (pond.Position, error) {
			pos, err := m.BrokerLog.Open(ctx, topic, keep)
			pos.Epoch = "one"
			return pos, err
		}
		m.append = func(ctx context.Context, topic string, b pond.Batch) (pond.Position, error) {
			pos, err := m.BrokerLog.Append(ctx, topic, b)
			pos.Epoch = "one"
			return pos, err
		}
		m.since = func(ctx context.Context, topic string, from pond.Position, limit int) (pond.Page, error) {
			if from.Epoch == "one" {
				tops, err := m.BrokerLog.Tops(ctx, []string{topic})
				if err != nil {
					return pond.Page{}, err
				}
				from.Epoch = tops[0].Epoch
			}
			page, err := m.BrokerLog.Since(ctx, topic, from, limit)
			if page.Top.Epoch != "" {
				page.Top.Epoch = "one"
			}
			return page, err
		}
	}},
	{"invalid retention", "LogOpen", func(m *mutant) {
		m.open = func(ctx context.Context, topic string, k pond.Retention) (pond.Position, error) {
			if k.Messages <= 0 || k.Age <= 0 || k.Bytes <= 0 {
				k = keep
			}
			return m.BrokerLog.Open(ctx, topic, k)
		}
	}},
	{"every page is complete", "LogPositions LogKeepsMessages LogKeepsBytes LogLost LogAge", func(m *mutant) {
		m.since = func(ctx context.Context, topic string, from pond.Position, limit int) (pond.Page, error) {
			page, err := m.BrokerLog.Since(ctx, topic, from, limit)
			page.Complete = true
			return page, err
		}
	}},
	{"a page begins with the position", "LogPages LogPositions", func(m *mutant) {
		m.since = func(ctx context.Context, topic string, from pond.Position, limit int) (pond.Page, error) {
			if from.Offset > 0 {
				from.Offset--
			}
			return m.BrokerLog.Since(ctx, topic, from, limit)
		}
	}},
	{"pages have no limit", "LogPages", func(m *mutant) {
		m.since = func(ctx context.Context, topic string, from pond.Position, _ int) (pond.Page, error) {
			return m.BrokerLog.Since(ctx, topic, from, 1000)
		}
	}},
	{"pages have no limit of bytes", "LogPageBytes", func(m *mutant) {
		m.since = func(ctx context.Context, topic string, from pond.Position, limit int) (pond.Page, error) {
			page, err := m.BrokerLog.Since(ctx, topic, from, limit)
			for err == nil && len(page.Entries) > 0 && len(page.Entries) < limit {
				more, err := m.BrokerLog.Since(ctx, topic, page.Entries[len(page.Entries)-1].Pos, limit)
				if err != nil || len(more.Entries) == 0 {
					break
				}
				page.Entries = append(page.Entries, more.Entries...)
			}
			return page, err
		}
	}},
	{"the top is the last entry of the page", "LogPages", func(m *mutant) {
		m.since = func(ctx context.Context, topic string, from pond.Position, limit int) (pond.Page, error) {
			page, err := m.BrokerLog.Since(ctx, topic, from, limit)
			if n := len(page.Entries); n > 0 {
				page.Top = page.Entries[n-1].Pos
			}
			return page, err
		}
	}},
	{"another epoch is not noticed", "LogPositions LogLost LogDrop LogEnds", func(m *mutant) {
		m.since = func(ctx context.Context, topic string, from pond.Position, limit int) (pond.Page, error) {
			tops, err := m.BrokerLog.Tops(ctx, []string{topic})
			if err != nil {
				return pond.Page{}, err
			}
			from.Epoch = tops[0].Epoch
			return m.BrokerLog.Since(ctx, topic, from, limit)
		}
	}},
	{"entries that arrive late are lost to readers", "LogFollowed", func(m *mutant) {
		m.since = func(ctx context.Context, topic string, from pond.Position, limit int) (pond.Page, error) {
			page, err := m.BrokerLog.Since(ctx, topic, from, limit)
			if n := len(page.Entries); n > 1 {
				page.Entries = page.Entries[1:]
			}
			return page, err
		}
	}},
	{"the newest entry first", "LogLast", func(m *mutant) {
		m.last = func(ctx context.Context, topic string, limit int) (pond.Page, error) {
			page, err := m.BrokerLog.Last(ctx, topic, limit)
			slices.Reverse(page.Entries)
			return page, err
		}
	}},
	{"the first entries instead of the last", "LogLast", func(m *mutant) {
		m.last = func(ctx context.Context, topic string, limit int) (pond.Page, error) {
			return m.BrokerLog.Since(ctx, topic, pond.Position{}, limit)
		}
	}},
	{"topics without a log are left out of the tops", "LogTops", func(m *mutant) {
		m.tops = func(ctx context.Context, topics []string) ([]pond.Position, error) {
			tops, err := m.BrokerLog.Tops(ctx, topics)
			return slices.DeleteFunc(tops, func(p pond.Position) bool { return p == pond.Position{} }), err
		}
	}},
	{"retention is ignored", "LogKeepsMessages LogKeepsBytes LogEnds LogAge", func(m *mutant) {
		m.append = func(ctx context.Context, topic string, b pond.Batch) (pond.Position, error) {
			b.Keep = pond.Retention{Messages: 1 << 20, Bytes: 1 << 30, Age: 1000 * time.Hour}
			return m.BrokerLog.Append(ctx, topic, b)
		}
	}},
	{"Open does not keep a log", "LogAge LogOpen", func(m *mutant) {
		m.open = func(ctx context.Context, topic string, keep pond.Retention) (pond.Position, error) {
			tops, err := m.BrokerLog.Tops(ctx, []string{topic})
			if err == nil && tops[0] != (pond.Position{}) {
				return tops[0], nil
			}
			return m.BrokerLog.Open(ctx, topic, keep)
		}
	}},
	{"Drop does nothing", "LogDrop", func(m *mutant) { m.drop = func(context.Context, string) error { return nil } }},
}
