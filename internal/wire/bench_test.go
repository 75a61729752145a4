package wire

import (
	"strings"
	"testing"
)

// broadcast128 is an ordinary message of 128 bytes.
var broadcast128 = []byte(`{"action":"BROADCAST","event":"message","channelName":"/chat/1","requestId":"a1b2c3d4-e5f6","payload":{"text":"hello, world!!!"}}`)

func BenchmarkDecode(b *testing.B) {
	for _, bc := range []struct {
		name string
		data []byte
	}{
		{"128B", broadcast128},
		{"spaces", []byte(strings.ReplaceAll(string(broadcast128), ":", ": "))},
		{"4KiB", []byte(strings.Replace(string(broadcast128), "hello", strings.Repeat("hello", 800), 1))},
	} {
		b.Run(bc.name, func(b *testing.B) {
			b.SetBytes(int64(len(bc.data)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Decode(bc.data, 32); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkAppendMessage(b *testing.B) {
	m, err := Decode(broadcast128, 32)
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(broadcast128)))
	b.ReportAllocs()
	var buf []byte
	for b.Loop() {
		buf = AppendMessage(buf[:0], Broadcast, m.Event, m.Channel, m.RequestID, m.Payload)
	}
}
