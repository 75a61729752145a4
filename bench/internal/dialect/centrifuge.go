package dialect

import (
	"bytes"
	"encoding/json"
	"net/url"
	"strconv"
	"sync"

	"github.com/pondsocket/pond/internal/load"
)

// Centrifuge is the JSON protocol of centrifuge. A frame can contain several messages, one
// per line. Over SSE, commands are sent to the emulation endpoint.
type Centrifuge struct{ rosters *sync.Map }

// NewCentrifuge returns a dialect for one run.
func NewCentrifuge() Centrifuge { return Centrifuge{new(sync.Map)} }

// Traits implements [load.Dialect].
func (Centrifuge) Traits() load.Traits {
	return load.Traits{
		Name: "centrifuge", Transports: []load.Transport{load.WebSocket, load.SSE},
		Echo: true, Presence: true, Recovery: true,
	}
}

// The numbers of commands, which their answers repeat. Those of publications do not
// matter.
const (
	cfConnect   = `{"id":1,"connect":{}}`
	cfSubscribe = `{"id":2,"subscribe":{"channel":"`
	cfPresence  = `{"id":3,"presence":{"channel":"`
	cfPublish   = `{"id":4,"publish":{"channel":"`
	cfEcho      = `{"id":5,"rpc":{"method":"echo","data":`
)

// Open implements [load.Dialect].
func (Centrifuge) Open(c *load.Client) load.Request {
	if c.Transport == load.SSE {
		return load.Request{Path: "/connection/sse?cf_connect=" + url.QueryEscape(cfConnect)}
	}
	return load.Request{Path: "/connection/websocket"}
}

// Opened implements [load.Dialect]. Over SSE, the request already connects.
func (Centrifuge) Opened(c *load.Client, out *load.Outgoing) {
	if c.Transport != load.SSE {
		out.SendString(cfConnect)
	}
}

// Receive implements [load.Dialect].
func (d Centrifuge) Receive(c *load.Client, message []byte, events []load.Event, out *load.Outgoing) []load.Event {
	for line := range bytes.Lines(message) {
		events = d.receive(c, bytes.TrimSpace(line), events, out)
	}
	return events
}

func (d Centrifuge) receive(c *load.Client, line []byte, events []load.Event, out *load.Outgoing) []load.Event {
	if push, ok := bytes.CutPrefix(line, []byte(`{"push":{"channel":"`)); ok {
		return d.push(c, push, events, out)
	}
	switch {
	case string(line) == "{}": // a ping
		out.Send(d.wrap(nil, c, []byte("{}")))
	case bytes.HasPrefix(line, []byte(`{"id":5,"rpc"`)):
		return load.AppendDeliveries(events, line)
	case bytes.Contains(line, []byte(`"error":{`)):
		return append(events, load.Event{Kind: load.Rejected, Text: line})
	case bytes.HasPrefix(line, []byte(`{"id":1,`)):
		d.connected(c, line, out)
	case bytes.HasPrefix(line, []byte(`{"id":2,`)):
		if c.Track { // join pushes announce the members that join later
			out.Send(d.wrap(nil, c, []byte(cfPresence+room(c)+`"}}`)))
		}
		if c.Recover {
			return subscribed(c, line, events)
		}
		return append(events, load.Event{Kind: load.Joined})
	case bytes.HasPrefix(line, []byte(`{"id":3,`)):
		return d.roster(c).list(events, line)
	}
	return events
}

// push interprets a push. The rest starts with the channel.
func (d Centrifuge) push(c *load.Client, rest []byte, events []load.Event, out *load.Outgoing) []load.Event {
	_, rest, _ = bytes.Cut(rest, []byte(`"`))
	switch {
	case bytes.HasPrefix(rest, []byte(`,"pub":`)):
		if offset, ok := offsetOf(rest); ok && c.Recover {
			c.Offset = offset
		}
		return load.AppendDeliveries(events, rest)
	case bytes.HasPrefix(rest, []byte(`,"unsubscribe":`)): // such as insufficient state; official clients subscribe again
		d.subscribe(c, out)
	case bytes.HasPrefix(rest, []byte(`,"join":`)):
		return d.roster(c).join(events, rest)
	case bytes.HasPrefix(rest, []byte(`,"leave":`)):
		return d.roster(c).leave(events, rest)
	}
	return events
}

// offsetOf returns the offset of a publication, which is behind its data.
func offsetOf(push []byte) (offset uint64, ok bool) {
	const key = `,"offset":`
	at := bytes.LastIndex(push, []byte(key))
	if at < 0 {
		return 0, false
	}
	rest := push[at+len(key):]
	digits := len(rest) - len(bytes.TrimLeft(rest, "0123456789"))
	offset, err := strconv.ParseUint(string(rest[:digits]), 10, 64)
	return offset, err == nil
}

// subscribed interprets the answer to a subscription of a client that recovers. It contains
// the publications that the client missed.
func subscribed(c *load.Client, line []byte, events []load.Event) []load.Event {
	var answer struct {
		Subscribe struct {
			Recoverable, Recovered bool
			WasRecovering          bool `json:"was_recovering"`
			Epoch                  string
			Offset                 uint64
			Publications           []json.RawMessage
		}
	}
	if err := json.Unmarshal(line, &answer); err != nil || !answer.Subscribe.Recoverable {
		return append(events, load.Event{Kind: load.Rejected, Text: line})
	}
	s := answer.Subscribe
	c.Epoch, c.Offset = s.Epoch, s.Offset
	events = append(events, load.Event{Kind: load.Joined})
	for _, publication := range s.Publications {
		events = load.AppendDeliveries(events, publication)
		if offset, ok := offsetOf(publication); ok {
			c.Offset = offset
		}
	}
	switch {
	case s.Recovered:
		events = append(events, load.Event{Kind: load.Recovered})
	case s.WasRecovering:
		events = append(events, load.Event{Kind: load.Unrecovered, Text: line})
	}
	return events
}

func (d Centrifuge) connected(c *load.Client, line []byte, out *load.Outgoing) {
	if c.Transport == load.SSE { // required in each later command
		c.ID = `{"node":"` + textOf(line, `"node":"`) + `","session":"` + textOf(line, `"session":"`) + `","data":`
	}
	d.subscribe(c, out)
}

func (d Centrifuge) subscribe(c *load.Client, out *load.Outgoing) {
	subscribe := cfSubscribe + room(c) + `"`
	if c.Track { // shown to the members
		subscribe += `,"data":` + card(c.Number)
	}
	if c.Recover {
		subscribe += `,"recoverable":true`
		if c.Epoch != "" {
			subscribe += `,"recover":true,"epoch":"` + c.Epoch + `","offset":` + strconv.FormatUint(c.Offset, 10)
		}
	}
	out.Send(d.wrap(nil, c, []byte(subscribe+`}}`)))
}

// wrap appends a command in the form of the transport: for SSE, as a string in the
// request to the emulation endpoint.
func (Centrifuge) wrap(dst []byte, c *load.Client, command []byte) []byte {
	if c.Transport != load.SSE {
		return append(dst, command...)
	}
	dst = append(dst, c.ID...)
	return append(strconv.AppendQuote(dst, string(command)), '}')
}

// AppendPublish implements [load.Dialect].
func (d Centrifuge) AppendPublish(dst []byte, c *load.Client, body []byte) []byte {
	if c.Transport == load.SSE {
		return d.wrap(dst, c, appendPublication(nil, c, body))
	}
	return appendPublication(dst, c, body)
}

func appendPublication(dst []byte, c *load.Client, body []byte) []byte {
	dst = append(dst, cfPublish...)
	dst = append(dst, room(c)...)
	dst = append(dst, `","data":`...)
	return append(appendPayload(dst, body), `}}`...)
}

// AppendEcho implements [load.Dialect].
func (d Centrifuge) AppendEcho(dst []byte, c *load.Client, body []byte) []byte {
	command := append(appendPayload([]byte(cfEcho), body), `}}`...)
	return d.wrap(dst, c, command)
}

// Post implements [load.Dialect].
func (Centrifuge) Post(*load.Client) load.Request {
	return load.Request{Path: "/emulation", Header: "Content-Type: application/json\r\n"}
}
