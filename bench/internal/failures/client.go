//go:build linux

package failures

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/coder/websocket"
	"github.com/pondsocket/pond/internal/load"
)

// A client is a member of the room. When it loses its connection, it connects again.
type client struct {
	dialect load.Dialect
	addr    string
	state   load.Client // owned by run

	joined chan struct{} // closed when it joined for the first time

	mu       sync.Mutex // guards the following fields
	conn     *websocket.Conn
	got      map[uint32]time.Time // when messages arrived first
	told     []time.Time          // when it was told that messages are missing
	rejected int                  // messages that were not accepted, and joins
	again    int                  // messages that arrived again
}

func newClient(d load.Dialect, addr string, number int, positions bool) *client {
	return &client{
		dialect: d, addr: addr, joined: make(chan struct{}), got: map[uint32]time.Time{},
		state: load.Client{Number: number, Recover: positions, Transport: load.WebSocket},
	}
}

// run keeps the client connected until ctx is done.
func (c *client) run(ctx context.Context) {
	for ctx.Err() == nil {
		_ = c.session(ctx) // the end of the connection is no loss by itself
		select {
		case <-ctx.Done():
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// session is one connection.
func (c *client) session(ctx context.Context) error {
	c.state.ID, c.state.Step = "", 0
	request := c.dialect.Open(&c.state)
	header := http.Header{}
	for line := range strings.Lines(request.Header) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
		header.Set(key, value)
	}
	conn, resp, err := websocket.Dial(ctx, "ws://"+c.addr+request.Path, &websocket.DialOptions{HTTPHeader: header})
	if err != nil {
		return err
	}
	defer func() { _ = conn.CloseNow() }()
	if resp.Body != nil {
		resp.Body.Close()
	}
	conn.SetReadLimit(-1)
	c.mu.Lock()
	c.conn = conn
	c.mu.Unlock()
	var out load.Outgoing
	c.dialect.Opened(&c.state, &out)
	var events []load.Event
	for {
		for _, text := range out.Messages() {
			if err := conn.Write(ctx, websocket.MessageText, []byte(text)); err != nil {
				return err
			}
		}
		out = load.Outgoing{}
		_, message, err := conn.Read(ctx)
		if err != nil {
			return err
		}
		events = c.dialect.Receive(&c.state, message, events[:0], &out)
		c.handle(events)
	}
}

func (c *client) handle(events []load.Event) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, ev := range events {
		switch ev.Kind {
		case load.Joined:
			select {
			case <-c.joined:
			default:
				close(c.joined)
			}
		case load.Delivery:
			if seq, ok := load.Number(ev.Text); !ok {
			} else if _, ok := c.got[seq]; ok {
				c.again++
			} else {
				c.got[seq] = time.Now()
			}
		case load.Unrecovered:
			c.told = append(c.told, time.Now())
		case load.Rejected:
			c.rejected++
		}
	}
}

// publish sends message seq.
func (c *client) publish(ctx context.Context, seq uint32) error {
	c.mu.Lock()
	conn := c.conn
	c.mu.Unlock()
	if conn == nil {
		return fmt.Errorf("client %d is not connected", c.state.Number)
	}
	text := c.dialect.AppendPublish(nil, &c.state, load.AppendNumbered(nil, seq))
	return conn.Write(ctx, websocket.MessageText, text)
}

// received returns the number of messages that arrived.
func (c *client) received() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.got)
}

// refused returns the number of messages that were not accepted.
func (c *client) refused() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.rejected
}

// knows returns whether the client was told of a loss.
func (c *client) knows() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.told) > 0
}
