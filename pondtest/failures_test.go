package pondtest_test

import (
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/pondsocket/pond/internal/ws"
	"github.com/pondsocket/pond/pondtest"
)

const (
	socket = pondtest.WebSocket
	sse    = pondtest.SSE
	ann    = "/socket?uid=ann"
	system = `{"action":"SYSTEM","event":"e","channelName":"c","requestId":"r","payload":{}}`
)

var failures = append([]failure{
	// Connections
	{"declined", nil, func(_ *testing.T, d *pondtest.Driver) {
		d.Connect(sse, "/socket?uid=nobody")
	}, "sse 1 (/socket?uid=nobody): declined with 403 Forbidden: who are you?"},

	{"accepted", nil, func(_ *testing.T, d *pondtest.Driver) {
		d.Connect(socket, ann)
		d.Declined(socket, ann)
	}, "websocket 2 (/socket?uid=ann): accepted with 101 Switching Protocols, want declined"},

	{"transport", nil, func(_ *testing.T, d *pondtest.Driver) {
		d.Connect("pigeon", ann)
	}, `unknown transport "pigeon"`},

	{"target", nil, func(_ *testing.T, d *pondtest.Driver) {
		d.Connect(sse, "/%zz")
	}, `invalid URL escape "%zz"`},

	{"no response", raw("", false), func(_ *testing.T, d *pondtest.Driver) {
		d.Connect(sse, "/")
	}, "sse 1 (/): no response: unexpected EOF"},

	{"proof", raw(switching+"\r\n", false), func(_ *testing.T, d *pondtest.Driver) {
		d.Connect(socket, "/")
	}, `accepted, but with an invalid response: Sec-WebSocket-Accept is ""`},

	{"upgrade", raw("HTTP/1.1 101 Sure\r\nUpgrade: h2c\r\n\r\n", false), func(_ *testing.T, d *pondtest.Driver) {
		d.Connect(socket, "/")
	}, `accepted, but with an invalid response: headers Upgrade: "h2c", Connection: ""`},

	{"extension", raw(switching+"{accept}Sec-WebSocket-Extensions: x\r\n\r\n", false), func(_ *testing.T, d *pondtest.Driver) {
		d.Connect(socket, "/")
	}, `accepted, but with an invalid response: extensions "x" were not offered`},

	{"takeover", raw(switching+"{accept}Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n", false), func(_ *testing.T, d *pondtest.Driver) {
		d.Connect(socket, "/", pondtest.Header("Sec-WebSocket-Extensions", "permessage-deflate"))
	}, `extensions "permessage-deflate", but the client requires server_no_context_takeover`},

	{"content type", raw("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n", false), func(_ *testing.T, d *pondtest.Driver) {
		d.Declined(sse, "/")
	}, `accepted, but with an invalid response: Content-Type is "text/html"`},

	{"first message", rawStream("data: " + system + "\n\n"), func(_ *testing.T, d *pondtest.Driver) {
		d.Connect(sse, "/")
	}, `the first message is SYSTEM e on c, request "r": {}, want CONNECT CONNECTION`},

	{"no message", rawStream(""), func(_ *testing.T, d *pondtest.Driver) {
		d.Connect(sse, "/")
	}, `waited for the CONNECTION message, but the connection ended with 0 ""`},

	{"response without end", nil, func(t *testing.T, d *pondtest.Driver) {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, ann, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		d.Do(req)
	}, "GET /socket?uid=ann: response 200 OK, but its body is incomplete: "},

	// Receiving
	{"receive", nil, func(_ *testing.T, d *pondtest.Driver) {
		d.Connect(sse, ann).Receive()
	}, "sse 1 (/socket?uid=ann): waited for a message, but nothing arrived within 1m0s"},

	{"receive after the end", nil, func(_ *testing.T, d *pondtest.Driver) {
		s := d.Connect(socket, ann)
		s.Send("/chat", "bye", nil)
		s.Receive()
	}, `waited for a message, but the connection ended with 1001 "bye"`},

	{"expect", nil, func(_ *testing.T, d *pondtest.Driver) {
		s := d.Connect(sse, ann)
		s.Send("/chat", "echo", nil)
		s.Expect("echoed")
	}, `waited for event echoed, got BROADCAST noise on /chat, request "0": {}`},

	{"expect without a message", nil, func(_ *testing.T, d *pondtest.Driver) {
		d.Connect(sse, ann).Expect("news")
	}, "waited for event news, but nothing arrived within 1m0s"},

	{"join", nil, func(_ *testing.T, d *pondtest.Driver) {
		s := d.Connect(socket, ann)
		s.Send("/chat", "echo", nil)
		s.Stall()
		s.Join("/chat", nil)
	}, `waited for the answer to JOIN_CHANNEL /chat, but nothing arrived within 1m0s; ` +
		`unread: BROADCAST noise on /chat, request "0": {}; SYSTEM echoed on /chat, request "request-1": {}`},

	{"receive event", nil, func(_ *testing.T, d *pondtest.Driver) {
		s := d.Connect(sse, ann)
		s.Send("/chat", "echo", nil)
		s.ReceiveEvent("news")
	}, `waited for event news, but nothing arrived within 1m0s; unread: BROADCAST noise`},

	{"order", nil, func(_ *testing.T, d *pondtest.Driver) {
		a, b := d.Connect(socket, ann), d.Connect(sse, ann)
		a.Send("/chat", "text", note{Text: numbered(1)})
		a.Send("/chat", "text", note{Text: numbered(2)})
		b.Send("/chat", "text", note{Text: numbered(2)})
		b.Send("/chat", "text", note{Text: numbered(1)})
		d.SameOrder("e", a, b)
	}, `sse 2 (/socket?uid=ann): message 1 is {"action":"SYSTEM","event":"e","channelName":"c","requestId":"r","payload":{"n":2}}, ` +
		`but websocket 1 (/socket?uid=ann) has {"action":"SYSTEM","event":"e","channelName":"c","requestId":"r","payload":{"n":1}}`},

	{"order with one missing", nil, func(_ *testing.T, d *pondtest.Driver) {
		a, b := d.Connect(socket, ann), d.Connect(sse, ann)
		a.Send("/chat", "text", note{Text: system})
		d.SameOrder("", a, b)
	}, `sse 2 (/socket?uid=ann): message 1 is missing, but websocket 1 (/socket?uid=ann) has {"action":"SYSTEM"`},

	{"order with one too many", nil, func(_ *testing.T, d *pondtest.Driver) {
		a, b := d.Connect(socket, ann), d.Connect(sse, ann)
		b.Send("/chat", "text", note{Text: system})
		d.SameOrder("", a, b)
	}, `sse 2 (/socket?uid=ann): message 1 is {"action":"SYSTEM"`},

	{"order of nothing", nil, func(_ *testing.T, d *pondtest.Driver) {
		a, b := d.Connect(socket, ann), d.Connect(socket, ann)
		a.Send("/chat", "text", note{Text: system})
		b.Send("/chat", "text", note{Text: system})
		d.SameOrder("other", a, b)
	}, "there are no messages to compare"},

	{"quiet", nil, func(_ *testing.T, d *pondtest.Driver) {
		s := d.Connect(socket, ann)
		s.Send("/chat", "echo", nil)
		s.Quiet()
	}, `expected nothing, got BROADCAST noise on /chat, request "0": {}; SYSTEM echoed`},

	{"quiet with many", nil, func(_ *testing.T, d *pondtest.Driver) {
		s := d.Connect(socket, ann)
		s.Send("/chat", "flood", note{N: 12})
		s.Quiet()
	}, "; and 2 more"},

	{"bind", nil, func(t *testing.T, d *pondtest.Driver) {
		var n note
		d.Connect(sse, ann).Request("/chat", "echo", map[string]string{"other": "n"}).Bind(t, &n.N)
	}, `payload of SYSTEM echoed on /chat, request "request-1": {"other":"n"}: json: cannot unmarshal object`},

	{"closed", nil, func(_ *testing.T, d *pondtest.Driver) {
		d.Connect(socket, ann).Closed()
	}, "waited for the end of the connection, but nothing arrived within 1m0s"},

	{"closed without an end", rawSocket(ws.AppendClose(nil, 1001, "gone")), func(_ *testing.T, d *pondtest.Driver) {
		d.Connect(socket, "/").Closed()
	}, `waited for the end of the connection, but the connection is still open 1m0s after the close frame with 1001 "gone"`},

	{"close", rawSocket(nil), func(_ *testing.T, d *pondtest.Driver) {
		d.Connect(socket, "/").Close()
	}, "sent a close frame and waited for the end of the connection, but nothing arrived within 1m0s"},

	{"close with", nil, func(_ *testing.T, d *pondtest.Driver) {
		d.Connect(sse, ann).CloseWith(4000, "")
	}, "CloseWith requires a WebSocket"},

	// Networks
	{"vanish", nil, func(_ *testing.T, d *pondtest.Driver) {
		s := d.Connect(socket, ann)
		s.Vanish()
		s.Request("/chat", "echo", nil)
	}, "waited for the answer to echo on /chat, but nothing arrived within 1m0s"},

	{"push after vanish", nil, func(_ *testing.T, d *pondtest.Driver) {
		s := d.Connect(sse, ann)
		s.Vanish()
		d.Push(s, nil)
	}, "sse 1 (/socket?uid=ann): vanished, so there is no response"},

	{"delay", nil, func(_ *testing.T, d *pondtest.Driver) {
		s := d.Connect(socket, ann)
		s.Delay(31 * time.Second)
		s.Request("/chat", "echo", nil)
	}, "waited for the answer to echo on /chat, but nothing arrived within 1m0s"},

	{"reconnect", nil, func(_ *testing.T, d *pondtest.Driver) {
		admitted := true
		s := d.Connect(sse, "/socket", func(r *http.Request) {
			if !admitted {
				r.URL.RawQuery = "uid=nobody"
			}
		})
		admitted = false
		s.Reconnect()
	}, "sse 2 (/socket): declined with 403 Forbidden: who are you?"},

	{"address", nil, func(_ *testing.T, d *pondtest.Driver) {
		d.Connect(sse, ann, pondtest.RemoteAddr("localhost"))
	}, `RemoteAddr "localhost": not an ip:port`},

	// Sending
	{"send after the end", nil, func(_ *testing.T, d *pondtest.Driver) {
		s := d.Connect(socket, ann)
		s.Reset()
		s.Send("/chat", "echo", nil)
	}, "sending echo on /chat: "},

	{"post after the end", nil, func(_ *testing.T, d *pondtest.Driver) {
		s := d.Connect(sse, ann)
		s.Send("/chat", "bye", nil)
		s.Closed()
		s.Send("/chat", "echo", nil)
	}, "sending echo on /chat: response to POST: 404 Not Found: no such connection"},

	{"payload", nil, func(_ *testing.T, d *pondtest.Driver) {
		d.Connect(sse, ann).Send("/chat", "echo", func() {})
	}, "payload of echo: json: unsupported type: func()"},

	{"server that does not read", nil, func(_ *testing.T, d *pondtest.Driver) {
		s := d.Connect(socket, ann)
		s.Send("/chat", "nap", nil)
		s.SendRaw(make([]byte, 1<<20))
	}, "the server did not read for 1m0s"},

	{"frame", nil, func(_ *testing.T, d *pondtest.Driver) {
		d.Connect(sse, ann).SendFrame(nil)
	}, "SendFrame requires a WebSocket"},

	{"events", nil, func(_ *testing.T, d *pondtest.Driver) {
		d.Connect(socket, ann).Events()
	}, "Events requires SSE"},

	{"bytes", nil, func(_ *testing.T, d *pondtest.Driver) {
		d.Connect(socket, ann).Bytes()
	}, "Bytes requires SSE"},

	// Found by the reading goroutine
	{"invalid: frame", rawSocket([]byte{0xff, 0xff}), func(_ *testing.T, d *pondtest.Driver) {
		d.Connect(socket, "/").Closed()
	}, "websocket 1 (/): the server violated the protocol: websocket closed with code 1002"},

	{"invalid: binary", rawSocket(ws.AppendFrame(nil, ws.Binary, false, []byte(system))), func(_ *testing.T, d *pondtest.Driver) {
		d.Connect(socket, "/").Closed()
	}, "the server violated the protocol: message is not text"},
}, invalidMessages()...)

// numbered returns a message that contains n.
func numbered(n int) string {
	return strings.Replace(system, "{}", `{"n":`+strconv.Itoa(n)+"}", 1)
}

// invalidMessages are messages that a server must not send, with the failure.
func invalidMessages() (failures []failure) {
	for _, invalid := range []struct{ name, text, why string }{
		{"not JSON", "hello", "invalid character 'h'"},
		{"two documents", system + system, "invalid character '{' after top-level value"},
		{"two lines", "{\n}", "it has more than one line"},
		{"array", "[]", "json: cannot unmarshal array"},
		{"case", `{"Action":"SYSTEM"}`, "action is not a string"},
		{"null event", `{"action":"SYSTEM","event":null}`, "event is not a string"},
		{"no request ID", `{"action":"SYSTEM","event":"e","channelName":"c"}`, "requestId is not a string"},
		{"null payload", `{"action":"SYSTEM","event":"e","channelName":"c","requestId":"r","payload":null}`, "payload is not an object"},
		{"no payload", `{"action":"SYSTEM","event":"e","channelName":"c","requestId":"r"}`, "payload is not an object"},
		{"action", `{"action":"SHOUT","event":"e","channelName":"c","requestId":"r","payload":{}}`, `unknown action "SHOUT"`},
		{"presence event", presence("join", `{"changed":{},"presence":[]}`), `unknown presence event "join"`},
		{"no changed", presence("JOIN", `{"presence":[]}`), "changed and the elements of presence must be objects"},
		{"no presence", presence("JOIN", `{"changed":{}}`), "changed and the elements of presence must be objects"},
		{"null in presence", presence("LEAVE", `{"changed":{},"presence":[null]}`), "changed and the elements of presence must be objects"},
		{"number in presence", presence("UPDATE", `{"changed":{},"presence":[1]}`), "json: cannot unmarshal number"},
	} {
		failures = append(failures, failure{"invalid: " + invalid.name, nil, func(_ *testing.T, d *pondtest.Driver) {
			s := d.Connect(socket, ann)
			s.Send("/chat", "text", note{Text: invalid.text})
			s.Quiet()
		}, "the server sent an invalid message: " + invalid.why})
	}
	return failures
}

func presence(event, payload string) string {
	return `{"action":"PRESENCE","event":"` + event + `","channelName":"c","requestId":"r","payload":` + payload + `}`
}
