package simulation_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/pondsocket/pond"
	"github.com/pondsocket/pond/brokertest/memorybroker"
)

// traffic counts the messages between nodes.
type traffic struct {
	mu      sync.Mutex
	kinds   map[string]*kind
	seconds map[int64]int // deliveries in each second
}

// A kind is the traffic of one type of messages.
type kind struct{ published, bytes, delivered int }

func (t *traffic) reset() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.kinds, t.seconds = map[string]*kind{}, map[int64]int{}
}

func (t *traffic) ofLocked(data []byte) *kind {
	_, after, _ := bytes.Cut(data, []byte(`"type":"`))
	name, _, _ := bytes.Cut(after, []byte(`"`))
	k := t.kinds[string(name)]
	if k == nil {
		k = &kind{}
		t.kinds[string(name)] = k
	}
	return k
}

func (t *traffic) published(batch [][]byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, data := range batch {
		k := t.ofLocked(data)
		k.published++
		k.bytes += len(data)
	}
}

func (t *traffic) delivered(data []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.ofLocked(data).delivered++
	t.seconds[time.Now().Unix()]++
}

// states returns how many messages about the state of channels were published.
func (t *traffic) states() (n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, name := range []string{"STATE_REQUEST", "STATE_RESPONSE"} {
		if k := t.kinds[name]; k != nil {
			n += k.published
		}
	}
	return n
}

// table returns the traffic per event, as text.
func (t *traffic) table(events int) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	var b strings.Builder
	fmt.Fprintf(&b, "%-18s %12s %12s %12s\n", "type", "published", "bytes", "delivered")
	var sum kind
	line := func(name string, k kind) {
		per := func(n int) float64 { return float64(n) / float64(events) }
		fmt.Fprintf(&b, "%-18s %12.2f %12.0f %12.2f\n", name, per(k.published), per(k.bytes), per(k.delivered))
	}
	for _, name := range slices.Sorted(maps.Keys(t.kinds)) {
		k := *t.kinds[name]
		sum.published += k.published
		sum.bytes += k.bytes
		sum.delivered += k.delivered
		line(name, k)
	}
	line("all", sum)
	most := 0
	for _, n := range t.seconds {
		most = max(most, n)
	}
	fmt.Fprintf(&b, "at most %d deliveries in one second\n", most)
	return b.String()
}

// A counter counts the messages of a broker.
type counter struct {
	*memorybroker.Broker
	traffic *traffic
}

var _ pond.Broker = counter{}

func (c counter) Publish(ctx context.Context, topic string, batch [][]byte) error {
	err := c.Broker.Publish(ctx, topic, batch)
	if err == nil {
		c.traffic.published(batch)
	}
	return err
}

func (c counter) Subscribe(ctx context.Context, topic string, r pond.Receiver) (io.Closer, error) {
	return c.Broker.Subscribe(ctx, topic, receiver{r, c.traffic})
}

type receiver struct {
	pond.Receiver
	traffic *traffic
}

func (r receiver) Receive(e pond.Entry) {
	r.traffic.delivered(e.Data)
	r.Receiver.Receive(e)
}
