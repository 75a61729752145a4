package doctor

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
)

// A message is a message of the protocol.
type message struct {
	Action    string          `json:"action"`
	Event     string          `json:"event"`
	RequestID string          `json:"requestId"`
	Payload   json.RawMessage `json:"payload"`
}

func (m *message) decode(payload any) error { return json.Unmarshal(m.Payload, payload) }

// payloadString returns a string field of the payload, or "".
func (m *message) payloadString(name string) string {
	var payload map[string]any
	if err := m.decode(&payload); err != nil {
		return ""
	}
	text, _ := payload[name].(string)
	return text
}

// An event is an event on a connection.
type event struct {
	message   *message // or nil
	heartbeat bool
	end       error // nil, except in the last event
}

// A conn is a WebSocket or an event stream.
type conn struct {
	body   io.ReadCloser
	events chan event    // closed by the reader
	left   chan struct{} // closed by close
	leave  func()
	send   func(ctx context.Context, text string) error
	reader sync.WaitGroup
	probes int
}

// newConn starts reading. The function read emits events until the connection ends, and
// returns the reason.
func newConn(body io.ReadCloser, read func(emit func(event) bool) error) *conn {
	c := &conn{body: body, events: make(chan event), left: make(chan struct{})}
	c.leave = sync.OnceFunc(func() {
		close(c.left)
		body.Close()
	})
	emit := func(e event) bool {
		select {
		case c.events <- e:
			return true
		case <-c.left:
			return false
		}
	}
	c.reader.Go(func() {
		defer close(c.events)
		emit(event{end: read(emit)})
	})
	return c
}

// close closes the connection without a close frame.
func (c *conn) close() {
	c.leave()
	c.reader.Wait()
}

// next waits for the next event.
func (c *conn) next(ctx context.Context) (event, error) {
	select {
	case e, ok := <-c.events:
		if !ok {
			return event{}, io.EOF
		}
		return e, e.end
	case <-ctx.Done():
		return event{}, errSilence
	}
}

// receive waits for a message that matches.
func (c *conn) receive(ctx context.Context, matches func(*message) bool) (*message, error) {
	for {
		e, err := c.next(ctx)
		if err != nil {
			return nil, err
		}
		if e.message != nil && matches(e.message) {
			return e.message, nil
		}
	}
}

// hello waits for the first message.
func (c *conn) hello(ctx context.Context) (*message, error) {
	m, err := c.receive(ctx, func(*message) bool { return true })
	if err == nil && (m.Action != "CONNECT" || m.Event != "CONNECTION") {
		err = fmt.Errorf("the first message is %s %s, want CONNECT CONNECTION", m.Action, m.Event)
	}
	return m, err
}

// probe sends an invalid message of size bytes, or of its minimum size, and waits for the
// answer. All servers answer, but with different errors.
func (c *conn) probe(ctx context.Context, size int) (*message, error) {
	c.probes++
	id := fmt.Sprintf("doctor-%d", c.probes)
	if err := c.send(ctx, invalidMessage(id, size)); err != nil {
		return nil, err
	}
	return c.receive(ctx, func(m *message) bool {
		return m.RequestID == id || m.Action == "ERROR" ||
			m.Action == "SYSTEM" && slices.Contains([]string{"NOT_FOUND", "INTERNAL_ERROR"}, m.Event)
	})
}

// invalidMessage returns a message with an action that does not exist.
func invalidMessage(id string, size int) string {
	head := `{"action":"POND_DOCTOR","event":"probe","channelName":"ENDPOINT","requestId":"` + id + `","payload":{"pad":"`
	const tail = `"}}`
	return head + strings.Repeat("x", max(0, size-len(head)-len(tail))) + tail
}

// membership returns a message that joins or leaves a channel. The payload is a
// JSON object, or nil for an empty one.
func membership(action, channel, id string, payload json.RawMessage) string {
	if payload == nil {
		payload = json.RawMessage("{}")
	}
	text, err := json.Marshal(map[string]any{
		"action": action, "event": action, "channelName": channel, "requestId": id, "payload": payload,
	})
	if err != nil {
		return "" // cannot happen
	}
	return string(text)
}
