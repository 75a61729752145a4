package ws_test

import (
	"bytes"
	"compress/flate"
	"strings"
	"testing"

	"github.com/pondsocket/pond/internal/ws"
)

// The examples of RFC 7692 section 7.2.3, and others that it allows.
func TestInflate(t *testing.T) {
	t.Parallel()
	tests := map[string]struct{ packed, want string }{
		"one block":            {"\xf2\x48\xcd\xc9\xc9\x07\x00", "Hello"},
		"no compression":       {"\x00\x05\x00\xfa\xff\x48\x65\x6c\x6c\x6f\x00", "Hello"},
		"last block":           {"\xf3\x48\xcd\xc9\xc9\x07\x00\x00", "Hello"},
		"last block, unpadded": {"\xf3\x48\xcd\xc9\xc9\x07\x00", "Hello"},
		"two blocks":           {"\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00", "Hello"},
		"empty":                {"\x00", ""},
		"two last blocks":      {"\x01\x03\x00\xfc\xffabc\x01\x03\x00\xfc\xffdef\x00", "abcdef"},
		"last, then more":      {"\x01\x03\x00\xfc\xffabc\xf2\x48\xcd\xc9\xc9\x07\x00", "abcHello"},
	}
	for name, test := range tests {
		if got, err := inflated([]byte(test.packed)); err != nil || got != message(ws.Binary, test.want) {
			t.Errorf("%s: got %s, error %v", name, got, err)
		}
	}
}

// A block after one that is marked as the last refers to data before both.
func TestInflateKeepsWindowAcrossLastBlocks(t *testing.T) {
	t.Parallel()
	history := strings.Repeat("0123456789abcdef", 5000)
	var b bytes.Buffer
	first, err := flate.NewWriter(&b, flate.BestCompression)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = first.Write([]byte(history))
	_ = first.Close()
	second, err := flate.NewWriterDict(&b, flate.BestCompression, []byte(history))
	if err != nil {
		t.Fatal(err)
	}
	_, _ = second.Write([]byte(history))
	_ = second.Close()

	if b.Len() > len(history)/10 {
		t.Fatalf("%d bytes do not refer to each other", b.Len())
	}
	if got, err := inflated(b.Bytes()); err != nil || got != message(ws.Binary, history+history) {
		t.Errorf("got %d bytes, error %v", len(got), err)
	}
}

func TestInflateRefuses(t *testing.T) {
	t.Parallel()
	hello := "\xf2\x48\xcd\xc9\xc9\x07\x00"
	tests := map[string]string{
		"no block":            "",
		"reserved block type": "\x07",
		"cut":                 hello[:4],
		"garbage after":       hello + "\xff\xff",
		"wrong stored length": "\x00\x05\x00\xfa\xfe\x48\x65\x6c\x6c\x6f\x00",
		"distance too far":    "\x4b\x04\x61\x00\x00",
		"last block cut":      "\x01\x02\x00\xfd\xff",
		"garbage after last":  "\xf3\x48\xcd\xc9\xc9\x07\x00\x07",
	}
	for name, packed := range tests {
		if got, err := inflated([]byte(packed)); closeCode(t, err) != ws.CloseInvalidPayload {
			t.Errorf("%s: got %s, error %v", name, got, err)
		}
	}
}

// The limit is exact, below and above the sizes at which buffers grow and are
// no longer kept.
func TestInflateLimit(t *testing.T) {
	t.Parallel()
	for _, limit := range []int{100, 4095, 4096, 4097, 8192, 1 << 15, 1 << 16, 1<<16 + 1, 100_000} {
		for _, size := range []int{limit - 1, limit, limit + 1, limit + 5000} {
			data := ws.AppendMasked(nil, ws.Binary, true, true, testKey, ws.AppendDeflate(nil, make([]byte, size)))
			_, err := feed(newDecoder(&ws.Config{MaxMessage: limit}, ws.Server, true), data, 0)
			want := 0
			if size > limit {
				want = ws.CloseTooBig
			}
			if got := closeCode(t, err); got != want {
				t.Errorf("%d bytes with a limit of %d: got %d, want %d", size, limit, got, want)
			}
		}
	}
}
