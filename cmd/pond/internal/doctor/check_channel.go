package doctor

import (
	"context"
	"encoding/json"
	"fmt"
	"time"
)

// checkChannel joins and leaves a channel, over each transport that works.
func (x *checker) checkChannel(ctx context.Context) {
	if x.Channel == "" {
		return
	}
	if x.webSocket {
		if w, err := x.upgrade(ctx); x.connected("WebSocket", err) {
			x.join(ctx, "WebSocket", w.conn, w.hello)
			w.close()
		}
	}
	if x.stream && x.post {
		if s, err := x.open(ctx); x.connected("event stream", err) {
			x.join(ctx, "event stream", s.conn, s.hello)
			s.close()
		}
	}
}

func (x *checker) connected(name string, err error) bool {
	if err != nil {
		x.problem(channel, fmt.Sprintf("%s: connecting before the join of %s: %v", name, x.Channel, x.withoutURL(err)),
			"connecting worked before: check limits of connections, and the server's log")
	}
	return err == nil
}

func (x *checker) join(ctx context.Context, name string, c *conn, hello func(context.Context) (*message, error)) {
	const fix = "check the name and the payload that the join handler expects (-join); if the other checks pass, no proxy is involved"
	limited, cancel := x.limit(ctx)
	defer cancel()
	if _, err := hello(limited); !x.connected(name, err) {
		return
	}
	start := time.Now()
	m, err := c.join(limited, x.Channel, x.Join)
	switch {
	case err != nil:
		x.problem(channel, fmt.Sprintf("%s: joining %s: %v", name, x.Channel, x.withoutURL(err)), fix)
		return
	case m.Event != "ACKNOWLEDGE":
		x.problem(channel, fmt.Sprintf("%s: joining %s was rejected: %s %s", name, x.Channel, m.Event, m.payloadString("message")), fix)
		return
	}
	x.ok(channel, "%s: joined %s after %v", name, x.Channel, since(start))
	_ = c.send(limited, membership("LEAVE_CHANNEL", x.Channel, "leave", nil)) // closing the connection has the same effect
}

// join asks to join a channel and waits for the answer.
func (c *conn) join(ctx context.Context, channel string, payload json.RawMessage) (*message, error) {
	if err := c.send(ctx, membership("JOIN_CHANNEL", channel, "join", payload)); err != nil {
		return nil, err
	}
	return c.receive(ctx, func(m *message) bool { return m.RequestID == "join" })
}
