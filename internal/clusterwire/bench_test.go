package clusterwire

import (
	"strings"
	"testing"
)

func benchMessage() Message {
	m := message(UserMessage)
	m.Source, m.ID, m.RequestID = "01976d2c-9a5e-7c1b-8f44-0b6a9e3d2f70", "01976d2c-a001-7d10-9c00-000000000001", "0b7f7f0c-95d1-4b3a-9c7e-5df1f7a8f001"
	m.Payload = []byte(`{"text":"` + strings.Repeat("x", 117) + `"}`)
	m.Ext = Ext{Boot: "01976d2c9a5e", Seq: 42}
	return m
}

func BenchmarkAppend(b *testing.B) {
	m := benchMessage()
	var dst []byte
	for b.Loop() {
		dst, _ = Append(dst[:0], &m)
	}
	b.SetBytes(int64(len(dst)))
	b.ReportAllocs()
}

func BenchmarkDecode(b *testing.B) {
	m := benchMessage()
	data, _ := Append(nil, &m)
	for b.Loop() {
		if _, err := Decode(data, m.Endpoint, m.Channel, DefaultLimits); err != nil {
			b.Fatal(err)
		}
	}
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
}

func BenchmarkIsFrom(b *testing.B) {
	m := benchMessage()
	data, _ := Append(nil, &m)
	for b.Loop() {
		if !IsFrom(data, m.Source) {
			b.Fatal("not from its source")
		}
	}
}
