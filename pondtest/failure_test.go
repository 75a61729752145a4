package pondtest_test

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/pondsocket/pond/internal/ws"
	"github.com/pondsocket/pond/pondtest"
)

// A failure is a test that must fail, and what it has to say.
type failure struct {
	name string
	test func(t *testing.T, d *pondtest.Driver)
	want string // part of the message
}

// answering returns the start of a session with a server that answers requests
// with fixed bytes.
const (
	switching = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
	streaming = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
)

// text returns what a client sends to be sent data as a message.
func text(d *pondtest.Driver, tr pondtest.Transport, data string) *pondtest.Session {
	s := d.Connect(tr, "/socket?uid=ann")
	s.Send("/chat", "text", note{Text: data})
	return s
}

func message(members string) string {
	return `{"action":"SYSTEM","event":"e","channelName":"c","requestId":"r","payload":{}` + members + `}`
}

var failures = []failure{
	{"declined", func(_ *testing.T, d *pondtest.Driver) {
		d.Connect(pondtest.SSE, "/socket?uid=nobody")
	}, "SSE 1 (/socket?uid=nobody): declined with 403 Forbidden: who are you?"},
	{"accepted", func(_ *testing.T, d *pondtest.Driver) {
		d.Declined(pondtest.WebSocket, "/socket?uid=ann")
	}, "WebSocket 1 (/socket?uid=ann): accepted with 101 Switching Protocols, want declined"},
	{"unknown transport", func(_ *testing.T, d *pondtest.Driver) {
		d.Connect("pigeon", "/socket")
	}, `unknown transport "pigeon"`},
	{"malformed target", func(_ *testing.T, d *pondtest.Driver) {
		d.Connect(pondtest.SSE, "/%zz")
	}, `invalid URL escape "%zz"`},
	{"no answer", func(_ *testing.T, d *pondtest.Driver) {
		d.Connect(pondtest.SSE, "/raw")
	}, "SSE 1 (/raw): no answer: unexpected EOF"},
	{"no proof of the handshake", func(_ *testing.T, d *pondtest.Driver) {
		d.Connect(pondtest.WebSocket, "/raw", pondtest.Header("Raw", switching+"\r\n"))
	}, `accepted in the wrong way: Sec-WebSocket-Accept is ""`},
	{"other upgrade", func(_ *testing.T, d *pondtest.Driver) {
		d.Connect(pondtest.WebSocket, "/raw", pondtest.Header("Raw", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\n"))
	}, `accepted in the wrong way: headers Upgrade: "h2c", Connection: ""`},
	{"extension out of nowhere", func(_ *testing.T, d *pondtest.Driver) {
		d.Connect(pondtest.WebSocket, "/raw", pondtest.Header("Raw", switching+proof+"Sec-WebSocket-Extensions: x\r\n\r\n"))
	}, `nobody offered the extensions "x"`},
	{"context takeover", func(_ *testing.T, d *pondtest.Driver) {
		d.Connect(pondtest.WebSocket, "/raw", pondtest.Header("Sec-WebSocket-Extensions", "permessage-deflate"),
			pondtest.Header("Raw", switching+proof+"Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n"))
	}, `extensions "permessage-deflate", but the client understands no context takeover`},
	{"no stream", func(_ *testing.T, d *pondtest.Driver) {
		d.Connect(pondtest.SSE, "/raw", pondtest.Header("Raw", "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n"))
	}, `accepted in the wrong way: Content-Type is "text/html"`},
	{"no CONNECTION", func(_ *testing.T, d *pondtest.Driver) {
		d.Connect(pondtest.SSE, "/raw", pondtest.Header("Raw", streaming+"data: "+message("")+"\n\n"))
	}, `the first message is SYSTEM e on c, request "r": {}, want CONNECT CONNECTION`},
	{"end before CONNECTION", func(_ *testing.T, d *pondtest.Driver) {
		d.Connect(pondtest.SSE, "/raw", pondtest.Header("Raw", streaming))
	}, `waited for the CONNECTION message, but the connection ended with 0 ""`},
	{"broken frame", func(_ *testing.T, d *pondtest.Driver) {
		d.Connect(pondtest.WebSocket, "/raw", pondtest.Header("Raw", switching+proof+"\r\n\xff\xff"))
	}, "WebSocket 1 (/raw): the server broke the protocol: websocket closed with code 1002"},
	{"binary message", func(_ *testing.T, d *pondtest.Driver) {
		d.Connect(pondtest.WebSocket, "/raw", pondtest.Header("Raw", switching+proof+"\r\n\x82\x00"))
	}, "the server broke the protocol: message is not text"},

	{"receive", func(_ *testing.T, d *pondtest.Driver) {
		d.Connect(pondtest.SSE, "/socket?uid=ann").Receive()
	}, "SSE 1 (/socket?uid=ann): waited for a message, but it did not come within 1m0s"},
	{"receive after the end", func(_ *testing.T, d *pondtest.Driver) {
		s := d.Connect(pondtest.WebSocket, "/socket?uid=ann")
		s.Send("/chat", "bye", nil)
		s.Receive()
	}, `waited for a message, but the connection ended with 1001 "bye"`},
	{"expect", func(_ *testing.T, d *pondtest.Driver) {
		s := d.Connect(pondtest.SSE, "/socket?uid=ann")
		s.Send("/chat", "echo", nil)
		s.Expect("echoed")
	}, `waited for event echoed, got BROADCAST noise on /chat, request "0": {}`},
	{"expect in vain", func(_ *testing.T, d *pondtest.Driver) {
		d.Connect(pondtest.SSE, "/socket?uid=ann").Expect("news")
	}, "waited for event news, but it did not come within 1m0s"},
	{"join", func(_ *testing.T, d *pondtest.Driver) {
		s := d.Connect(pondtest.WebSocket, "/mute", pondtest.Query("uid", "ann"))
		s.Send("/chat", "echo", nil)
		s.Stall()
		s.Join("/chat", nil)
	}, `waited for the answer to JOIN_CHANNEL /chat, but it did not come within 1m0s; unread: BROADCAST noise on /chat, request "0": {}; SYSTEM echoed on /chat`},
	{"quiet", func(_ *testing.T, d *pondtest.Driver) {
		s := d.Connect(pondtest.WebSocket, "/socket?uid=ann")
		s.Send("/chat", "flood", note{N: 12})
		s.Quiet()
	}, "expected nothing, got BROADCAST drop on /chat"},
	{"quiet about many", func(_ *testing.T, d *pondtest.Driver) {
		s := d.Connect(pondtest.WebSocket, "/socket?uid=ann")
		s.Send("/chat", "flood", note{N: 12})
		s.Quiet()
	}, "; and 2 more"},
	{"closed", func(_ *testing.T, d *pondtest.Driver) {
		d.Connect(pondtest.WebSocket, "/socket?uid=ann").Closed()
	}, "waited for the end of the connection, but it did not come within 1m0s"},
	{"goodbye without an end", func(_ *testing.T, d *pondtest.Driver) {
		d.Connect(pondtest.WebSocket, "/raw", pondtest.Header("Raw", switching+proof+"\r\n"+
			string(ws.AppendClose(ws.AppendFrame(nil, ws.Text, false, []byte(hello)), 1001, "gone"))+hang)).Closed()
	}, `waited for the end of the connection, but the connection is still open 1m0s after a goodbye with 1001 "gone"`},
	{"goodbye without an answer", func(_ *testing.T, d *pondtest.Driver) {
		d.Connect(pondtest.WebSocket, "/raw", pondtest.Header("Raw", switching+proof+"\r\n"+
			string(ws.AppendFrame(nil, ws.Text, false, []byte(hello)))+hang)).Close()
	}, "said goodbye and waited for the end of the connection, but it did not come within 1m0s"},

	{"send after the end", func(_ *testing.T, d *pondtest.Driver) {
		s := d.Connect(pondtest.WebSocket, "/socket?uid=ann")
		s.Send("/chat", "bye", nil)
		s.Closed()
		s.Send("/chat", "echo", nil)
	}, "sending echo on /chat: "},
	{"post after the end", func(_ *testing.T, d *pondtest.Driver) {
		s := d.Connect(pondtest.SSE, "/socket?uid=ann")
		s.Send("/chat", "bye", nil)
		s.Closed()
		s.Send("/chat", "echo", nil)
	}, "sending echo on /chat: POST was answered with 404 Not Found: no such connection"},
	{"payload", func(_ *testing.T, d *pondtest.Driver) {
		d.Connect(pondtest.SSE, "/socket?uid=ann").Send("/chat", "echo", func() {})
	}, "payload of echo: json: unsupported type: func()"},
	{"deaf server", func(_ *testing.T, d *pondtest.Driver) {
		s := d.Connect(pondtest.WebSocket, "/raw", pondtest.Header("Raw", switching+proof+"\r\n"+
			string(ws.AppendFrame(nil, ws.Text, false, []byte(hello)))+hang))
		s.SendRaw(make([]byte, 1<<20))
	}, "the server did not read for 1m0s"},
	{"answer without end", func(t *testing.T, d *pondtest.Driver) {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "/socket?uid=ann", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		d.Do(req)
	}, "GET /socket?uid=ann: answer 200 OK, but its body does not end: "},
	{"frame over SSE", func(_ *testing.T, d *pondtest.Driver) {
		d.Connect(pondtest.SSE, "/socket?uid=ann").SendFrame(nil)
	}, "SendFrame needs a WebSocket"},
	{"events over WebSocket", func(_ *testing.T, d *pondtest.Driver) {
		d.Connect(pondtest.WebSocket, "/socket?uid=ann").Events()
	}, "Events needs SSE"},
	{"bytes over WebSocket", func(_ *testing.T, d *pondtest.Driver) {
		d.Connect(pondtest.WebSocket, "/socket?uid=ann").Bytes()
	}, "Bytes needs SSE"},
	{"bind", func(t *testing.T, d *pondtest.Driver) {
		s := d.Connect(pondtest.SSE, "/socket?uid=ann")
		var n note
		s.Request("/chat", "echo", map[string]string{"n": "seven"}).Bind(t, &n)
	}, "payload of SYSTEM echoed on /chat"},
}

// invalid has what a server must not send, and why.
var invalid = map[string]string{
	`two documents in one message`: "invalid character",
	`{} {}`:                        "invalid character '{' after top-level value",
	"{\n}":                         "it has more than one line",
	`[]`:                           "cannot unmarshal array",
	`{"Action":"SYSTEM"}`:          "action is not a string",
	`{"action":"SYSTEM","event":null}`:                                                              "event is not a string",
	`{"action":"SYSTEM","event":"e","channelName":"c"}`:                                             "requestId is not a string",
	`{"action":"SYSTEM","event":"e","channelName":"c","requestId":"r","payload":null}`:              "payload is not an object",
	`{"action":"SHOUT","event":"e","channelName":"c","requestId":"r","payload":{}}`:                 `there is no action "SHOUT"`,
	`{"action":"PRESENCE","event":"join","channelName":"c","requestId":"r","payload":{}}`:           `presence has no event "join"`,
	`{"action":"PRESENCE","event":"JOIN","channelName":"c","requestId":"r","payload":{}}`:           "changed and the elements of presence must be objects",
	`{"action":"PRESENCE","event":"JOIN","channelName":"c","requestId":"r","payload":{"changed":1}}`: "cannot unmarshal number",
	`{"action":"PRESENCE","event":"JOIN","channelName":"c","requestId":"r","payload":{"changed":{},"presence":[null]}}`: "changed and the elements of presence must be objects",
}
