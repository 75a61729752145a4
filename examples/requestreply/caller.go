package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"github.com/coder/websocket"
)

// writeTimeout limits a write, after which the connection is closed.
const writeTimeout = 10 * time.Second

// A Caller sends requests over a WebSocket and finds the answer to each request by its
// requestId. It is safe for concurrent use.
type Caller struct {
	conn  *websocket.Conn
	heard func(event string, payload json.RawMessage)
	ended chan struct{} // closed at the end of the connection
	err   error         // the reason; set before ended is closed

	mu      sync.Mutex              // guards waiting
	waiting map[string]chan message // for the answer, by requestId; buffered
}

type message struct {
	Action    string          `json:"action"`
	Event     string          `json:"event"`
	Channel   string          `json:"channelName"`
	RequestID string          `json:"requestId"`
	Payload   json.RawMessage `json:"payload"`
}

// A Refusal is an error that the server sent as an answer.
type Refusal struct {
	Status  int             `json:"status"`
	Message string          `json:"message"`
	Details json.RawMessage `json:"details"` // or nil
}

func (r *Refusal) Error() string { return fmt.Sprintf("%d: %s", r.Status, r.Message) }

// Dial connects. It calls heard for all other messages, one at a time.
func Dial(ctx context.Context, url string, heard func(event string, payload json.RawMessage)) (*Caller, error) {
	conn, _, err := websocket.Dial(ctx, url, nil) //nolint:bodyclose // the connection owns it
	if err != nil {
		return nil, err
	}
	conn.SetReadLimit(1 << 20)
	c := &Caller{conn: conn, heard: heard, ended: make(chan struct{}), waiting: map[string]chan message{}}
	go c.read(context.WithoutCancel(ctx)) // until Close, or until the server closes the connection
	return c, nil
}

// Close closes the connection. Pending calls return an error.
func (c *Caller) Close() error {
	err := c.conn.Close(websocket.StatusNormalClosure, "")
	<-c.ended
	return err
}

func (c *Caller) read(ctx context.Context) {
	defer close(c.ended)
	for {
		_, text, err := c.conn.Read(ctx)
		if err != nil {
			c.err = fmt.Errorf("connection closed: %w", err)
			return
		}
		var m message
		if err := json.Unmarshal(text, &m); err != nil {
			c.err = fmt.Errorf("invalid message: %w", err)
			_ = c.conn.CloseNow()
			return
		}
		if answer, ok := c.waitsFor(m); ok {
			answer <- m
		} else if m.Action != "CONNECT" {
			c.heard(m.Event, m.Payload)
		}
	}
}

// waitsFor finds and removes the call that waits for m. The first message with a requestId
// is the answer. Changes of presence are never answers, but they carry the ID of the request
// that caused them.
func (c *Caller) waitsFor(m message) (answer chan<- message, ok bool) {
	if m.Action == "PRESENCE" {
		return nil, false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	answer, ok = c.waiting[m.RequestID]
	delete(c.waiting, m.RequestID)
	return answer, ok
}

// Join joins a channel. It returns a [*Refusal] if the server declines.
func (c *Caller) Join(ctx context.Context, channel string, params any) error {
	_, err := c.roundTrip(ctx, message{Action: "JOIN_CHANNEL", Event: "JOIN_CHANNEL", Channel: channel}, params)
	return err
}

// Ask sends an event to a channel, waits for the answer, and decodes it. It returns a
// [*Refusal] if the answer is an error.
func (c *Caller) Ask(ctx context.Context, channel, event string, question, answer any) error {
	m, err := c.roundTrip(ctx, message{Action: "BROADCAST", Event: event, Channel: channel}, question)
	if err != nil {
		return err
	}
	return json.Unmarshal(m.Payload, answer)
}

func (c *Caller) roundTrip(ctx context.Context, m message, payload any) (message, error) {
	var err error
	if m.Payload, err = json.Marshal(payload); err != nil {
		return message{}, err
	}
	// The ID must be unique among all clients: broadcasts that another member's request
	// causes carry the ID of that request, and would be mistaken for the answer.
	m.RequestID = rand.Text()
	answer := make(chan message, 1)
	c.mu.Lock()
	c.waiting[m.RequestID] = answer
	c.mu.Unlock()
	defer c.forget(m.RequestID)

	text, err := json.Marshal(m)
	if err != nil {
		return message{}, err
	}
	if err := c.write(ctx, text); err != nil {
		return message{}, err
	}
	select {
	case m := <-answer:
		if m.Action == "ERROR" || m.Event == "UNAUTHORIZED" {
			return message{}, refusal(m.Payload)
		}
		return m, nil
	case <-ctx.Done():
		return message{}, ctx.Err()
	case <-c.ended:
		return message{}, c.err
	}
}

// write does not pass ctx to the connection: if the context of a write is canceled, the package
// closes the connection, also for the calls that are not canceled.
func (c *Caller) write(ctx context.Context, text []byte) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	writing, cancel := context.WithTimeout(context.WithoutCancel(ctx), writeTimeout)
	defer cancel()
	return c.conn.Write(writing, websocket.MessageText, text)
}

// forget removes a canceled call. If its answer still arrives, heard is called with it.
func (c *Caller) forget(requestID string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.waiting, requestID)
}

func refusal(payload []byte) error {
	r := &Refusal{}
	if err := json.Unmarshal(payload, r); err != nil {
		return err
	}
	return r
}
