package load

import (
	"slices"
	"strings"
	"testing"

	"github.com/pondsocket/pond/internal/ws"
)

// A recorder records the messages that a client receives.
type recorder struct {
	Pond

	messages []string
}

func (r *recorder) Receive(_ *Client, message []byte, events []Event, _ *Outgoing) []Event {
	r.messages = append(r.messages, string(message))
	return events
}

// A client receives the same messages for every way in which the network splits the
// data.
func TestClientsAreFedInPieces(t *testing.T) {
	const sse = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
	frames := ws.AppendFrame(nil, ws.Text, false, []byte("one"))
	frames = append(frames, 0x01, 2, 't', 'w', 0x80, 1, 'o') // in two frames
	frames = ws.AppendFrame(frames, ws.Ping, false, []byte("?"))
	frames = ws.AppendFrame(frames, ws.Binary, false, []byte(strings.Repeat("three", 40)))
	for name, tt := range map[string]struct {
		transport Transport
		text      string
		want      []string
	}{
		"stream":            {SSE, sse + "\r\n" + stream, streamData},
		"stream in chunks":  {SSE, sse + "Transfer-Encoding: chunked\r\n\r\n" + strings.TrimSuffix(inChunks(stream[:1], stream[1:30], stream[30:110], stream[110:]), "0\r\n\r\n"), streamData},
		"stream in a chunk": {SSE, sse + "Transfer-Encoding: chunked\r\n\r\n" + strings.TrimSuffix(inChunks(stream), "0\r\n\r\n"), streamData},
		"frames": {
			WebSocket, "HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: " + handshakeAccept + "\r\n\r\n" + string(frames),
			[]string{"one", "two", strings.Repeat("three", 40)},
		},
	} {
		t.Run(name, func(t *testing.T) {
			for _, pieces := range splits(tt.text) {
				r := &recorder{}
				l := &loop{engine: &engine{dialect: r}}
				c := &client{Client: Client{Transport: tt.transport}, conn: &conn{}, state: opening}
				var rest []byte
				for _, piece := range pieces {
					b := append(slices.Clone(rest), piece...)
					left, err := c.feed(l, b)
					if err != nil {
						t.Fatalf("%q: %v", pieces, err)
					}
					rest = slices.Clone(left)
				}
				if !slices.Equal(r.messages, tt.want) || len(rest) > 0 {
					t.Fatalf("%q: %q, and %q is left", pieces, r.messages, rest)
				}
				if tt.transport == WebSocket && !slices.Equal(c.conn.out, ws.AppendMasked(nil, ws.Pong, true, false, maskKey, []byte("?"))) {
					t.Fatalf("%q: answers the ping with %q", pieces, c.conn.out)
				}
			}
		})
	}
}

// When a stream or WebSocket ends, the client ends.
func TestClientsDetectTheEnd(t *testing.T) {
	for name, tt := range map[string]struct {
		transport Transport
		text      string
		want      string
	}{
		"stream":    {SSE, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "EOF"},
		"rejection": {SSE, "HTTP/1.1 503 Full\r\n\r\n", "503 Full"},
		"WebSocket": {WebSocket, "HTTP/1.1 101 OK\r\nSec-WebSocket-Accept: " + handshakeAccept + "\r\n\r\n" + string(ws.AppendClose(nil, 1013, "slow")), `1013 "slow"`},
		"no code":   {WebSocket, "HTTP/1.1 101 OK\r\nSec-WebSocket-Accept: " + handshakeAccept + "\r\n\r\n" + string(ws.AppendClose(nil, ws.CloseNoStatus, "")), "EOF"},
		"garbage":   {WebSocket, "HTTP/1.1 101 OK\r\nSec-WebSocket-Accept: " + handshakeAccept + "\r\n\r\nHTTP", "RFC 6455"},
	} {
		l := &loop{engine: &engine{dialect: &recorder{}}}
		c := &client{Client: Client{Transport: tt.transport}, conn: &conn{}, state: opening}
		if _, err := c.feed(l, []byte(tt.text)); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q in it", name, err, tt.want)
		}
	}
}
