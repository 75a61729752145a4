package ws_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/pondsocket/pond/internal/ws"
)

// recorder is a Sink that records its calls.
type recorder struct {
	events []string
	err    error // the result of all calls
}

func (r *recorder) Message(op ws.Opcode, data []byte) error {
	r.events = append(r.events, message(op, string(data)))
	return r.err
}

func (r *recorder) Control(op ws.Opcode, data []byte) error {
	r.events = append(r.events, message(op, string(data)))
	return r.err
}

func (r *recorder) PeerClosed(code int, reason string) error {
	r.events = append(r.events, closed(code, reason))
	return r.err
}

func message(op ws.Opcode, data string) string {
	name := map[ws.Opcode]string{ws.Text: "text", ws.Binary: "binary", ws.Ping: "ping", ws.Pong: "pong"}[op]
	return fmt.Sprintf("%s %q", name, data)
}

func closed(code int, reason string) string { return fmt.Sprintf("close %d %q", code, reason) }

// counter is a Sink that costs nothing.
type counter struct{ messages, bytes int }

func (c *counter) Message(_ ws.Opcode, data []byte) error {
	c.messages++
	c.bytes += len(data)
	return nil
}

func (*counter) Control(ws.Opcode, []byte) error { return nil }
func (*counter) PeerClosed(int, string) error    { return nil }

var unlimited = &ws.Config{}

var testKey = [4]byte{0x37, 0xfa, 0x21, 0x3d}

func newDecoder(cfg *ws.Config, role ws.Role, deflate bool) *ws.Decoder {
	d := new(ws.Decoder)
	d.Init(cfg, role, deflate)
	return d
}

// feed decodes a copy of data in pieces of the given size, or at once if it is
// zero, and returns the events and the error.
func feed(d *ws.Decoder, data []byte, size int) ([]string, error) {
	var rec recorder
	if size == 0 {
		err := d.Feed(slices.Clone(data), &rec)
		return rec.events, err
	}
	for piece := range slices.Chunk(slices.Clone(data), size) {
		if err := d.Feed(piece, &rec); err != nil {
			return rec.events, err
		}
	}
	return rec.events, nil
}

// frame is a final, masked, uncompressed frame.
func frame(op ws.Opcode, payload string) []byte { return part(op, true, payload) }

// part is a masked, uncompressed frame.
func part(op ws.Opcode, fin bool, payload string) []byte {
	return ws.AppendMasked(nil, op, fin, false, testKey, []byte(payload))
}

func join(frames ...[]byte) []byte { return slices.Concat(frames...) }

func closeCode(t *testing.T, err error) int {
	t.Helper()
	if err == nil {
		return 0
	}
	closeErr, ok := errors.AsType[*ws.CloseError](err)
	if !ok {
		t.Fatalf("error is %T (%v), want a *ws.CloseError", err, err)
	}
	return closeErr.Code
}
