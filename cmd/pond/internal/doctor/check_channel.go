package doctor

import (
	"context"
	"encoding/json"
	"fmt"
	"time"
)

// checkChannel joins a channel and leaves it again, over all that works.
func (x *exam) checkChannel(ctx context.Context) {
	if x.Channel == "" {
		return
	}
	if x.webSocket {
		if w, err := x.upgrade(ctx); x.connected("WebSocket", err) {
			x.join(ctx, "WebSocket", w.conn, w.hello)
			w.close()
		}
	}
	if x.stream {
		if s, err := x.open(ctx); x.connected("event stream", err) {
			x.join(ctx, "event stream", s.conn, s.hello)
			s.close()
		}
	}
}

func (x *exam) connected(name string, err error) bool {
	if err != nil {
		x.problem(channel, fmt.Sprintf("%s: before the join of %s: %v", name, x.Channel, x.plain(err)),
			"it worked before: look for limits of connections, and into the server's log")
	}
	return err == nil
}

func (x *exam) join(ctx context.Context, name string, c *conn, hello func(context.Context) (*message, error)) {
	const remedy = "check the name, and what the join handler wants (-join); no proxy is concerned if other checks are fine"
	limited, cancel := x.limit(ctx)
	defer cancel()
	if _, err := hello(limited); !x.connected(name, err) {
		return
	}
	start := time.Now()
	m, err := c.join(limited, x.Channel, x.Join)
	switch {
	case err != nil:
		x.problem(channel, fmt.Sprintf("%s: the join of %s: %v", name, x.Channel, x.plain(err)), remedy)
		return
	case m.Event != "ACKNOWLEDGE":
		x.problem(channel, fmt.Sprintf("%s: %s is refused: %s %s", name, x.Channel, m.Event, m.says("message")), remedy)
		return
	}
	x.ok(channel, "%s: joined %s after %v", name, x.Channel, since(start))
	_ = c.send(limited, membership("LEAVE_CHANNEL", x.Channel, "leave", nil)) // the end of the connection does the same
}

// join asks to join a channel and waits for the answer.
func (c *conn) join(ctx context.Context, channel string, payload json.RawMessage) (*message, error) {
	if err := c.send(ctx, membership("JOIN_CHANNEL", channel, "join", payload)); err != nil {
		return nil, err
	}
	return c.receive(ctx, func(m *message) bool { return m.RequestID == "join" })
}
