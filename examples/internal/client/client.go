// Package client talks to an example on real sockets, over both transports. It
// is for tests that see the whole program; most tests need pondtest only.
package client

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/coder/websocket"
)

// A T is a test.
type T interface {
	Helper()
	Context() context.Context
	Cleanup(f func())
	Error(args ...any)
	Fatal(args ...any)
}

// patience is how long a test waits for what does not come.
const patience = time.Minute

// A Message is a message of either side.
type Message struct {
	Action    string          `json:"action"`
	Event     string          `json:"event"`
	Channel   string          `json:"channelName"`
	RequestID string          `json:"requestId"`
	Payload   json.RawMessage `json:"payload"`
}

// A Transport is how a client talks to the server.
type Transport string

// The transports.
const (
	WebSocket Transport = "WebSocket"
	SSE       Transport = "SSE"
)

// Transports are all transports.
var Transports = []Transport{WebSocket, SSE}

// A Client is one connection. It belongs to the goroutine of its test.
type Client struct {
	t    T
	ID   string // the user ID
	last int    // of the requests
	send func(message []byte) error

	received chan []byte // closed at the end of the connection
	end      error       // why it has ended: set before received is closed
}

// Dial connects to a URL. The header goes along with every request. What comes
// is read at once, as by every client that answers to a goodbye.
func Dial(t T, tr Transport, url string, header http.Header) *Client {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	c := &Client{t: t, received: make(chan []byte, 1000)}
	next := c.dialWebSocket
	if tr == SSE {
		next = c.dialSSE
	}
	go c.read(ctx, next(ctx, url, header))
	var payload struct{ ID string }
	if err := json.Unmarshal(c.Expect("CONNECTION").Payload, &payload); err != nil {
		t.Fatal(err)
	}
	c.ID = payload.ID
	return c
}

func (c *Client) read(ctx context.Context, next func() ([]byte, error)) {
	defer close(c.received)
	for {
		message, err := next()
		if err != nil {
			c.end = err
			return
		}
		select {
		case c.received <- message:
		case <-ctx.Done():
			c.end = ctx.Err()
			return
		}
	}
}

func (c *Client) dialWebSocket(ctx context.Context, url string, header http.Header) (next func() ([]byte, error)) {
	c.t.Helper()
	conn, resp, err := websocket.Dial(ctx, url, &websocket.DialOptions{HTTPHeader: header})
	if err != nil {
		c.t.Fatal(err)
	}
	if resp.Body != nil {
		c.t.Cleanup(func() { resp.Body.Close() })
	}
	c.t.Cleanup(func() { _ = conn.CloseNow() })
	c.send = func(message []byte) error { return conn.Write(ctx, websocket.MessageText, message) }
	return func() ([]byte, error) {
		_, message, err := conn.Read(ctx)
		return message, err
	}
}

func (c *Client) dialSSE(ctx context.Context, url string, header http.Header) (next func() ([]byte, error)) {
	c.t.Helper()
	stream := request(ctx, c.t, http.MethodGet, url, header, nil)
	stream.Header.Set("Accept", "text/event-stream")
	resp, err := http.DefaultClient.Do(stream)
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { resp.Body.Close() })
	if resp.StatusCode != http.StatusOK {
		c.t.Fatal(resp.Status)
	}
	c.send = func(message []byte) error {
		post := request(ctx, c.t, http.MethodPost, url, header, message)
		post.Header.Set("X-Connection-ID", resp.Header.Get("X-Connection-ID"))
		answer, err := http.DefaultClient.Do(post)
		if err != nil {
			return err
		}
		return answer.Body.Close()
	}
	lines := bufio.NewReader(resp.Body)
	return func() ([]byte, error) {
		for {
			line, err := lines.ReadString('\n')
			if err != nil {
				return nil, err
			}
			if data, ok := strings.CutPrefix(line, "data: "); ok {
				return []byte(data), nil
			}
		}
	}
}

// Declined connects a client that must be declined, and returns the answer.
func Declined(t T, tr Transport, url string, header http.Header) (status int, body string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var resp *http.Response
	var err error
	if tr == SSE {
		stream := request(ctx, t, http.MethodGet, url, header, nil)
		stream.Header.Set("Accept", "text/event-stream")
		resp, err = http.DefaultClient.Do(stream)
	} else {
		_, resp, err = websocket.Dial(ctx, url, &websocket.DialOptions{HTTPHeader: header})
	}
	if resp == nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode < http.StatusBadRequest {
		t.Fatal("let in with", resp.Status)
	}
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, strings.TrimSpace(string(text))
}

func request(ctx context.Context, t T, method, url string, header http.Header, body []byte) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if header != nil {
		r.Header = header.Clone()
	}
	return r
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
	requestID = c.ID + "/" + strconv.Itoa(c.last)
	message, err := json.Marshal(Message{action, event, channel, requestID, raw})
	if err != nil {
		c.t.Fatal(err)
	}
	if err := c.send(message); err != nil {
		c.t.Fatal(err)
	}
	return requestID
}

func (c *Client) answer(requestID string) Message {
	c.t.Helper()
	return c.skip(func(m Message) bool { return m.RequestID == requestID && m.Action != "PRESENCE" })
}

// Expect returns the next message with an event, and skips others.
func (c *Client) Expect(event string) Message {
	c.t.Helper()
	return c.skip(func(m Message) bool { return m.Event == event })
}

func (c *Client) skip(until func(Message) bool) Message {
	c.t.Helper()
	for raw := range c.received {
		var m Message
		if err := json.Unmarshal(raw, &m); err != nil {
			c.t.Fatal(err)
		}
		if until(m) {
			return m
		}
	}
	c.t.Fatal("the connection has ended:", c.end)
	return Message{}
}

// Closed waits for the end of the connection: the close code of a WebSocket,
// and -1 for a stream, which has none.
func (c *Client) Closed() int {
	for range c.received {
		continue // what comes before
	}
	return int(websocket.CloseStatus(c.end))
}
