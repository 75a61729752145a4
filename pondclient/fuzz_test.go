package pondclient

import (
	"context"
	"io"
	"log/slog"
	"net"
	"strings"
	"testing"

	"github.com/pondsocket/pond/internal/ws"
)

// welcomed returns a client with a scripted connection, and a channel that it joined.
func welcomed(t testing.TB) (*Client, *connection, *Channel) {
	c, err := New("ws://example.com/socket", WithLogger(slog.New(slog.DiscardHandler)), WithMaxMessageSize(1<<16),
		WithDialContext(func(ctx context.Context, _, _ string) (net.Conn, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		_ = c.Close(ctx)
	})
	n := c.newConnection(SSE)
	c.mu.Lock()
	c.attempt = n
	c.mu.Unlock()
	n.message([]byte(`{"action":"CONNECT","event":"CONNECTION","payload":{"id":"u","features":["diff","recover"]}}`))
	ch, err := c.begin("/chat/1", joinConfig{presence: true, maxEvents: 16, maxBytes: 1 << 12}, []byte("{}"))
	if err != nil {
		t.Fatal(err)
	}
	c.mu.Lock()
	id := ch.m.ids[0]
	c.mu.Unlock()
	n.message([]byte(`{"action":"SYSTEM","event":"ACKNOWLEDGE","channelName":"/chat/1","requestId":"` + id +
		`","payload":{"diff":true,"recover":{"epoch":"e","offset":1}}}`))
	return c, n, ch
}

// For all data of a server, the client does not panic, limits its memory, and works
// afterwards.
func FuzzMessages(f *testing.F) {
	for _, payload := range []string{
		`{"action":"BROADCAST","event":"said","channelName":"/chat/1","requestId":"x","payload":{"n":1},"offset":2}`,
		`{"action":"BROADCAST","event":"said","channelName":"/chat/1","requestId":"x","payload":[],"offset":1}`,
		`{"action":"SYSTEM","event":"RECOVERED","channelName":"/chat/1","payload":{"epoch":"e","offset":9}}`,
		`{"action":"SYSTEM","event":"GAP","channelName":"/chat/1","payload":{"epoch":"f","offset":0,"reason":"expired"}}`,
		`{"action":"SYSTEM","event":"PRESENCE_STATE","channelName":"/chat/1","payload":{"users":[{"id":"a","presence":{}}],"more":true}}`,
		`{"action":"SYSTEM","event":"PRESENCE_STATE","channelName":"/chat/1","payload":{"users":[],"more":false}}`,
		`{"action":"SYSTEM","event":"PRESENCE_DIFF","channelName":"/chat/1","payload":{"joins":[{"id":"b"}],"leaves":[{"id":"a"}]}}`,
		`{"action":"PRESENCE","event":"JOIN","channelName":"/chat/1","payload":{"presence":[{"id":"a"},{"id":"a"}],"changed":{}}}`,
		`{"action":"PRESENCE","event":"LEAVE","channelName":"/chat/1","payload":{"userId":"a","changed":{}}}`,
		`{"action":"SYSTEM","event":"EVICTED","channelName":"/chat/1","payload":{"reason":"spam"}}`,
		`{"action":"SYSTEM","event":"RECONNECT","channelName":"ENDPOINT","payload":{"after":1e300}}`,
		`{"action":"ERROR","event":"destroyed","channelName":"/chat/1","payload":null}`,
		`{"action":"ERROR","event":"INVALID_MESSAGE","channelName":"ENDPOINT","payload":{"code":"x","status":-1,"error":{"message":7}}}`,
		"null\n{}\n[]\n7\r\n",
	} {
		f.Add([]byte(payload))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c, n, ch := welcomed(t)
		for range 3 {
			n.message(data)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		for range ch.Events(ctx) {
		}
		ch.Members()
		_ = ch.Send("say", nil)
		other, err := c.begin("/chat/2", joinDefaults(), []byte("{}"))
		if err != nil {
			t.Fatal(err)
		}
		_ = other.Leave(ctx)
		_ = ch.Leave(ctx)
		if channels, requests, queued, _ := c.Sizes(); channels > 0 || requests > 0 || queued > 0 {
			t.Errorf("%d channels, %d requests and %d messages remain", channels, requests, queued)
		}
	})
}

// The bytes of an event stream end it, or are messages.
func FuzzStream(f *testing.F) {
	f.Add([]byte("retry: 1\n\n: comment\r\ndata: {}\ndata:\n\nevent: x\ndata: {\"action\":\"BROADCAST\",\"channelName\":\"/chat/1\"}\n\n"))
	f.Add([]byte("data: " + strings.Repeat("x", 9000) + "\n\ndata"))
	f.Fuzz(func(t *testing.T, data []byte) {
		_, n, _ := welcomed(t)
		s := &eventStream{conn: n, body: io.NopCloser(strings.NewReader(string(data))), cancel: func() {}}
		if err := s.read(); err == nil {
			t.Error("a stream that ends without an error")
		}
	})
}

// A server cannot make the client queue an unlimited number of pongs.
func TestAnswersToPingsAreLimited(t *testing.T) {
	_, n, _ := welcomed(t)
	w := &webSocket{conn: n}
	for range 10_000 {
		_ = w.Control(ws.Ping, []byte("0123456789"))
	}
	if len(w.control) > 2*maxControl {
		t.Errorf("%d bytes of pongs", len(w.control))
	}
}
