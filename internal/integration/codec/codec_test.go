// Package codec_test compares the WebSocket codec and transport of pond with an
// implementation that has nothing in common with them, coder/websocket.
//
// TestPeers lets a client of theirs talk to a server of ours, and TestClients a
// client of ours to a server of theirs: messages of all sizes, whole and in
// fragments, compressed and not, with pings in between, until one of them says
// goodbye. What one side has sent is what the other side gets.
//
// TestStreams feeds both, in both roles, with streams of frames of which many are
// malformed. A judge that knows RFC 6455 and nothing of either says what has to
// come out, and with which close code such a stream is refused. We must agree with
// it in everything, and they in everything but what [lenient] lists.
package codec_test

import (
	"flag"
	"fmt"
	"os"
	"testing"

	"github.com/pondsocket/pond/internal/ws"
)

func TestMain(m *testing.M) {
	// Few seconds; -rapid.checks on the command line comes later and wins.
	if err := flag.Set("rapid.checks", fmt.Sprint(checks)); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

// A record is what came out of a decoder.
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
