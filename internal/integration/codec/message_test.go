package codec_test

import (
	"math/rand/v2"
	"strings"

	"github.com/coder/websocket"
	"pgregory.net/rapid"
)

// A message is sent whole or in parts, and optionally with a ping in between.
type message struct {
	binary bool
	data   []byte
	parts  int
	ping   bool
}

func (m message) typ() websocket.MessageType {
	if m.binary {
		return websocket.MessageBinary
	}
	return websocket.MessageText
}

// split returns the data in parts of about the same size. Some parts may be empty.
func (m message) split() [][]byte {
	var parts [][]byte
	rest := m.data
	for i := range m.parts - 1 {
		n := len(rest) / (m.parts - i)
		parts = append(parts, rest[:n])
		rest = rest[n:]
	}
	return append(parts, rest)
}

// sizes are sizes of messages, close to changes of the header format and to sizes of buffers.
var sizes = rapid.SampledFrom([]int{1, 10, 0, 125, 126, 127, 1000, 4096, 32767, 65535, 65536, 100_000})

// messages generates messages: text that compresses well, or binary noise.
var messages = rapid.Custom(func(t *rapid.T) message {
	m := message{
		binary: rapid.Bool().Draw(t, "binary"),
		parts:  rapid.IntRange(1, 4).Draw(t, "parts"),
		ping:   rapid.Bool().Draw(t, "ping"),
	}
	size := sizes.Draw(t, "size")
	if m.binary {
		m.data = make([]byte, size)
		random := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
		for i := range m.data {
			m.data[i] = byte(random.Uint32())
		}
		return m
	}
	m.data = []byte(text(rapid.SampledFrom([]string{"a", "ä", "日本", "😀", `{"n":1}`}).Draw(t, "text"), size))
	return m
})

// text repeats s up to size bytes.
func text(s string, size int) string {
	return strings.Repeat(s, size/len(s)) + strings.Repeat(".", size%len(s))
}

// An ending is the code and the reason of a close frame.
type ending struct {
	code   int
	reason string
}

var endings = rapid.Custom(func(t *rapid.T) ending {
	return ending{
		code:   rapid.SampledFrom([]int{1000, 1001, 1003, 1008, 1011, 1013, 3000, 4001, 4999}).Draw(t, "code"),
		reason: text(rapid.SampledFrom([]string{"bye", "ä", "."}).Draw(t, "reason"), rapid.SampledFrom([]int{0, 3, 123}).Draw(t, "bytes")),
	}
})

var modes = rapid.SampledFrom([]websocket.CompressionMode{
	websocket.CompressionDisabled, websocket.CompressionContextTakeover, websocket.CompressionNoContextTakeover,
})
