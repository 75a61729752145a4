package ws_test

import (
	"bytes"
	"strconv"
	"strings"
	"testing"

	"github.com/pondsocket/pond/internal/ws"
)

// The examples of RFC 6455 section 5.7.
func TestFrameBytes(t *testing.T) {
	t.Parallel()
	tests := map[string]struct{ got, want []byte }{
		"unmasked text": {
			ws.AppendFrame(nil, ws.Text, false, []byte("Hello")),
			[]byte("\x81\x05Hello"),
		},
		"masked text": {
			ws.AppendMasked(nil, ws.Text, true, false, testKey, []byte("Hello")),
			[]byte("\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58"),
		},
		"first fragment": {
			ws.AppendMasked(nil, ws.Text, false, false, [4]byte{}, []byte("Hel")),
			[]byte("\x01\x83\x00\x00\x00\x00Hel"),
		},
		"last fragment": {
			ws.AppendMasked(nil, ws.Continuation, true, false, [4]byte{}, []byte("lo")),
			[]byte("\x80\x82\x00\x00\x00\x00lo"),
		},
		"ping": {
			ws.AppendFrame(nil, ws.Ping, false, []byte("Hello")),
			[]byte("\x89\x05Hello"),
		},
		"256 bytes": {
			ws.AppendHeader(nil, ws.Binary, false, 256),
			[]byte("\x82\x7e\x01\x00"),
		},
		"64 KiB": {
			ws.AppendHeader(nil, ws.Binary, false, 65536),
			[]byte("\x82\x7f\x00\x00\x00\x00\x00\x01\x00\x00"),
		},
		"compressed": {
			ws.AppendHeader(nil, ws.Text, true, 7),
			[]byte("\xc1\x07"),
		},
	}
	for name, test := range tests {
		if !bytes.Equal(test.got, test.want) {
			t.Errorf("%s: got % x, want % x", name, test.got, test.want)
		}
	}
}

func TestHeaderSize(t *testing.T) {
	t.Parallel()
	for n, want := range map[int]int{0: 2, 125: 2, 126: 4, 65535: 4, 65536: 10} {
		if got := ws.HeaderSize(n); got != want {
			t.Errorf("%d bytes: got %d, want %d", n, got, want)
		}
	}
}

func TestFrameRoundTrip(t *testing.T) {
	t.Parallel()
	for _, n := range []int{0, 1, 7, 8, 9, 125, 126, 127, 65535, 65536, 70001} {
		t.Run(strconv.Itoa(n), func(t *testing.T) {
			t.Parallel()
			payload := strings.Repeat("0123456789abc", n/13+1)[:n]
			want := message(ws.Text, payload)

			header := ws.AppendHeader([]byte("x"), ws.Text, false, n)
			if got := len(header) - 1; got != ws.HeaderSize(n) {
				t.Errorf("header has %d bytes, HeaderSize says %d", got, ws.HeaderSize(n))
			}
			for role, frame := range map[ws.Role][]byte{
				ws.Client: ws.AppendFrame(nil, ws.Text, false, []byte(payload)),
				ws.Server: frame(ws.Text, payload),
			} {
				events, err := feed(newDecoder(unlimited, role, false), frame, 0)
				if err != nil || len(events) != 1 || events[0] != want {
					t.Errorf("role %d: got %d events, error %v", role, len(events), err)
				}
			}
		})
	}
}

func TestAppendKeepsWhatIsThere(t *testing.T) {
	t.Parallel()
	payload := []byte("payload")
	for name, got := range map[string][]byte{
		"header":  ws.AppendHeader([]byte("before"), ws.Text, false, 1),
		"frame":   ws.AppendFrame([]byte("before"), ws.Text, false, payload),
		"masked":  ws.AppendMasked([]byte("before"), ws.Text, true, false, testKey, payload),
		"close":   ws.AppendClose([]byte("before"), ws.CloseNormal, "bye"),
		"deflate": ws.AppendDeflate([]byte("before"), payload),
		"101":     ws.AppendSwitchingProtocols([]byte("before"), ws.Handshake{}, nil),
	} {
		if !bytes.HasPrefix(got, []byte("before")) || len(got) == len("before") {
			t.Errorf("%s: got %q", name, got)
		}
	}
	if string(payload) != "payload" {
		t.Errorf("payload became %q", payload)
	}
}
