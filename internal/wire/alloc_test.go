package wire

import (
	"encoding/json"
	"strings"
	"testing"
)

// broadcast is an ordinary message of 128 bytes.
const broadcast = `{"action":"BROADCAST","event":"message","channelName":"/chat/1","requestId":"a1b2c3d4-e5f6","payload":{"text":"hello, world!!"}}`

func TestDecodeAllocations(t *testing.T) {
	for _, tc := range []struct {
		name, in string
		want     float64
	}{
		{"ordinary", broadcast, 2},
		{"white space", strings.ReplaceAll(broadcast, `":`, `": `), 2},
		{"escapes", strings.NewReplacer("message", `m\u00e9ssage`, "/", `\/`, "hello", `h\n`).Replace(broadcast), 2},
		{"unknown members", strings.Replace(broadcast, "{", `{"a":{"b":[[[{}]]]},`, 1), 2},
		{"empty payload", strings.Replace(broadcast, `{"text":"hello, world!!"}`, `{}`, 1), 1},
		{"blank payload", strings.Replace(broadcast, `{"text":"hello, world!!"}`, `{ }`, 1), 1},
		{"null payload", strings.Replace(broadcast, `{"text":"hello, world!!"}`, `null`, 1), 1},
		{"no names", `{"action":"BROADCAST","event":"","channelName":"","requestId":"","payload":{"a":1}}`, 1},
		{"ping", `{"action":"ping"}`, 0},
	} {
		data := []byte(tc.in)
		got := testing.AllocsPerRun(100, func() {
			if _, err := Decode(data, Limits{Depth: 32}); err != nil {
				t.Fatal(err)
			}
		})
		if got != tc.want {
			t.Errorf("%s: %v allocations, want %v", tc.name, got, tc.want)
		}
	}
}

func TestAppendAllocations(t *testing.T) {
	buf := make([]byte, 0, 1024)
	payload := []byte(`{"a":1}`)
	text := "\"é\u2028\xff\n"
	got := testing.AllocsPerRun(100, func() {
		buf = AppendString(buf[:0], text)
		buf = AppendMessage(buf, Broadcast, text, text, text, payload)
		buf = AppendError(buf, InvalidMessage, text, 400)
		buf = AppendHandlerError(buf, text, 500, payload)
		buf = AppendPresenceTail(AppendPresenceHead(buf, PresenceJoin, text, text), payload)
	})
	if got != 0 {
		t.Errorf("%v allocations", got)
	}
}

func TestViewAllocations(t *testing.T) {
	raw := any(json.RawMessage(broadcast))
	got := testing.AllocsPerRun(100, func() {
		if _, err := View(raw); err != nil {
			t.Fatal(err)
		}
	})
	if got != 0 {
		t.Errorf("%v allocations", got)
	}
}

func BenchmarkDecode(b *testing.B) {
	for _, bc := range []struct{ name, in string }{
		{"128B", broadcast},
		{"spaces", strings.ReplaceAll(broadcast, `":`, `": `)},
		{"4KiB", strings.Replace(broadcast, "hello", strings.Repeat("hello", 800), 1)},
	} {
		b.Run(bc.name, func(b *testing.B) {
			data := []byte(bc.in)
			b.SetBytes(int64(len(data)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Decode(data, Limits{Depth: 32}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkAppendMessage(b *testing.B) {
	m, err := Decode([]byte(broadcast), Limits{Depth: 32})
	if err != nil {
		b.Fatal(err)
	}
	var buf []byte
	b.SetBytes(int64(len(broadcast)))
	b.ReportAllocs()
	for b.Loop() {
		buf = AppendMessage(buf[:0], m.Action, m.Event, m.Channel, m.RequestID, m.Payload)
	}
}
