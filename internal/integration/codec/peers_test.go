package codec_test

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/pondsocket/pond/internal/pipenet"
	"github.com/pondsocket/pond/internal/transport"
	"github.com/pondsocket/pond/internal/ws"
	"pgregory.net/rapid"
)

// timeout limits the time for one message.
const timeout = 30 * time.Second

// serve serves h in memory and returns a function that connects to it.
func serve(t *testing.T, h http.HandlerFunc) (dial func(ctx context.Context) (net.Conn, error)) {
	l := pipenet.Listen(0)
	srv := &http.Server{Handler: h, ReadHeaderTimeout: timeout}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = srv.Serve(l) // until it is closed
	}()
	t.Cleanup(func() {
		srv.Close()
		<-done
	})
	return func(ctx context.Context) (net.Conn, error) { return l.Dial(ctx) }
}

// A receiver records the messages that the pond server receives.
type receiver struct {
	conn   *transport.Conn
	got    chan []byte
	closed chan error
}

func (r *receiver) Message(_ *transport.Conn, data []byte)        { r.got <- bytes.Clone(data) }
func (r *receiver) Process(*transport.Conn)                       {}
func (r *receiver) Invalid(_ *transport.Conn, err *ws.CloseError) { r.closed <- err }
func (r *receiver) Closed(_ *transport.Conn, end transport.End)   { r.closed <- end.Cause }
func (r *receiver) Released(*transport.Conn)                      {}

// ourServer serves with the transport of pond, and sends each new connection to accepted.
func ourServer(t *testing.T, compress bool) (dial func(ctx context.Context) (net.Conn, error), accepted chan *receiver) {
	hub := transport.NewHub(transport.Config{
		MaxMessage: 1 << 20, MaxFragments: 100, OutboxBytes: 1 << 20, Backlog: 1 << 20,
		WriteTimeout: timeout, CloseTimeout: timeout, PingInterval: time.Hour, Compress: compress, CompressFrom: 100,
	})
	accepted = make(chan *receiver, 1)
	return serve(t, func(w http.ResponseWriter, r *http.Request) {
		hs, broken := ws.ParseHandshake(r, compress)
		if broken != nil {
			http.Error(w, broken.Message, broken.Status)
			return
		}
		rec := &receiver{got: make(chan []byte, 100), closed: make(chan error, 2)}
		var err error
		if rec.conn, err = hub.AcceptWebSocket(w, hs, rec); err != nil {
			t.Error(err)
			return
		}
		rec.conn.Start()
		accepted <- rec
	}), accepted
}

func TestPeers(t *testing.T) {
	for name, compress := range map[string]bool{"plain": false, "deflate": true} {
		t.Run(name, func(t *testing.T) {
			dial, accepted := ourServer(t, compress)
			client := &http.Client{Transport: &http.Transport{
				DisableKeepAlives: true,
				DialContext:       func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx) },
			}}
			rapid.Check(t, func(rt *rapid.T) {
				ctx, cancel := context.WithTimeout(t.Context(), timeout)
				defer cancel()
				conn, _, err := websocket.Dial(ctx, "ws://example.com/", &websocket.DialOptions{
					HTTPClient: client, CompressionMode: modes.Draw(rt, "their compression"), CompressionThreshold: 1,
				})
				if err != nil {
					rt.Fatal(err)
				}
				defer conn.CloseNow()
				conn.SetReadLimit(-1)
				p := &peers{rt: rt, ctx: ctx, theirs: conn, ours: <-accepted, got: make(chan []byte, 100)}
				p.talk()
			})
		})
	}
}

// Peers are a coder/websocket client (theirs) and a pond server (ours).
type peers struct {
	rt     *rapid.T
	ctx    context.Context
	theirs *websocket.Conn
	ours   *receiver
	got    chan []byte // messages that theirs received; closed at the end
	ended  error       // why theirs stopped reading
}

func (p *peers) talk() {
	up, down := rapid.SliceOf(messages).Draw(p.rt, "up"), rapid.SliceOf(messages).Draw(p.rt, "down")
	end := endings.Draw(p.rt, "ending")
	go p.listen()
	for i := range max(len(up), len(down)) {
		if i < len(up) {
			p.send(up[i])
			p.want("pond received", p.ours.got, up[i].data)
		}
		if i < len(down) && !down[i].binary {
			frame := transport.NewFrame("", append(make([]byte, transport.Headroom), down[i].data...))
			p.ours.conn.Send(frame)
			p.want("coder/websocket received", p.got, down[i].data)
		}
	}
	if rapid.Bool().Draw(p.rt, "pond closes") {
		p.ours.conn.Close(end.code, end.reason, transport.ErrClosed)
	} else if err := p.theirs.Close(websocket.StatusCode(end.code), end.reason); err != nil {
		p.rt.Fatalf("coder/websocket: close: %v", err)
	}
	p.end(end)
}

// listen reads the messages for the client.
func (p *peers) listen() {
	defer close(p.got)
	for {
		typ, data, err := p.theirs.Read(p.ctx)
		if err != nil {
			p.ended = err
			return
		}
		if typ != websocket.MessageText {
			data = []byte("binary")
		}
		p.got <- data
	}
}

// send sends a message from the client, with a ping after the first part.
func (p *peers) send(m message) {
	w, err := p.theirs.Writer(p.ctx, m.typ())
	for i, part := range m.split() {
		if err == nil {
			_, err = w.Write(part)
		}
		if err == nil && i == 0 && m.ping {
			err = p.theirs.Ping(p.ctx)
		}
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		p.rt.Fatalf("coder/websocket: send: %v", err)
	}
}

func (p *peers) want(who string, got chan []byte, want []byte) {
	select {
	case data, ok := <-got:
		if !ok {
			p.rt.Fatalf("coder/websocket received nothing: %v", p.ended)
		}
		if !bytes.Equal(data, want) {
			p.rt.Fatalf("%s %d bytes %.50q, want %d bytes %.50q", who, len(data), data, len(want), want)
		}
	case err := <-p.ours.closed:
		p.rt.Fatalf("pond closed the connection: %v", err)
	case <-p.ctx.Done():
		p.rt.Fatalf("%s nothing, want %d bytes", who, len(want))
	}
}

// end checks that the other side received the close frame. The side that sent it only
// knows that it was answered.
func (p *peers) end(end ending) {
	if err := <-p.ours.closed; !errors.Is(err, transport.ErrClosed) {
		broken, ok := errors.AsType[*ws.CloseError](err)
		if !ok || broken.Code != end.code || broken.Reason != end.reason {
			p.rt.Fatalf("pond received %v, want %v", err, end)
		}
		return
	}
	for range p.got { // until it is closed
	}
	closed, ok := errors.AsType[websocket.CloseError](p.ended)
	if !ok || int(closed.Code) != end.code || closed.Reason != end.reason {
		p.rt.Fatalf("coder/websocket received %v, want %v", p.ended, end)
	}
}
