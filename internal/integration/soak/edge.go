package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/pondsocket/pond/internal/ws"
)

// handshake is the head of a request that opens a connection.
func handshake(sse bool) string {
	head := "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
	if sse {
		head = "Accept: text/event-stream\r\n"
	}
	return "GET /socket HTTP/1.1\r\nHost: pond\r\n" + head + "\r\n"
}

// resetBehindHandshake resets many connections right behind the request, before the
// server has answered.
func (c *client) resetBehindHandshake(string) error {
	for range 50 {
		other, err := dial(c.addr)
		if err != nil {
			return err
		}
		_, err = io.WriteString(other.conn, handshake(c.stream != ""))
		if err = errors.Join(err, other.reset()); err != nil {
			return err
		}
	}
	return c.reset()
}

// neverSendBody sends requests whose body never comes, on paths that answer without
// reading it. The server must close each connection.
func (c *client) neverSendBody(string) error {
	var open []*client
	for _, line := range []string{
		"POST /socket", "POST /nowhere", "DELETE /socket", "PUT /socket", "GET /socket?refuse", "GET /nowhere",
	} {
		other, err := dial(c.addr)
		if err != nil {
			return err
		}
		open = append(open, other)
		if _, err := io.WriteString(other.conn, line+" HTTP/1.1\r\nHost: pond\r\nX-Connection-ID: unknown\r\nContent-Length: 100000\r\n\r\n"); err != nil {
			return err
		}
	}
	var failures []error
	for i, other := range open {
		if err := other.drain(); errors.Is(err, errTimeout) {
			failures = append(failures, fmt.Errorf("request %d is still open", i))
		}
		failures = append(failures, other.close())
	}
	return errors.Join(append(failures, c.reset())...)
}

// ping sends pings without reading, and then far more of them than the server allows.
func (c *client) ping(room string) error {
	if c.stream != "" {
		return c.reset()
	}
	if err := c.join(room); err != nil {
		return err
	}
	ping := ws.AppendMasked(nil, ws.Ping, true, false, [4]byte{}, []byte("are you there?"))
	for range 20 {
		if err := c.sendFrame(bytes.Repeat(ping, 1000)); err != nil {
			break // the server has closed the connection
		}
	}
	if err := c.drain(); errors.Is(err, errTimeout) {
		return errors.New("20,000 pings were allowed")
	}
	return c.close()
}
