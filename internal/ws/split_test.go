package ws_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/pondsocket/pond/internal/ws"
)

// Streams of a model must decode to the expected events for every way to split them.
func TestDecoderAgreesWithModel(t *testing.T) {
	t.Parallel()
	for seed := range uint64(100) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		role := ws.Role(rnd.IntN(2))
		stream := model{rnd: rnd, role: role}
		for range 1 + rnd.IntN(20) {
			stream.message()
		}
		if rnd.IntN(2) == 0 {
			stream.end()
		}
		for range 4 {
			events, err := feedRandomly(newDecoder(unlimited, role, true), stream.data, rnd)
			if err != nil || !slices.Equal(events, stream.events) {
				t.Fatalf("seed %d: got %.500q, error %v, want %.500q", seed, events, err, stream.events)
			}
		}
	}
}

// Damaged streams must have the same events and the same error for every way to split
// them.
func TestDecoderIgnoresCuts(t *testing.T) {
	t.Parallel()
	cfg := &ws.Config{MaxMessage: 2000, MaxFragments: 6}
	failed := 0
	for seed := range uint64(500) {
		rnd := rand.New(rand.NewPCG(seed, 2))
		role := ws.Role(rnd.IntN(2))
		stream := model{rnd: rnd, role: role}
		for range 1 + rnd.IntN(8) {
			stream.message()
		}
		for range rnd.IntN(4) {
			stream.data[rnd.IntN(len(stream.data))] ^= 1 << rnd.IntN(8)
		}
		deflate := rnd.IntN(4) > 0
		want := outcome(feed(newDecoder(cfg, role, deflate), stream.data, 0))
		got := outcome(feed(newDecoder(cfg, role, deflate), stream.data, 1))
		if got != want {
			t.Fatalf("seed %d, single bytes: got %.500s, want %.500s", seed, got, want)
		}
		got = outcome(feedRandomly(newDecoder(cfg, role, deflate), stream.data, rnd))
		if got != want {
			t.Fatalf("seed %d, random cuts: got %.500s, want %.500s", seed, got, want)
		}
		if strings.Contains(want, "websocket closed") {
			failed++
		}
	}
	if failed < 150 {
		t.Errorf("only %d streams failed", failed)
	}
}

func outcome(events []string, err error) string { return fmt.Sprintf("%q, error %v", events, err) }

func feedRandomly(d *ws.Decoder, data []byte, rnd *rand.Rand) ([]string, error) {
	var rec recorder
	data = slices.Clone(data)
	for len(data) > 0 {
		n := min(len(data), 1+rnd.IntN(1<<rnd.IntN(12)))
		if err := d.Feed(data[:n], &rec); err != nil {
			return rec.events, err
		}
		data = data[n:]
	}
	return rec.events, nil
}

// model writes frames and the expected events.
type model struct {
	rnd    *rand.Rand
	role   ws.Role
	data   []byte
	events []string
}

// message adds one message, in some fragments, with control frames between them.
func (m *model) message() {
	op, sample := ws.Text, samples()[m.rnd.IntN(len(samples()))]
	if m.rnd.IntN(2) == 0 {
		op = ws.Binary
	}
	payload, compressed := []byte(sample.text), m.rnd.IntN(3) == 0
	if compressed {
		payload = sample.packed
	}
	first, rsv1 := op, compressed
	for m.rnd.IntN(3) > 0 {
		m.control()
		n := m.rnd.IntN(len(payload) + 1)
		m.frame(first, false, rsv1, payload[:n])
		first, rsv1, payload = ws.Continuation, false, payload[n:]
	}
	m.control()
	m.frame(first, true, rsv1, payload)
	m.events = append(m.events, message(op, sample.text))
}

func (m *model) control() {
	if m.rnd.IntN(4) > 0 {
		return
	}
	op, text := ws.Ping, strings.Repeat("p", m.rnd.IntN(126))
	if m.rnd.IntN(2) == 0 {
		op = ws.Pong
	}
	m.frame(op, true, false, []byte(text))
	m.events = append(m.events, message(op, text))
}

// end adds a Close frame, and data after it.
func (m *model) end() {
	m.frame(ws.Close, true, false, ws.AppendCloseBody(nil, ws.CloseGoingAway, "bye"))
	m.events = append(m.events, closed(ws.CloseGoingAway, "bye"))
	m.frame(ws.Continuation, true, true, nil)
}

func (m *model) frame(op ws.Opcode, fin, compressed bool, payload []byte) {
	start := len(m.data)
	var key [4]byte
	for i := range key {
		key[i] = byte(m.rnd.Uint32())
	}
	m.data = ws.AppendMasked(m.data, op, fin, compressed, key, payload)
	if m.role == ws.Server {
		return
	}
	header := slices.Clone(m.data[start : len(m.data)-len(payload)-4])
	header[1] &^= 0x80
	m.data = append(append(m.data[:start], header...), payload...)
}

type sample struct {
	text   string
	packed []byte
}

// samples are the messages of all models: with the race detector, deflating each again
// would be too slow.
var samples = sync.OnceValue(func() []sample {
	rnd := rand.New(rand.NewPCG(0, 0))
	samples := make([]sample, 50)
	for i := range samples {
		var b strings.Builder
		for range rnd.IntN(1 << rnd.IntN(11)) {
			b.WriteString([]string{"a", "pond", "é", "€", "🐸", "\x00"}[rnd.IntN(6)])
		}
		samples[i] = sample{b.String(), ws.AppendDeflate(nil, []byte(b.String()))}
	}
	return samples
})
