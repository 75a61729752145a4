package codec_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/coder/websocket"
	"github.com/pondsocket/pond/internal/ws"
)

// A tape is a connection whose other end has already sent everything.
type tape struct {
	net.Conn // nil: deadlines are not set for a context without one

	in  bytes.Reader
	out bytes.Buffer
}

// errEnd is the end of a tape. io.EOF would end a message that is incomplete.
var errEnd = errors.New("end of the tape")

func (t *tape) Read(p []byte) (int, error) {
	n, err := t.in.Read(p)
	if err != nil {
		err = errEnd
	}
	return n, err
}

func (t *tape) Write(p []byte) (int, error) { return t.out.Write(p) }
func (t *tape) Close() error                { return nil }

// offer is the extension header of both sides.
const offer = "permessage-deflate; client_no_context_takeover; server_no_context_takeover"

// open returns a coder/websocket connection that reads a tape.
func open(t *testing.T, r rules, tape *tape, rec *record) *websocket.Conn {
	mode := websocket.CompressionDisabled
	if r.deflate {
		mode = websocket.CompressionNoContextTakeover
	}
	onPing := func(_ context.Context, data []byte) bool { rec.add("ping", data); return false }
	onPong := func(_ context.Context, data []byte) { rec.add("pong", data) }
	var conn *websocket.Conn
	var err error
	if r.role == ws.Server {
		req := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
		req.Header = http.Header{
			"Connection": {"Upgrade"}, "Upgrade": {"websocket"}, "Sec-Websocket-Version": {"13"},
			"Sec-Websocket-Key": {"AAAAAAAAAAAAAAAAAAAAAA=="}, "Sec-Websocket-Extensions": {offer},
		}
		conn, err = websocket.Accept(&hijacked{httptest.NewRecorder(), tape}, req, &websocket.AcceptOptions{
			CompressionMode: mode, OnPingReceived: onPing, OnPongReceived: onPong,
		})
	} else {
		conn, _, err = websocket.Dial(t.Context(), "ws://example.com/", &websocket.DialOptions{
			HTTPClient:      &http.Client{Transport: upgraded{tape, r.deflate}},
			CompressionMode: mode, OnPingReceived: onPing, OnPongReceived: onPong,
		})
	}
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

// hijacked is a ResponseWriter whose connection is a tape.
type hijacked struct {
	http.ResponseWriter
	tape *tape
}

func (h *hijacked) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return h.tape, bufio.NewReadWriter(bufio.NewReader(h.tape), bufio.NewWriter(h.tape)), nil
}

// upgraded responds to every request with a tape as the connection.
type upgraded struct {
	tape    *tape
	deflate bool
}

func (u upgraded) RoundTrip(req *http.Request) (*http.Response, error) {
	h := http.Header{
		"Connection": {"Upgrade"}, "Upgrade": {"websocket"},
		"Sec-Websocket-Accept": {ws.AcceptKey(req.Header.Get("Sec-WebSocket-Key"))},
	}
	if u.deflate {
		h.Set("Sec-WebSocket-Extensions", offer)
	}
	return &http.Response{StatusCode: http.StatusSwitchingProtocols, Header: h, Body: u.tape, Request: req}, nil
}

// theirs returns the events that coder/websocket reports for a stream.
func theirs(t *testing.T, r rules, stream []byte) verdict {
	var rec record
	tape := &tape{in: *bytes.NewReader(stream)}
	conn := open(t, r, tape, &rec)
	defer conn.CloseNow()
	conn.SetReadLimit(-1)
	if r.limit > 0 {
		conn.SetReadLimit(int64(r.limit))
	}
	for {
		typ, data, err := conn.Read(context.WithoutCancel(t.Context()))
		if err == nil {
			rec.add(names[ws.Opcode(typ)], data)
			continue
		}
		v := verdict{events: rec.events}
		closed, ok := errors.AsType[websocket.CloseError](err)
		switch {
		case ok:
			rec.closed(int(closed.Code), closed.Reason)
			v.events = rec.events
		case !errors.Is(err, errEnd):
			v.refused = true
			v.code = sentCode(t, r, tape.out.Bytes())
		}
		return v
	}
}

// sentCode returns the code of the close frame in the output of a side, or 0.
func sentCode(t *testing.T, r rules, sent []byte) (code int) {
	if i := bytes.Index(sent, []byte("\r\n\r\n")); i >= 0 {
		sent = sent[i+4:]
	}
	var d ws.Decoder
	d.Init(&ws.Config{}, 1-r.role, r.deflate)
	var c closing
	if err := d.Feed(sent, &c); err != nil {
		t.Fatalf("coder/websocket sent an invalid stream: %v", err)
	}
	return c.code
}

// closing is a Sink for the close frame.
type closing struct {
	record
	code int
}

func (c *closing) PeerClosed(code int, _ string) error {
	c.code = code
	return nil
}
