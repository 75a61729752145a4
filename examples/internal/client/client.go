// Package client connects to an example on real sockets, over both transports. It is for
// tests of whole programs; most tests need only pondtest.
package client

import (
	"encoding/json"
	"net/http"
	"strconv"

	"github.com/coder/websocket"

	"github.com/pondsocket/pond/examples/internal/hosttest"
)

// A T is a test.
type T interface {
	hosttest.T
	Error(args ...any)
	Fatal(args ...any)
}

// A Message is a message in either direction.
type Message = hosttest.Message

// A Transport is the way in which a client talks to the server.
type Transport = hosttest.Transport

// The transports.
const (
	WebSocket = hosttest.WebSocket
	SSE       = hosttest.SSE
)

// Transports lists all transports.
var Transports = hosttest.Transports

// A Client is one connection. Use it only in the goroutine of its test.
type Client struct {
	t       T
	session *hosttest.Session
	last    int // number of the last request

	received chan Message // closed at the end of the connection
	end      error        // the reason of the end; set before received is closed
}

// Dial connects to a URL. The header is added to every request. The client reads
// continuously, so that it answers close frames.
func Dial(t T, tr Transport, url string, header http.Header) *Client {
	t.Helper()
	session := hosttest.Dial(t, tr, hosttest.Target{URL: url, Header: header})
	c := &Client{t: t, session: session, received: make(chan Message, 1000)}
	go c.read()
	return c
}

func (c *Client) read() {
	defer close(c.received)
	for {
		m, err := c.session.Next()
		if err != nil {
			c.end = err
			return
		}
		select {
		case c.received <- m:
		case <-c.t.Context().Done():
			c.end = c.t.Context().Err()
			return
		}
	}
}

// Declined connects a client that the server must decline, and returns the response.
func Declined(t T, tr Transport, url string, header http.Header) (status int, body string) {
	t.Helper()
	return hosttest.Refused(t, tr, hosttest.Target{URL: url, Header: header})
}

// Join joins a channel and returns the server's answer.
func (c *Client) Join(channel string, params any) Message {
	c.t.Helper()
	return c.answer(c.write("JOIN_CHANNEL", channel, "JOIN_CHANNEL", params))
}

// Request sends an event and returns the server's answer.
func (c *Client) Request(channel, event string, payload any) Message {
	c.t.Helper()
	return c.answer(c.write("BROADCAST", channel, event, payload))
}

// Send sends an event.
func (c *Client) Send(channel, event string, payload any) {
	c.t.Helper()
	c.write("BROADCAST", channel, event, payload)
}

func (c *Client) write(action, channel, event string, payload any) (requestID string) {
	c.t.Helper()
	raw, err := json.Marshal(payload)
	if err != nil {
		c.t.Fatal(err)
	}
	c.last++
	requestID = c.session.ID + "/" + strconv.Itoa(c.last) // unique among all clients
	c.session.Write(Message{Action: action, Event: event, Channel: channel, RequestID: requestID, Payload: raw})
	return requestID
}

func (c *Client) answer(requestID string) Message {
	c.t.Helper()
	return c.skip(func(m Message) bool { return m.RequestID == requestID && m.Action != "PRESENCE" })
}

// Expect returns the next message with the given event, and skips others.
func (c *Client) Expect(event string) Message {
	c.t.Helper()
	return c.skip(func(m Message) bool { return m.Event == event })
}

func (c *Client) skip(until func(Message) bool) Message {
	c.t.Helper()
	for m := range c.received {
		if until(m) {
			return m
		}
	}
	c.t.Fatal("the connection ended:", c.end)
	return Message{}
}

// Closed waits for the end of the connection. It returns the close code of a WebSocket, or
// -1 for a stream.
func (c *Client) Closed() int {
	for range c.received {
		continue // earlier messages
	}
	return int(websocket.CloseStatus(c.end))
}
