// Package codec_test compares the WebSocket codec and transport of pond with an
// independent implementation, coder/websocket.
//
// TestPeers connects a coder/websocket client to a pond server, and TestClients a
// pond client to a coder/websocket server. They exchange messages of all sizes, whole
// and in fragments, compressed and uncompressed, with pings in between, until one side
// closes the connection. Each side must receive exactly the messages of the other.
//
// TestStreams sends streams of frames to both implementations, in both roles. Many
// frames are malformed. A judge, written from RFC 6455 alone, computes the expected
// events and the close code for an invalid stream. pond must always agree with the
// judge, and coder/websocket except for the rules in [lenient].
package codec_test

import (
	"flag"
	"fmt"
	"os"
	"testing"

	"github.com/pondsocket/pond/internal/ws"
)

func TestMain(m *testing.M) {
	// A few seconds. The command line is parsed later, so -rapid.checks overrides this.
	if err := flag.Set("rapid.checks", fmt.Sprint(checks)); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

// A record has the events that a decoder reported.
type record struct{ events []string }

func (r *record) add(kind string, data []byte) {
	r.events = append(r.events, kind+" "+string(data))
}

func (r *record) closed(code int, reason string) {
	r.add("close", fmt.Appendf(nil, "%d %s", code, reason))
}

func (r *record) Message(op ws.Opcode, data []byte) error {
	r.add(names[op], data)
	return nil
}

func (r *record) Control(op ws.Opcode, data []byte) error { return r.Message(op, data) }

func (r *record) PeerClosed(code int, reason string) error {
	r.closed(code, reason)
	return nil
}

var names = map[ws.Opcode]string{ws.Text: "text", ws.Binary: "binary", ws.Ping: "ping", ws.Pong: "pong"}
