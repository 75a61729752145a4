package main

import (
	"bufio"
	"context"
	"net"
	"net/http"
	"time"

	"github.com/pondsocket/pond/internal/transport"
	"github.com/pondsocket/pond/internal/ws"
)

// A hub echoes text with internal/transport.
type hub struct{ *transport.Hub }

func newHub() hub {
	return hub{transport.NewHub(transport.Config{
		MaxMessage:   maxMessage,
		MaxFragments: 1 << 17, // case 9.3.1 has 65536
		OutboxBytes:  2 * maxMessage,
		Backlog:      2 * maxMessage,
		WriteTimeout: time.Minute,
		CloseTimeout: patience,
		PingInterval: time.Minute,
		Compress:     true,
		CompressFrom: 128, // smaller messages are not compressed
	})}
}

func (h hub) echo(w http.ResponseWriter, hs ws.Handshake) error {
	c, err := h.AcceptWebSocket(w, hs, receiver{})
	if err != nil {
		return err
	}
	c.Start()
	return nil
}

// echoGeneral hides the TCP connection, so that the transport uses net.Conn.
func (h hub) echoGeneral(w http.ResponseWriter, hs ws.Handshake) error {
	return h.echo(disguise{w}, hs)
}

type disguise struct{ http.ResponseWriter }

func (d disguise) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := http.NewResponseController(d.ResponseWriter).Hijack()
	if tcp, ok := conn.(*net.TCPConn); ok {
		conn = struct{ *net.TCPConn }{tcp}
	}
	return conn, rw, err
}

// wait waits for the end of all connections.
func (h hub) wait() error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	defer cancel()
	return h.Wait(ctx)
}

// A receiver handles the messages of one connection.
type receiver struct{}

func (receiver) Message(c *transport.Conn, data []byte) {
	c.Send(transport.NewFrame("echo", append(make([]byte, transport.Headroom), data...)))
}

func (receiver) Process(*transport.Conn)                 {}
func (receiver) Invalid(*transport.Conn, *ws.CloseError) {}
func (receiver) Closed(*transport.Conn, transport.End)   {}
func (receiver) Released(*transport.Conn)                {}
