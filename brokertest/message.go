package brokertest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/pondsocket/pond"
)

// messageChecks test messages and topics.
var messageChecks = []check{
	{"Order", "", (*env).order},
	{"Echo", "", (*env).echo},
	{"TopicsAreExact", "", (*env).topicsAreExact},
	{"Bytes", "", (*env).bytes},
	{"MaxBytes", "", (*env).maxBytes},
	{"EmptyBatch", "", (*env).emptyBatch},
	{"Contention", "", (*env).contention},
	{"CanceledPublish", "", (*env).canceledPublish},
}

// order: every subscriber receives the messages of each node once and in order.
func (e *env) order() {
	const nodes, messages = 3, 150
	topics := []string{e.topic("a"), e.topic("b")}
	brokers := make([]pond.Broker, nodes)
	var receivers []*receiver
	for i := range brokers {
		brokers[i] = e.node()
		for _, topic := range topics {
			receivers = append(receivers, e.subscribe(brokers[i], topic))
		}
	}
	var wg sync.WaitGroup
	for i, b := range brokers {
		for _, topic := range topics {
			wg.Go(func() { e.publishNumbers(b, topic, fmt.Sprint("node", i), messages) })
		}
	}
	wg.Wait()
	for _, r := range receivers {
		e.inOrder(r.texts(nodes*messages), nodes, messages)
	}
}

// publishNumbers publishes the numbers from 1 in batches of different sizes.
func (e *env) publishNumbers(b pond.Broker, topic, sender string, messages int) {
	for next, size := 1, 1; next <= messages; size = size%7 + 1 {
		var texts []string
		for ; len(texts) < size && next <= messages; next++ {
			texts = append(texts, message(sender, next))
		}
		if err := b.Publish(e.context(), topic, batch(texts...)); err != nil {
			e.Errorf("Publish: %v", err)
			return
		}
	}
}

// inOrder checks that the messages of each sender have the numbers from 1 to messages.
func (e *env) inOrder(texts []string, senders, messages int) {
	e.Helper()
	last := map[string]int{}
	for _, text := range texts {
		n := e.parse(text)
		if n.Number != last[n.Sender]+1 {
			e.Errorf("message %d of %s came after %d", n.Number, n.Sender, last[n.Sender])
			return
		}
		last[n.Sender] = n.Number
	}
	if len(texts) != senders*messages {
		e.Errorf("%d messages, want %d", len(texts), senders*messages)
	}
}

// echo: a node receives its own messages.
func (e *env) echo() {
	b, topic := e.node(), e.topic("a")
	r := e.subscribe(b, topic)
	e.publish(b, topic, message("self", 1), message("self", 2))
	e.inOrder(r.texts(2), 1, 2)
}

// topicsAreExact: topics are not interpreted as patterns, and not changed.
func (e *env) topicsAreExact() {
	names := []string{
		"1", "11", "10", "1/", "/1", "a", "A", "a.b", "a.*", "a*", "*", ".*", ".>", ">", "?", "a?", "[a]", "[^a]", "a]",
		`\*`, `\`, "a b", " ", "  ", "%41", "%", "a:b", ":", "{a}", "{b}", "$SYS", "é", "e\u0301", "ß", "SS", "日本",
		"😀", "\ufeff", "\u2028", "'", `"`, "<&>", "#", "+", "a+b", "_", "~", "=", "==", strings.Repeat("x", 900),
	}
	a, b := e.node(), e.node()
	receivers := map[string]*receiver{}
	for i, name := range names {
		if i%3 != 2 { // the others have no subscriber
			receivers[name] = e.subscribe(b, e.topic(name))
		}
	}
	for _, name := range names {
		e.publish(a, e.topic(name), fmt.Sprintf(`{"topic":%q}`, name))
	}
	const last = `{"last":true}`
	for _, name := range names {
		e.publish(a, e.topic(name), last)
	}
	for name, r := range receivers {
		want := []string{fmt.Sprintf(`{"topic":%q}`, name), last}
		if got := texts(r.awaitText(last)); !slices.Equal(got, want) {
			e.Errorf("topic %q received %q, want %q", name, got, want)
		}
	}
}

// difficult are messages that a broker could change or misinterpret.
func difficult() []string {
	return []string{
		`{}`, `{"a":{}}`, `{"a":{"b":{}}}`, `{"a":"}"}`, `{"a":"\"}"}`, `{"a":"\\"}`, `{"pos":"k3.1.0"}`, `{"a":{"pos":"k3.1.0"}}`,
		`{"a":"b","pos":"k3.9.8"}`, `{"payload":"\",\"pos\":\"k3.9.8"}`, `{"ext":{"v":1,"pos":{"e":"k3","o":1}}}`,
		`{"a":"\u0000\r\n\t"}`, `{"a":"é😀` + "\u2028" + `"}`, `{"a":1e999,"a":-0.0}`, `{ }`, `{ "a" : [ 1 , 2 ] }`, sized(60_000),
	}
}

// bytes: messages arrive as they were sent.
func (e *env) bytes() {
	messages := difficult()
	a, b, topic := e.node(), e.node(), e.topic("a")
	r := e.subscribe(b, topic)
	e.publish(a, topic, messages...)
	if got := r.texts(len(messages)); !slices.Equal(got, messages) {
		e.Errorf("received %q, want %q", got, messages)
	}
	for _, entry := range r.entries(len(messages)) {
		if entry.Pos != (pond.Position{}) || entry.Prev != 0 {
			e.Errorf("published message %.50q has position %v and %d before it", entry.Data, entry.Pos, entry.Prev)
		}
	}
}

// maxBytes: the largest message arrives; a larger one is rejected together with its
// batch.
func (e *env) maxBytes() {
	a, b, topic := e.node(), e.node(), e.topic("a")
	r := e.subscribe(b, topic)
	limit := a.MaxBytes()
	if limit < 64<<10 {
		e.Fatalf("MaxBytes %d, want at least 64 KiB", limit)
	}
	e.publish(a, topic, sized(limit))
	for _, texts := range [][]string{{sized(limit + 1)}, {`{"n":1}`, sized(limit + 1), `{"n":2}`}} {
		if err := a.Publish(e.context(), topic, batch(texts...)); !errors.Is(err, pond.ErrTooLarge) {
			e.Errorf("Publish with a message of %d bytes: %v, want ErrTooLarge", limit+1, err)
		}
	}
	e.publish(a, topic, `{"last":true}`)
	got := texts(r.awaitText(`{"last":true}`))
	if len(got) != 2 || got[0] != sized(limit) {
		e.Errorf("%d messages, want 2; the first has %d bytes, want %d", len(got), len(got[0]), limit)
	}
}

// emptyBatch: publishing an empty batch succeeds and sends nothing.
func (e *env) emptyBatch() {
	b, topic := e.node(), e.topic("a")
	r := e.subscribe(b, topic)
	e.publish(b, topic)
	const last = `{"last":true}`
	e.publish(b, topic, last)
	if got := texts(r.awaitText(last)); len(got) != 1 {
		e.Errorf("received %q", got)
	}
}

// contention: all methods may be called concurrently.
func (e *env) contention() {
	const workers, rounds = 6, 8
	brokers := []pond.Broker{e.node(), e.node()}
	shared := e.topic("shared")
	everything := e.subscribe(brokers[0], shared)
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			b := brokers[w%len(brokers)]
			for i := range rounds {
				topic := e.topic(fmt.Sprint("own", w))
				r := e.receiver(topic)
				closer, err := b.Subscribe(e.context(), topic, r)
				if err != nil {
					e.Errorf("Subscribe: %v", err)
					return
				}
				r.setCloser(closer)
				for _, to := range []string{topic, shared} {
					if err := b.Publish(e.context(), to, batch(message(strconv.Itoa(w), i+1))); err != nil {
						e.Errorf("Publish: %v", err)
					}
				}
				if err := b.Health(); err != nil {
					e.Errorf("Health: %v", err)
				}
				r.close()
			}
		})
	}
	wg.Wait()
	e.inOrder(everything.texts(workers*rounds), workers, rounds)
}

// canceledPublish: a context that is done ends a call.
func (e *env) canceledPublish() {
	b, topic := e.node(), e.topic("a")
	reason := errors.New("changed my mind")
	ctx, cancel := context.WithCancelCause(e.context())
	cancel(reason)
	if err := b.Publish(ctx, topic, batch(`{}`)); !errors.Is(err, context.Canceled) && !errors.Is(err, reason) {
		e.Errorf("Publish: %v, want the cause of the context's end", err)
	}
}
