package ws_test

import (
	"bytes"
	"math"
	"runtime"
	"slices"
	"testing"

	"github.com/pondsocket/pond/internal/ws"
)

// The tests of this file measure the memory of the whole process, so they do not run in
// parallel with others.

// allocated returns the maximum number of bytes that f allocates.
func allocated(f func()) int {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return int(after.TotalAlloc - before.TotalAlloc)
}

func TestWholeMessagesAllocateNothing(t *testing.T) {
	data := join(frame(ws.Text, `{"a":1}`), frame(ws.Ping, "x"), frame(ws.Binary, string(make([]byte, 300))), frame(ws.Text, ""))
	buf := make([]byte, len(data))
	var sink counter
	d := newDecoder(unlimited, ws.Server, false)
	allocs := testing.AllocsPerRun(100, func() {
		copy(buf, data)
		if err := d.Feed(buf, &sink); err != nil {
			t.Fatal(err)
		}
	})
	if allocs != 0 || sink.messages != 3*101 {
		t.Errorf("%v allocations, %d messages", allocs, sink.messages)
	}
}

// An incomplete header is stored in the Decoder itself.
func TestHeadersAllocateNothing(t *testing.T) {
	data := frame(ws.Binary, string(make([]byte, 1<<16)))
	buf := make([]byte, len(data))
	var sink counter
	d := newDecoder(unlimited, ws.Server, false)
	allocs := testing.AllocsPerRun(10, func() {
		copy(buf, data)
		for i := range 14 {
			if err := d.Feed(buf[i:i+1], &sink); err != nil {
				t.Fatal(err)
			}
		}
		if err := d.Feed(buf[14:], &sink); err != nil {
			t.Fatal(err)
		}
	})
	if allocs != 0 || sink.messages != 11 {
		t.Errorf("%v allocations, %d messages", allocs, sink.messages)
	}
}

func TestMessagesAreHandedOverInPlace(t *testing.T) {
	data := frame(ws.Text, "Hello")
	var sink aliasing
	if err := newDecoder(unlimited, ws.Server, false).Feed(data, &sink); err != nil {
		t.Fatal(err)
	}
	if &sink.data[0] != &data[6] {
		t.Error("the message was copied")
	}
	if cap(sink.data) != len(sink.data) {
		t.Error("appending to the message would overwrite what follows it")
	}
}

type aliasing struct {
	counter
	data []byte
}

func (a *aliasing) Message(_ ws.Opcode, data []byte) error {
	a.data = data
	return nil
}

// Declared lengths need no memory; only received data does.
func TestDeclaredLengthAllocatesNothing(t *testing.T) {
	for name, header := range map[string]string{
		"1 MiB":  "\x82\xff\x00\x00\x00\x00\x00\x10\x00\x00\x00\x00\x00\x00",
		"1 TiB":  "\x82\xff\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00",
		"64 KiB": "\x82\xfe\xff\xff\x00\x00\x00\x00",
	} {
		data := []byte(header + "0123456789")
		var sink counter
		var d *ws.Decoder
		n := math.MaxInt
		for range 5 { // the least of several, because the runtime itself may allocate in the meantime
			d = newDecoder(unlimited, ws.Server, true)
			input := slices.Clone(data)
			n = min(n, allocated(func() { _ = d.Feed(input, &sink) }))
		}
		if n > 512 {
			t.Errorf("%s: allocated %d bytes for 10", name, n)
		}
		if !d.MidMessage() {
			t.Errorf("%s: the frame has not begun", name)
		}
	}
}

// Data that arrives in pieces is copied a limited number of times, even if each piece
// is a separate frame.
func TestGrowthIsAmortised(t *testing.T) {
	const pieces = 20_000
	inFrame := []byte("\x82\xfe\x4e\x20\x00\x00\x00\x00" + string(make([]byte, pieces)))
	inFragments := part(ws.Binary, false, "x")
	for range pieces - 1 {
		inFragments = append(inFragments, part(ws.Continuation, false, "x")...)
	}
	for name, data := range map[string][]byte{"frame": inFrame, "fragments": inFragments} {
		var sink counter
		d := newDecoder(unlimited, ws.Server, false)
		n := allocated(func() {
			for i := range data {
				_ = d.Feed(data[i:i+1], &sink)
			}
		})
		if n > 10*pieces {
			t.Errorf("%s: allocated %d bytes for %d", name, n, pieces)
		}
	}
}

// After a message or a control frame is complete, the decoder keeps no data of it.
func TestIdleDecoderHoldsNothing(t *testing.T) {
	const size = 256 << 10
	big := string(make([]byte, size))
	streams := map[string]struct {
		decoders, pieces int
		data             []byte
	}{
		"message":   {8, 4096, frame(ws.Binary, big)},
		"fragments": {8, 4096, join(part(ws.Binary, false, big), frame(ws.Ping, "x"), frame(ws.Continuation, ""))},
		"close":     {8, 4096, join(part(ws.Binary, false, big), frame(ws.Close, ""))},
		"violation": {8, 4096, join(part(ws.Binary, false, big), frame(ws.Text, ""))},
		"ping":      {size / 25, 20, frame(ws.Ping, big[:125])},
	}
	for name, stream := range streams {
		var sink counter
		decoders := make([]ws.Decoder, stream.decoders)
		before := heap()
		for i := range decoders {
			decoders[i].Init(unlimited, ws.Server, false)
			for piece := range slices.Chunk(slices.Clone(stream.data), stream.pieces) {
				_ = decoders[i].Feed(piece, &sink)
			}
		}
		if grown := heap() - before; grown > size {
			t.Errorf("%s: %d decoders hold %d bytes", name, len(decoders), grown)
		}
		runtime.KeepAlive(decoders)
	}
}

func heap() int {
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return int(stats.HeapAlloc)
}

// A message of the maximum size that would inflate to eight hundred times as much fails
// at the limit, before the corrupt data after the first few MiB.
func TestInflateBomb(t *testing.T) {
	block := append(ws.AppendDeflate(nil, make([]byte, 1<<20)), 0, 0, 0xff, 0xff)
	bomb := slices.Concat(bytes.Repeat(block, 4), []byte{0xff, 0xff, 0xff, 0xff}, bytes.Repeat(block, 800))

	for _, limit := range []int{8 << 10, 64 << 10, 200_000, 1 << 20} {
		data := ws.AppendMasked(nil, ws.Binary, true, true, testKey, bomb[:limit])
		var sink counter
		d := newDecoder(&ws.Config{MaxMessage: limit}, ws.Server, true)
		var err error
		n := allocated(func() { err = d.Feed(data, &sink) })
		if closeCode(t, err) != ws.CloseTooBig || sink.messages != 0 {
			t.Errorf("limit %d: got %v and %d messages", limit, err, sink.messages)
		}
		// The buffer doubles up to the limit; the rest is flate itself.
		if n > 2*limit+64<<10 {
			t.Errorf("limit %d: allocated %d bytes", limit, n)
		}
	}
}

// One large message must not increase the memory of all later ones.
func TestLargeInflateBuffersAreNotKept(t *testing.T) {
	const size = 200_000
	packed := ws.AppendFrame(nil, ws.Binary, true, ws.AppendDeflate(nil, make([]byte, size)))
	var sink counter
	d := newDecoder(unlimited, ws.Client, true)
	for range 3 {
		if n := allocated(func() { _ = d.Feed(packed, &sink) }); n < size {
			t.Errorf("allocated %d bytes, so that a buffer was there already", n)
		}
	}
	if sink.bytes != 3*size {
		t.Errorf("got %d bytes", sink.bytes)
	}
}

func TestPooledCompressionAllocatesNothing(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector empties pools")
	}
	text := bytes.Repeat([]byte("pond "), 100)
	packed := ws.AppendDeflate(nil, text)
	buf := make([]byte, 0, 1024)
	if allocs := testing.AllocsPerRun(100, func() { buf = ws.AppendDeflate(buf[:0], text) }); allocs != 0 {
		t.Errorf("AppendDeflate: %v allocations", allocs)
	}

	data := ws.AppendMasked(nil, ws.Text, true, true, testKey, packed)
	fed := make([]byte, len(data))
	var sink counter
	d := newDecoder(unlimited, ws.Server, true)
	allocs := testing.AllocsPerRun(100, func() {
		copy(fed, data)
		if err := d.Feed(fed, &sink); err != nil {
			t.Fatal(err)
		}
	})
	if allocs != 0 {
		t.Errorf("inflating: %v allocations", allocs)
	}
}
