package transport_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http/httputil"
	"strings"
	"testing"

	"github.com/pondsocket/pond/internal/transport"
)

// A frame on an event stream is read as exactly one event, with the document as its
// data, for any name.
func FuzzEvent(f *testing.F) {
	f.Add("said", "hi")
	f.Add("", "")
	f.Add("a\nevent: b\ndata: {}\n\nid: 7", "line\r\nline")
	f.Add("\r", "\u2028")
	f.Add(" leading", "data: x")
	f.Add("\x00:\ufeff", "\x00")
	f.Fuzz(func(t *testing.T, name, text string) {
		doc, err := json.Marshal(text) // documents have no line breaks
		if err != nil {
			t.Skip()
		}
		whole := transport.NewFrame(name, append(make([]byte, transport.Headroom), doc...))
		half := len(doc) / 2
		lazy := transport.NewLazyFrame(name, 0, func() [3][]byte { return [3][]byte{doc[:half], nil, doc[half:]} })
		for _, frame := range []*transport.Frame{whole, lazy} {
			plain, named := frame.Encoded(transport.SSEUnnamed), frame.Encoded(transport.SSENamed)
			oneEvent(t, plain, "message", doc)
			oneEvent(t, named, clean(name), doc)
			if got := dechunk(t, frame.Encoded(transport.SSEUnnamedChunked)); !bytes.Equal(got, plain) {
				t.Errorf("chunked: %q, want %q", got, plain)
			}
			if got := dechunk(t, frame.Encoded(transport.SSENamedChunked)); !bytes.Equal(got, named) {
				t.Errorf("chunked: %q, want %q", got, named)
			}
		}
	})
}

// clean returns the name of an event as clients may see it.
func clean(name string) string {
	name = strings.Map(func(r rune) rune {
		if r == '\r' || r == '\n' || r == 0 {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(name, "\ufffd"))
	if name == "" {
		return "message"
	}
	return name
}

// oneEvent reads a stream as browsers do (HTML standard, section 9.2.6).
func oneEvent(t *testing.T, stream []byte, name string, data []byte) {
	t.Helper()
	gotName, gotData, events := "message", "", 0
	for line := range strings.SplitSeq(strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(string(stream)), "\n") {
		field, value, _ := strings.Cut(line, ":")
		value = strings.TrimPrefix(value, " ")
		switch {
		case line == "" && gotData != "":
			events++
			if n := strings.ToValidUTF8(gotName, "\ufffd"); n != name || gotData != string(data)+"\n" {
				t.Errorf("read as event %q with data %q, want %q and %q", n, gotData, name, data)
			}
			gotName, gotData = "message", ""
		case field == "event":
			gotName = value
		case field == "data":
			gotData += value + "\n"
		case field == "id", field == "retry":
			t.Errorf("field %q in %q", field, stream)
		}
	}
	if events != 1 {
		t.Errorf("read as %d events: %q", events, stream)
	}
}

func dechunk(t *testing.T, chunks []byte) []byte {
	t.Helper()
	body, err := io.ReadAll(httputil.NewChunkedReader(io.MultiReader(bytes.NewReader(chunks), strings.NewReader("0\r\n\r\n"))))
	if err != nil {
		t.Fatal(err)
	}
	return body
}
