package load

import (
	"bytes"
	"cmp"
	"fmt"
	"strings"
)

// Pond is the protocol of pond and of all other PondSocket servers. The server has
// to broadcast the event Message to all members as it came, to reply to Echo with
// its payload, and, for [Presence], to track members whose join payload has a
// "track" with that.
type Pond struct {
	Name    string // of the server, in results
	Path    string // of the endpoint, such as "/socket", with its query
	Header  string // of all requests: more lines, each with "\r\n" at its end
	Join    string // the payload of joins, an object of JSON; default {}
	Channel string // a name with %d for the room, such as "/chat/%d"
	Message string // the event that is broadcast; default "message"
	Echo    string // the event that is answered; default "echo"
}

var _ Dialect = Pond{}

// Traits implements [Dialect].
func (p Pond) Traits() Traits {
	name := p.Name
	if name == "" {
		name = "pond"
	}
	return Traits{Name: name, Transports: []Transport{WebSocket, SSE}, Echo: true, Presence: true}
}

// Open implements [Dialect].
func (p Pond) Open(*Client) Request { return Request{p.Path, p.Header} }

// Opened implements [Dialect]. The server speaks first.
func (Pond) Opened(*Client, *Outgoing) {}

// Receive implements [Dialect].
func (p Pond) Receive(c *Client, message []byte, events []Event, out *Outgoing) []Event {
	if found := AppendDeliveries(events, message); len(found) > len(events) {
		return found
	}
	has := func(s string) bool { return bytes.Contains(message, []byte(s)) }
	switch {
	case has(`"action":"PRESENCE"`):
		// The list alone: what has changed is beside it, before or behind.
		_, list, _ := bytes.Cut(message, []byte(`"presence":[`))
		list, _, _ = bytes.Cut(list, []byte("]"))
		return append(events, Event{PresenceList, list})
	case has(`"action":"CONNECT"`):
		c.ID = text(message, `"connectionId":"`)
		out.SendString(p.join(c))
	case has(`"event":"ACKNOWLEDGE"`):
		return append(events, Event{Kind: Joined})
	case has(`"action":"ERROR"`), has(`"event":"UNAUTHORIZED"`), has(`"event":"NOT_FOUND"`),
		has(`"event":"INTERNAL_ERROR"`):
		return append(events, Event{Refused, message})
	}
	return events
}

func (p Pond) join(c *Client) string {
	payload := cmp.Or(strings.TrimSpace(p.Join), "{}")
	if c.Track {
		track := `{"track":{"name":"` + PresenceMark(c.Number) + `"}`
		if rest := strings.TrimSpace(payload[1:]); rest == "}" {
			payload = track + rest
		} else {
			payload = track + "," + rest
		}
	}
	return fmt.Sprintf(`{"action":"JOIN_CHANNEL","event":"JOIN_CHANNEL","channelName":"%s","requestId":"j","payload":%s}`,
		p.channel(c), payload)
}

func (p Pond) channel(c *Client) string {
	if !strings.Contains(p.Channel, "%d") {
		return p.Channel
	}
	return fmt.Sprintf(p.Channel, c.Room)
}

// text returns what follows key, up to the next quotation mark.
func text(message []byte, key string) string {
	_, value, _ := bytes.Cut(message, []byte(key))
	value, _, _ = bytes.Cut(value, []byte(`"`))
	return string(value)
}

// AppendPublish implements [Dialect].
func (p Pond) AppendPublish(dst []byte, c *Client, body []byte) []byte {
	return p.append(dst, c, p.Message, "message", body)
}

// AppendEcho implements [Dialect].
func (p Pond) AppendEcho(dst []byte, c *Client, body []byte) []byte {
	return p.append(dst, c, p.Echo, "echo", body)
}

func (p Pond) append(dst []byte, c *Client, event, otherwise string, body []byte) []byte {
	if event == "" {
		event = otherwise
	}
	dst = append(append(append(dst, `{"action":"BROADCAST","event":"`...), event...), `","channelName":"`...)
	dst = append(append(dst, p.channel(c)...), `","requestId":"0","payload":{"b":"`...)
	return append(append(dst, body...), `"}}`...)
}

// Post implements [Dialect].
func (p Pond) Post(c *Client) Request {
	return Request{p.Path, "Content-Type: application/json\r\nX-Connection-ID: " + c.ID + "\r\n" + p.Header}
}
