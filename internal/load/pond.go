package load

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"strings"
)

// Pond is the protocol of pond and other PondSocket servers. The server must broadcast
// the event Message to all members, and reply to the event Echo, with the text of the
// payload. For [Presence], if the payload of a join has a field "track", the server must
// track the member with its value.
type Pond struct {
	Name    string  // of the server, in results
	Path    string  // of the endpoint, such as "/socket", with the query
	Header  string  // of all requests: more lines, each ending with "\r\n"
	Join    string  // the payload of joins, a JSON object; default {}
	Payload Payload // the payload of messages; default {"b": TEXT}
	Channel string  // a name with %d for the room, such as "/chat/%d"
	Message string  // the event that is broadcast; default "message"
	Echo    string  // the event that is answered; default "echo"
	Diff    bool    // ask for presence as differences, which the server must offer
}

var _ Dialect = Pond{}

// Traits implements [Dialect].
func (p Pond) Traits() Traits {
	name := p.Name
	if name == "" {
		name = "pond"
	}
	return Traits{Name: name, Transports: []Transport{WebSocket, SSE}, Echo: true, Presence: true, Recovery: true}
}

// Open implements [Dialect].
func (p Pond) Open(*Client) Request { return Request{p.Path, p.Header} }

// Opened implements [Dialect]. The server sends the first message.
func (Pond) Opened(*Client, *Outgoing) {}

// Receive implements [Dialect].
func (p Pond) Receive(c *Client, message []byte, events []Event, out *Outgoing) []Event {
	if found := AppendDeliveries(events, message); len(found) > len(events) {
		if c.Recover {
			if offset, ok := offsetOf(message); ok {
				c.Offset = offset
			}
		}
		return found
	}
	if c.Recover {
		if found := recovery(c, message, events); len(found) > len(events) {
			return found
		}
	}
	has := func(s string) bool { return bytes.Contains(message, []byte(s)) }
	switch {
	case has(`"action":"PRESENCE"`):
		// Use only the list: the changed member is in another field.
		return append(events, Event{Kind: PresenceList, Text: listIn(message, `"presence":[`)})
	case has(`"event":"PRESENCE_STATE"`):
		return append(events, Event{Kind: PresenceJoin, Text: listIn(message, `"users":[`)})
	case has(`"event":"PRESENCE_DIFF"`):
		if joins := listIn(message, `"joins":[`); len(joins) > 0 {
			events = append(events, Event{Kind: PresenceJoin, Text: joins})
		}
		return events
	case has(`"action":"CONNECT"`):
		c.ID = text(message, `"connectionId":"`)
		out.SendString(p.join(c))
	case has(`"event":"ACKNOWLEDGE"`):
		if p.Diff && !has(`"diff":`) {
			return append(events, Event{Kind: Joined}, Event{Kind: Rejected, Text: []byte("the server does not offer presence as differences")})
		}
		return append(events, Event{Kind: Joined})
	case has(`"action":"ERROR"`), has(`"event":"UNAUTHORIZED"`), has(`"event":"NOT_FOUND"`),
		has(`"event":"INTERNAL_ERROR"`):
		return append(events, rejection(message))
	}
	return events
}

// listIn returns the elements of the list that begins with a key. There is no list in
// them.
func listIn(message []byte, key string) []byte {
	_, list, _ := bytes.Cut(message, []byte(key))
	list, _, _ = bytes.Cut(list, []byte("]"))
	return list
}

// rejection returns the event for an error message, with a short text if the message has
// the usual form.
func rejection(message []byte) Event {
	var m struct {
		Event, ChannelName, RequestID string
		Payload                       struct {
			Code, Status json.RawMessage
			Message      string
			Details      json.RawMessage
		}
	}
	if err := json.Unmarshal(message, &m); err != nil || m.Payload.Message == "" {
		return Event{Kind: Rejected, Text: message}
	}
	code := m.Payload.Status
	if len(code) == 0 {
		code = m.Payload.Code
	}
	text := m.Event
	if len(code) > 0 {
		text += " " + strings.Trim(string(code), `"`)
	}
	text += " on " + m.ChannelName + ": " + m.Payload.Message
	if len(m.Payload.Details) > 0 && string(m.Payload.Details) != "null" {
		text += " " + string(m.Payload.Details)
	}
	return Event{Kind: Rejected, Text: []byte(text), Stamp: []byte(m.RequestID)}
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
	var want []string
	if p.Diff {
		want = append(want, `"diff"`)
	}
	if c.Recover {
		want = append(want, `"recover"`)
	}
	extensions := ""
	if want != nil {
		extensions = `,"want":[` + strings.Join(want, ",") + "]" + from(c)
	}
	return fmt.Sprintf(`{"action":"JOIN_CHANNEL","event":"JOIN_CHANNEL","channelName":"%s","requestId":"j","payload":%s%s}`,
		p.channel(c), payload, extensions)
}

func (p Pond) channel(c *Client) string {
	if !strings.Contains(p.Channel, "%d") {
		return p.Channel
	}
	return fmt.Sprintf(p.Channel, c.Room)
}

// text returns the text between key and the next quotation mark.
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

func (p Pond) append(dst []byte, c *Client, event, defaultEvent string, body []byte) []byte {
	dst = append(append(append(dst, `{"action":"BROADCAST","event":"`...), cmp.Or(event, defaultEvent)...), `","channelName":"`...)
	dst = append(append(dst, p.channel(c)...), `","requestId":"`...)
	dst = append(append(dst, RequestStamp(body)...), `","payload":`...)
	return append(p.Payload.append(dst, c, body), '}')
}

// Post implements [Dialect].
func (p Pond) Post(c *Client) Request {
	return Request{p.Path, "Content-Type: application/json\r\nX-Connection-ID: " + c.ID + "\r\n" + p.Header}
}
