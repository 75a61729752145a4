package codec_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/pondsocket/pond/internal/ws"
	"pgregory.net/rapid"
)

// echo is a coder/websocket server that sends each message back.
func echo(mode websocket.CompressionMode) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		conn, err := websocket.Accept(w, r, &websocket.AcceptOptions{CompressionMode: mode, CompressionThreshold: 1})
		if err != nil {
			return // Accept already responded
		}
		defer conn.CloseNow()
		conn.SetReadLimit(-1)
		for {
			typ, data, err := conn.Read(r.Context())
			if err == nil {
				err = conn.Write(r.Context(), typ, data)
			}
			if err != nil {
				return // the client receives the error
			}
		}
	}
}

func TestClients(t *testing.T) {
	for mode, name := range []string{
		websocket.CompressionDisabled:          "plain",
		websocket.CompressionContextTakeover:   "takeover",
		websocket.CompressionNoContextTakeover: "no takeover",
	} {
		t.Run(name, func(t *testing.T) {
			dial := serve(t, echo(websocket.CompressionMode(mode)))
			rapid.Check(t, func(rt *rapid.T) {
				conn, err := dial(t.Context())
				if err != nil {
					rt.Fatal(err)
				}
				defer conn.Close()
				if err := conn.SetDeadline(time.Now().Add(timeout)); err != nil {
					rt.Fatal(err)
				}
				c := &client{rt: rt, conn: conn}
				c.shake(t.Context())
				c.talk()
			})
		})
	}
}

// A client is a client that uses the codec of pond.
type client struct {
	rt      *rapid.T
	conn    net.Conn
	in      *bufio.Reader
	decoder ws.Decoder
	deflate bool
	got     record
}

// shake performs the handshake.
func (c *client) shake(ctx context.Context) {
	const key = "AAAAAAAAAAAAAAAAAAAAAA=="
	request := "GET / HTTP/1.1\r\nHost: example.com\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + key + "\r\n"
	if rapid.Bool().Draw(c.rt, "we offer compression") {
		request += "Sec-WebSocket-Extensions: " + offer + "\r\n"
	}
	c.write([]byte(request + "\r\n"))
	c.in = bufio.NewReader(c.conn)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "/", nil)
	if err != nil {
		c.rt.Fatal(err)
	}
	resp, err := http.ReadResponse(c.in, req)
	if err != nil {
		c.rt.Fatal(err)
	}
	resp.Body.Close()
	if resp.Header.Get("Sec-WebSocket-Accept") != ws.AcceptKey(key) {
		c.rt.Fatalf("handshake response: %v", resp)
	}
	c.deflate = strings.Contains(resp.Header.Get("Sec-WebSocket-Extensions"), "permessage-deflate")
	c.decoder.Init(&ws.Config{}, ws.Client, c.deflate)
}

func (c *client) talk() {
	var want record
	for _, m := range rapid.SliceOf(messages).Draw(c.rt, "messages") {
		op := ws.Text
		if m.binary {
			op = ws.Binary
		}
		if m.ping && m.parts > 1 {
			want.add("pong", []byte(m.typ().String()))
		}
		want.add(names[op], m.data)
		c.write(c.frames(op, m))
		c.read(&want)
	}
	end := endings.Draw(c.rt, "ending")
	want.closed(end.code, end.reason)
	c.write(ws.AppendMasked(nil, ws.Close, true, false, key, ws.AppendCloseBody(nil, end.code, end.reason)))
	c.read(&want)
}

var key = [4]byte{0x37, 0xfa, 0x21, 0x3d}

// frames returns the frames of a message, with a ping after the first part.
func (c *client) frames(op ws.Opcode, m message) (frames []byte) {
	deflate := c.deflate && rapid.Bool().Draw(c.rt, "compressed")
	if deflate {
		m.data = ws.AppendDeflate(nil, m.data)
	}
	for i, part := range m.split() {
		if i == 1 && m.ping {
			frames = ws.AppendMasked(frames, ws.Ping, true, false, key, []byte(m.typ().String()))
		}
		frames = ws.AppendMasked(frames, op, i == m.parts-1, deflate, key, part)
		op, deflate = ws.Continuation, false
	}
	return frames
}

// write writes in a new goroutine, because the server answers before it has read everything.
func (c *client) write(data []byte) {
	go func() { _, _ = c.conn.Write(data) }() // if this fails, reading fails as well
}

// read reads until the wanted number of events arrived.
func (c *client) read(want *record) {
	buf := make([]byte, 4096)
	for len(c.got.events) < len(want.events) {
		n, err := c.in.Read(buf)
		if err != nil {
			c.rt.Fatalf("after %d of %d events: %v", len(c.got.events), len(want.events), err)
		}
		if err := c.decoder.Feed(bytes.Clone(buf[:n]), &c.got); err != nil {
			c.rt.Fatalf("invalid answer: %v", err)
		}
	}
	for i, event := range want.events {
		if got := c.got.events[i]; got != event {
			c.rt.Fatalf("event %d is %s, want %s", i, short(got), short(event))
		}
	}
	if !slices.Equal(c.got.events, want.events) {
		c.rt.Fatalf("%d events, want %d", len(c.got.events), len(want.events))
	}
}

func short(event string) string { return fmt.Sprintf("%.60q of %d bytes", event, len(event)) }
