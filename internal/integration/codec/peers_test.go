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

// patience is how long a message may take.
const patience = 30 * time.Second

// serve serves h in memory and returns how to connect.
func serve(t *testing.T, h http.HandlerFunc) (dial func(ctx context.Context) (net.Conn, error)) {
	l := pipenet.Listen(0)
	srv := &http.Server{Handler: h, ReadHeaderTimeout: patience}
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

// A receiver takes down what our server gets.
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

// ourServer serves with our transport, and hands over who connects.
func ourServer(t *testing.T, compress bool) (dial func(ctx context.Context) (net.Conn, error), accepted chan *receiver) {
	hub := transport.NewHub(transport.Config{
		MaxMessage: 1 << 20, MaxFragments: 100, OutboxBytes: 1 << 20, Backlog: 1 << 20,
		WriteTimeout: patience, CloseTimeout: patience, PingInterval: time.Hour, Compress: compress, CompressFrom: 100,
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
				ctx, cancel := context.WithTimeout(t.Context(), patience)
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

// Peers are a client of theirs and a server of ours.
type peers struct {
	rt     *rapid.T
	ctx    context.Context
	theirs *websocket.Conn
	ours   *receiver
	got    chan []byte // by theirs; closed when there is nothing more
	ended  error       // why
}

func (p *peers) talk() {
	up, down := rapid.SliceOf(messages).Draw(p.rt, "up"), rapid.SliceOf(messages).Draw(p.rt, "down")
	bye := goodbyes.Draw(p.rt, "goodbye")
	go p.listen()
	for i := range max(len(up), len(down)) {
		if i < len(up) {
			p.send(up[i])
			p.want("we have got", p.ours.got, up[i].data)
		}
		if i < len(down) && !down[i].binary {
			frame := transport.NewFrame("", append(make([]byte, transport.Headroom), down[i].data...))
			p.ours.conn.Send(frame)
			p.want("they have got", p.got, down[i].data)
		}
	}
	if rapid.Bool().Draw(p.rt, "we say goodbye") {
		p.ours.conn.Close(bye.code, bye.reason, transport.ErrClosed)
	} else if err := p.theirs.Close(websocket.StatusCode(bye.code), bye.reason); err != nil {
		p.rt.Fatalf("their goodbye: %v", err)
	}
	p.end(bye)
}

// listen reads what comes to their end.
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

// send sends a message from their end, with a ping after the first part.
func (p *peers) send(m message) {
	w, err := p.theirs.Writer(p.ctx, m.typ())
	for i, part := range m.cut() {
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
		p.rt.Fatalf("they cannot send: %v", err)
	}
}

func (p *peers) want(who string, got chan []byte, want []byte) {
	select {
	case data, ok := <-got:
		if !ok {
			p.rt.Fatalf("they have got nothing: %v", p.ended)
		}
		if !bytes.Equal(data, want) {
			p.rt.Fatalf("%s %d bytes %.50q, want %d bytes %.50q", who, len(data), data, len(want), want)
		}
	case err := <-p.ours.closed:
		p.rt.Fatalf("we have closed: %v", err)
	case <-p.ctx.Done():
		p.rt.Fatalf("%s nothing, want %d bytes", who, len(want))
	}
}

// end checks how both ends have understood a goodbye. Who says it learns nothing
// but that it was answered.
func (p *peers) end(bye goodbye) {
	if err := <-p.ours.closed; !errors.Is(err, transport.ErrClosed) {
		broken, ok := errors.AsType[*ws.CloseError](err)
		if !ok || broken.Code != bye.code || broken.Reason != bye.reason {
			p.rt.Fatalf("we have closed with %v, want %v", err, bye)
		}
		return
	}
	for range p.got { // until it is closed
	}
	closed, ok := errors.AsType[websocket.CloseError](p.ended)
	if !ok || int(closed.Code) != bye.code || closed.Reason != bye.reason {
		p.rt.Fatalf("they have closed with %v, want %v", p.ended, bye)
	}
}
