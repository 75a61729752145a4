package ws_test

import (
	"bytes"
	"compress/flate"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/pondsocket/pond/internal/ws"
)

// FuzzDecoder decodes the same bytes at once, one by one, and split at two places, with
// the same result.
func FuzzDecoder(f *testing.F) {
	packed := ws.AppendMasked(nil, ws.Text, true, true, testKey, ws.AppendDeflate(nil, []byte("Hello Hello Hello")))
	for _, seed := range [][]byte{
		frame(ws.Text, "Hello"),
		join(part(ws.Text, false, "Hel"), frame(ws.Ping, "between"), frame(ws.Continuation, "lo")),
		join(packed, frame(ws.Close, "\x03\xe8bye"), frame(ws.Text, "late")),
		ws.AppendFrame(nil, ws.Binary, false, make([]byte, 130)),
		[]byte("\x82\xff\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00x"),
	} {
		f.Add(seed, byte(0), uint16(1), uint16(9))
		f.Add(seed, byte(1), uint16(7), uint16(2))
		f.Add(seed, byte(2), uint16(3), uint16(3))
	}
	cfg := &ws.Config{MaxMessage: 1 << 12, MaxFragments: 8}
	f.Fuzz(func(t *testing.T, data []byte, mode byte, one, two uint16) {
		role, deflate := ws.Role(mode&1), mode&2 == 0
		want := outcome(feed(newDecoder(cfg, role, deflate), data, 0))
		if got := outcome(feed(newDecoder(cfg, role, deflate), data, 1)); got != want {
			t.Errorf("single bytes: got %s, want %s", got, want)
		}

		var rec recorder
		d := newDecoder(cfg, role, deflate)
		rest := bytes.Clone(data)
		for _, n := range []int{int(one), int(two), len(data)} {
			n = min(n, len(rest))
			if d.Feed(rest[:n], &rec) != nil {
				break
			}
			rest = rest[n:]
		}
		if got := outcome(rec.events, d.Feed(nil, &rec)); got != want {
			t.Errorf("cut at %d and %d: got %s, want %s", one, two, got, want)
		}
	})
}

// FuzzInflate compares with compress/flate, and checks that deflated data inflates to
// the original.
func FuzzInflate(f *testing.F) {
	for _, seed := range []string{
		"\xf2\x48\xcd\xc9\xc9\x07\x00", "\x00\x05\x00\xfa\xff\x48\x65\x6c\x6c\x6f\x00", "\xf3\x48\xcd\xc9\xc9\x07\x00\x00",
		"\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00", "\x00", "", "\x07",
	} {
		f.Add([]byte(seed))
	}
	f.Add(ws.AppendDeflate(nil, make([]byte, 1<<16)))
	const limit = 1 << 14
	cfg := &ws.Config{MaxMessage: limit}
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > limit {
			return
		}
		packed := ws.AppendFrame(nil, ws.Binary, true, data)
		events, err := feed(newDecoder(cfg, ws.Client, true), packed, 0)
		code := closeCode(t, err)

		ending := "\x00\x00\xff\xff\x01\x00\x00\xff\xff"
		source := strings.NewReader(string(data) + ending)
		want, flateErr := io.ReadAll(io.LimitReader(flate.NewReader(source), limit+1))
		switch {
		case len(want) > limit:
			if code != ws.CloseTooBig {
				t.Errorf("got %q, error %v, want more than the limit", events, err)
			}
		case flateErr != nil:
			if code != ws.CloseInvalidPayload {
				t.Errorf("got %q, error %v, want %v", events, err, flateErr)
			}
		case source.Len() == 0, source.Len() == len(ending): // a last block ended the data, or ours did
			if err != nil || events[0] != message(ws.Binary, string(want)) {
				t.Errorf("got %q, error %v, want %q", events, err, want)
			}
		}

		if got, err := inflated(ws.AppendDeflate(nil, data)); err != nil || got != message(ws.Binary, string(data)) {
			t.Errorf("%q came back as %s, error %v", data, got, err)
		}
	})
}

// FuzzExtensions checks that every answer contains only supported parameters, and that
// a later offer counts only if the earlier one is well-formed.
func FuzzExtensions(f *testing.F) {
	for _, seed := range []string{
		"permessage-deflate", "permessage-deflate; client_max_window_bits", "permessage-deflate; server_max_window_bits=15",
		`permessage-deflate; client_max_window_bits="1\0"`, "x; a=b, permessage-deflate; server_max_window_bits=9", ", ,", "a;", `a;b="`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, offer string) {
		alone, err := ws.ParseHandshake(upgrade(t, http.Header{"Sec-Websocket-Extensions": {offer}}), true)
		if alone.Extensions != "" && alone.Extensions != answer && alone.Extensions != answerWindow {
			t.Errorf("%q: answered %q", offer, alone.Extensions)
		}
		if alone.Deflate && !strings.Contains(offer, "permessage-deflate") {
			t.Errorf("%q: accepted", offer)
		}
		if strings.Count(offer, ",") >= 15 || len(offer) > 4000 {
			return // another offer may exceed the limit
		}
		followed, followedErr := ws.ParseHandshake(upgrade(t, http.Header{"Sec-Websocket-Extensions": {offer, "permessage-deflate"}}), true)
		if (err == nil) != (followedErr == nil) || followed.Deflate != (err == nil) {
			t.Errorf("%q: alone %v, followed by an offer %+v, error %v", offer, err, followed, followedErr)
		}
	})
}
