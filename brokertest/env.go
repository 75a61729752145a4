package brokertest

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pondsocket/pond"
)

const (
	defaultTimeout = 30 * time.Second
	soonTime       = 200 * time.Millisecond
)

// keep is a retention that no check exceeds.
var keep = pond.Retention{Messages: 10_000, Bytes: 64 << 20, Age: time.Hour}

// An env is the environment of one check.
type env struct {
	testing.TB

	cluster *Cluster
	timeout time.Duration
	bubble  bool
	unique  string // number of topics
	gaps    bool   // the check expects gaps

	mu        sync.Mutex // guards receivers
	receivers []*receiver
}

func newEnv(t testing.TB, h *Harness) *env {
	e := &env{TB: t, timeout: h.Timeout, bubble: h.Bubble, unique: rand.Text()[:8]}
	if e.timeout == 0 {
		e.timeout = defaultTimeout
	}
	e.cluster = h.Open(t)
	return e
}

// context returns a context that ends after the timeout of the check.
func (e *env) context() context.Context {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(e.Context()), e.timeout)
	e.Cleanup(cancel)
	return ctx
}

// soon returns a context that ends soon, for calls that cannot succeed.
func (e *env) soon() context.Context {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(e.Context()), soonTime)
	e.Cleanup(cancel)
	return ctx
}

// node returns the broker of a new node, which is closed at the end of the check.
func (e *env) node() pond.Broker {
	b := e.cluster.Node()
	e.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(e.Context()), e.timeout)
		defer cancel()
		_ = b.Close(ctx)
	})
	return b
}

// log returns the broker of a new node with its log.
func (e *env) log() pond.BrokerLog {
	e.Helper()
	b, ok := e.node().(pond.BrokerLog)
	if !ok {
		e.Fatal("a broker of this cluster is not a pond.BrokerLog")
	}
	return b
}

// topic returns a topic that no other check uses.
func (e *env) topic(name string) string { return e.unique + "/socket:/chat/" + name }

// settle waits until all goroutines of the bubble are blocked. Outside a bubble it does
// nothing.
func (e *env) settle() {
	if e.bubble {
		synctest.Wait()
	}
}

// publish publishes messages, which must succeed.
func (e *env) publish(b pond.Broker, topic string, messages ...string) {
	e.Helper()
	if err := b.Publish(e.context(), topic, batch(messages...)); err != nil {
		e.Fatalf("Publish: %v", err)
	}
}

// subscribe adds a receiver, which must succeed.
func (e *env) subscribe(b pond.Broker, topic string) *receiver {
	e.Helper()
	r := e.receiver(topic)
	closer, err := b.Subscribe(e.context(), topic, r)
	if err != nil {
		e.Fatalf("Subscribe: %v", err)
	}
	r.setCloser(closer)
	return r
}

// receiver returns a receiver that is checked at the end.
func (e *env) receiver(topic string) *receiver {
	r := &receiver{env: e, topic: topic, changed: make(chan struct{})}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.receivers = append(e.receivers, r)
	return r
}

// eventually waits until a condition is true. It polls, because no event signals the
// condition.
func (e *env) eventually(what string, ok func() bool) {
	e.Helper()
	deadline := time.Now().Add(e.timeout)
	for !ok() {
		if time.Now().After(deadline) {
			e.Fatalf("%s: not within %v", what, e.timeout)
		}
		<-time.After(time.Millisecond)
	}
}

// finish checks the properties of all receivers.
func (e *env) finish() {
	e.Helper()
	e.settle()
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, r := range e.receivers {
		r.check()
	}
}

// message returns a message with a sender and a number.
func message(sender string, number int) string {
	return fmt.Sprintf(`{"sender":%q,"number":%d}`, sender, number)
}

// numbered is the type of the JSON of message.
type numbered struct {
	Sender string
	Number int
}

func (e *env) parse(data string) numbered {
	e.Helper()
	var n numbered
	if err := json.Unmarshal([]byte(data), &n); err != nil {
		e.Fatalf("received %.100q: %v", data, err)
	}
	return n
}

// batch returns messages as bytes.
func batch(messages ...string) [][]byte {
	b := make([][]byte, len(messages))
	for i, m := range messages {
		b[i] = []byte(m)
	}
	return b
}

// sized returns a message of a size.
func sized(bytes int) string {
	const frame = `{"x":""}`
	return `{"x":"` + strings.Repeat("x", bytes-len(frame)) + `"}`
}

// A receiver records the calls of a broker.
type receiver struct {
	env   *env
	topic string

	mu      sync.Mutex // guards the following fields
	closer  io.Closer
	events  []event
	changed chan struct{} // closed and replaced at each event
	calls   int           // in progress
	overlap bool          // two calls overlapped
	closed  bool          // Close returned
	late    bool          // there was a call after Close returned
	hook    func()        // called in Receive
}

// An event is a call of a receiver.
type event struct {
	entry pond.Entry
	text  string // copy of the entry's data during the call
	gap   error  // nil: Receive
}

// Receive records a message.
func (r *receiver) Receive(entry pond.Entry) {
	r.record(event{entry: entry, text: string(entry.Data)})
}

// Gap records a gap.
func (r *receiver) Gap(reason error) {
	if reason == nil {
		r.env.Errorf("%s: Gap without a reason", r.topic)
		reason = io.ErrUnexpectedEOF
	}
	r.record(event{gap: reason})
}

func (r *receiver) record(ev event) {
	r.mu.Lock()
	r.calls++
	r.overlap = r.overlap || r.calls > 1
	r.late = r.late || r.closed
	r.events = append(r.events, ev)
	close(r.changed)
	r.changed = make(chan struct{})
	hook := r.hook
	r.mu.Unlock()
	if hook != nil {
		hook()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.calls--
}

func (r *receiver) setCloser(c io.Closer) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closer = c
}

// close ends the subscription.
func (r *receiver) close() {
	r.env.Helper()
	r.mu.Lock()
	closer := r.closer
	r.mu.Unlock()
	if err := closer.Close(); err != nil {
		r.env.Errorf("closing a subscription: %v", err)
	}
	r.end()
}

// end records that no further call is allowed.
func (r *receiver) end() {
	r.env.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	if r.calls > 0 {
		r.env.Errorf("%s: Close returned during a call of the receiver", r.topic)
	}
}

// wait waits until ok accepts the events.
func (r *receiver) wait(what string, ok func(events []event) bool) []event {
	r.env.Helper()
	timer := time.NewTimer(r.env.timeout)
	defer timer.Stop()
	for {
		r.mu.Lock()
		events, changed := slices.Clone(r.events), r.changed
		r.mu.Unlock()
		if ok(events) {
			return events
		}
		select {
		case <-changed:
		case <-timer.C:
			r.env.Fatalf("%s: %s: not within %v; %s", r.topic, what, r.env.timeout, describe(events))
		}
	}
}

// texts waits for at least n messages and returns all.
func (r *receiver) texts(n int) []string {
	r.env.Helper()
	return texts(r.wait(fmt.Sprintf("%d messages", n), func(events []event) bool { return len(texts(events)) >= n }))
}

// entries waits for at least n messages and returns all.
func (r *receiver) entries(n int) []pond.Entry {
	r.env.Helper()
	var entries []pond.Entry
	for _, ev := range r.wait(fmt.Sprintf("%d messages", n), func(events []event) bool { return len(texts(events)) >= n }) {
		if ev.gap == nil {
			entries = append(entries, ev.entry)
		}
	}
	return entries
}

// awaitText waits for a message with this text.
func (r *receiver) awaitText(text string) []event {
	r.env.Helper()
	return r.wait("message "+text, func(events []event) bool { return slices.Contains(texts(events), text) })
}

// awaitGap waits for a gap after the first n events.
func (r *receiver) awaitGap(n int) {
	r.env.Helper()
	r.wait("Gap", func(events []event) bool {
		return slices.ContainsFunc(events[n:], func(ev event) bool { return ev.gap != nil })
	})
}

// count returns the number of events.
func (r *receiver) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.events)
}

// check checks the guarantees for every receiver.
func (r *receiver) check() {
	r.env.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.overlap {
		r.env.Errorf("%s: two calls of the receiver at a time", r.topic)
	}
	if r.late {
		r.env.Errorf("%s: the receiver was called after its subscription or its broker was closed", r.topic)
	}
	for _, ev := range r.events {
		if ev.gap != nil && !r.env.gaps {
			r.env.Errorf("%s: Gap without a failure: %v", r.topic, ev.gap)
		}
		if ev.text != string(ev.entry.Data) {
			r.env.Errorf("%s: the bytes of a message changed after Receive: %.100q is now %.100q", r.topic, ev.text, ev.entry.Data)
		}
	}
}

// texts returns the messages among events.
func texts(events []event) []string {
	var list []string
	for _, ev := range events {
		if ev.gap == nil {
			list = append(list, ev.text)
		}
	}
	return list
}

// describe shortens events for an error message.
func describe(events []event) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d events", len(events))
	for _, ev := range events[max(0, len(events)-5):] {
		if ev.gap != nil {
			fmt.Fprintf(&b, ", Gap(%v)", ev.gap)
			continue
		}
		fmt.Fprintf(&b, ", %.60q", ev.text)
	}
	return b.String()
}

// show describes a page for an error message.
func show(page pond.Page) string {
	var list []string
	for _, entry := range page.Entries {
		list = append(list, fmt.Sprintf("%d %.60q", entry.Pos.Offset, entry.Data))
	}
	return fmt.Sprintf("complete %t, up to %d of epoch %q, with entries %s", page.Complete, page.Top.Offset, page.Top.Epoch, list)
}
