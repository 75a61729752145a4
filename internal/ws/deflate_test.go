package ws_test

import (
	"bytes"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"github.com/pondsocket/pond/internal/ws"
)

func TestDeflateRoundTrip(t *testing.T) {
	t.Parallel()
	noise := make([]byte, 100_000)
	rnd := rand.New(rand.NewPCG(1, 2))
	for i := range noise {
		noise[i] = byte(rnd.Uint32())
	}
	tests := map[string][]byte{
		"empty":     {},
		"one byte":  {'x'},
		"short":     []byte("Hello"),
		"json":      []byte(strings.Repeat(`{"event":"message","payload":{"text":"hello"}},`, 11)),
		"zeros":     make([]byte, 300_000),
		"noise":     noise,
		"64 KiB":    noise[:1<<16],
		"64 KiB-1":  noise[:1<<16-1],
		"ends 00ff": []byte("\x00\x00\xff\xff\x00\x00\xff\xff"),
	}
	for name, data := range tests {
		packed := ws.AppendDeflate(nil, data)
		if got, err := inflated(packed); err != nil || got != message(ws.Binary, string(data)) {
			t.Errorf("%s: %d bytes became %d, error %v", name, len(data), len(packed), err)
		}
		third := len(data) / 3
		if joined := ws.AppendDeflate(nil, data[:third], nil, data[third:2*third], data[2*third:]); !bytes.Equal(joined, packed) {
			t.Errorf("%s: differs in parts", name)
		}
	}
}

// RFC 7692 section 7.2.3.6: an empty message is a single zero.
func TestDeflateOfNothing(t *testing.T) {
	t.Parallel()
	if got := ws.AppendDeflate(nil); !bytes.Equal(got, []byte{0}) {
		t.Errorf("got % x", got)
	}
}

func TestDeflateCompresses(t *testing.T) {
	t.Parallel()
	data := []byte(strings.Repeat(`{"event":"message","payload":{"text":"hello"}},`, 11))
	if n := len(ws.AppendDeflate(nil, data)); n > len(data)/4 {
		t.Errorf("%d bytes became %d", len(data), n)
	}
}

// One message must not depend on another.
func TestDeflateHasNoContext(t *testing.T) {
	t.Parallel()
	text := []byte(strings.Repeat("nothing of the last message ", 20))
	first := ws.AppendDeflate(nil, text)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 50 {
				if !bytes.Equal(ws.AppendDeflate(nil, text), first) {
					t.Error("the same message gave another result")
				}
				if got, err := inflated(first); err != nil || got != message(ws.Binary, string(text)) {
					t.Errorf("got %q, error %v", got, err)
				}
			}
		})
	}
	wg.Wait()
}

// inflated returns the only event of a compressed binary message.
func inflated(packed []byte) (string, error) {
	data := ws.AppendMasked(nil, ws.Binary, true, true, testKey, packed)
	events, err := feed(newDecoder(unlimited, ws.Server, true), data, 0)
	return strings.Join(events, ","), err
}
