package load

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// stream has events of all kinds: a comment, data on one line and on several, with and
// without a space, a name, both line ends, and an event without data.
const stream = ": hello\n\n" +
	"data: one\n\n" +
	"event: message\r\ndata:two\r\nid: 7\r\n\r\n" +
	"data: three\ndata: lines,\ndata:\ndata:  of it\n\n" +
	"retry: 1000\n\n" +
	"\n" +
	"data: a much longer line, which needs two digits for the size of its chunk\n\n"

var streamData = []string{
	"one", "two", "three\nlines,\n\n of it",
	"a much longer line, which needs two digits for the size of its chunk",
}

// inChunks encodes pieces with sizes in lower and upper case, with and without an
// extension.
func inChunks(pieces ...string) string {
	var b strings.Builder
	for i, piece := range pieces {
		fmt.Fprintf(&b, []string{"%x\r\n", "%X;name=value\r\n", "0%X\r\n"}[i%3], len(piece))
		b.WriteString(piece + "\r\n")
	}
	return b.String() + "0\r\n\r\n"
}

// splits returns a text split in two at every byte, in three at many, and into bytes.
func splits(text string) (all [][]string) {
	for i := range text {
		all = append(all, []string{text[:i], text[i:]})
	}
	r := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		i := r.IntN(len(text))
		j := i + r.IntN(len(text)-i)
		all = append(all, []string{text[:i], text[i:j], text[j:]})
	}
	return append(all, strings.Split(text, ""))
}

func TestEventsArriveInPieces(t *testing.T) {
	for _, pieces := range splits(stream) {
		var b []byte
		var got []string
		for _, piece := range pieces {
			b = append(b, piece...)
			for {
				data, n := nextEvent(b)
				if n == 0 {
					break
				}
				if data != nil {
					got = append(got, string(data))
				}
				b = b[n:]
			}
		}
		if !slices.Equal(got, streamData) || len(b) > 0 {
			t.Fatalf("%q: %q, and %q is left", pieces, got, b)
		}
	}
}

func TestChunksArriveInPieces(t *testing.T) {
	for _, pieces := range splits(inChunks(stream[:1], stream[1:30], stream[30:110], stream[110:])) {
		var c chunks
		var b []byte // the decoded data, followed by the incomplete rest
		done := 0
		for _, piece := range pieces {
			b = append(b, piece...)
			end, rest, err := c.decode(b, done)
			if err != nil {
				t.Fatalf("%q: %v", pieces, err)
			}
			b, done = append(b[:end], rest...), end
		}
		if string(b) != stream || !c.last {
			t.Fatalf("%q: %q, the last one: %v", pieces, b, c.last)
		}
	}
}

func TestChunkedSize(t *testing.T) {
	body := inChunks("ab", "0\r\n\r\n", strings.Repeat("x", 300))
	for i := range len(body) {
		if n, err := chunkedSize([]byte(body[:i])); n != 0 || err != nil {
			t.Errorf("of %d bytes: %d, %v", i, n, err)
		}
	}
	if n, err := chunkedSize([]byte(body + "HTTP/1.1 200 OK")); n != len(body) || err != nil {
		t.Errorf("%d, %v, want %d", n, err, len(body))
	}
	for _, body := range []string{"x\r\n", "1\r\nabc", "0\r\nTrailer: 1\r\n\r\n"} {
		if n, err := chunkedSize([]byte(body)); n != 0 || !errors.Is(err, errChunk) {
			t.Errorf("%q: %d, %v", body, n, err)
		}
	}
}

func TestBadChunks(t *testing.T) {
	for _, body := range []string{"x\r\n", "\r\n", "1\n", "-1\r\n", "ffffffffff\r\n", "1\r\nabc", strings.Repeat("0", 300)} {
		if _, _, err := new(chunks).decode([]byte(body), 0); !errors.Is(err, errChunk) {
			t.Errorf("%q: %v", body, err)
		}
	}
}
