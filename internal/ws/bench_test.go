package ws_test

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/pondsocket/pond/internal/ws"
)

var event = []byte(`{"action":"BROADCAST","event":"message","channelName":"/chat/1","requestId":"7f","payload":{"text":"hello, how are you today?"}}`)

func BenchmarkDecode(b *testing.B) {
	packed := ws.AppendDeflate(nil, bytes.Repeat(event, 4))
	cases := map[string][]byte{
		"text 128 B":     frame(ws.Text, string(event[:128])),
		"text 4 KiB":     frame(ws.Text, strings.Repeat("pond", 1024)),
		"deflated 512 B": ws.AppendMasked(nil, ws.Text, true, true, testKey, packed),
		"fragments":      join(part(ws.Text, false, string(event[:64])), frame(ws.Continuation, string(event[64:]))),
	}
	for name, data := range cases {
		b.Run(name, func(b *testing.B) {
			d := newDecoder(unlimited, ws.Server, true)
			buf := make([]byte, len(data))
			var sink counter
			b.SetBytes(int64(len(data)))
			b.ReportAllocs()
			for b.Loop() {
				copy(buf, data)
				if err := d.Feed(buf, &sink); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// The maximum cost of a received byte: zeros, of which a few inflate to a MiB, and
// blocks marked as the last, each of which copies the window.
func BenchmarkDecodeHostile(b *testing.B) {
	packed := func(zeros int) []byte { return ws.AppendDeflate(nil, make([]byte, zeros)) }
	cases := map[string][]byte{
		"zeros":       packed(1 << 20),
		"last blocks": slices.Concat(packed(1<<15), []byte{0x00, 0x00, 0xff, 0xff}, bytes.Repeat([]byte{0x03, 0x00}, 1<<15)),
	}
	for name, payload := range cases {
		b.Run(name, func(b *testing.B) {
			d := newDecoder(unlimited, ws.Server, true)
			data := ws.AppendMasked(nil, ws.Binary, true, true, testKey, payload)
			buf := make([]byte, len(data))
			var sink counter
			b.SetBytes(int64(len(data)))
			for b.Loop() {
				copy(buf, data)
				if err := d.Feed(buf, &sink); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkAppendFrame(b *testing.B) {
	buf := make([]byte, 0, 256)
	b.ReportAllocs()
	for b.Loop() {
		buf = ws.AppendFrame(buf[:0], ws.Text, false, event)
	}
}

func BenchmarkAppendDeflate(b *testing.B) {
	data := bytes.Repeat(event, 4)[:512]
	buf := make([]byte, 0, 1024)
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		buf = ws.AppendDeflate(buf[:0], data)
	}
}
