package kit

import (
	"net/http"
	"testing"

	"github.com/pondsocket/pond/internal/ws"
	"github.com/pondsocket/pond/pondtest"
)

// BinaryMessages is the mode of a WebSocket that sends binary messages instead of text.
// The other modes are the names of the transports.
const BinaryMessages = "WebSocket binary"

// SendAs sends text as one message in a mode.
func SendAs(t *testing.T, d *pondtest.Driver, mode string, s *pondtest.Session, text string) {
	t.Helper()
	switch mode {
	case string(pondtest.SSE):
		if status := d.Push(s, []byte(text)); status != http.StatusNoContent {
			t.Errorf("status %d for %q", status, text)
		}
	case BinaryMessages:
		s.SendFrame(ws.AppendMasked(nil, ws.Binary, true, false, [4]byte{1, 2, 3, 4}, []byte(text)))
	default:
		s.SendRaw([]byte(text))
	}
}

// TransportOf returns the transport that a mode uses.
func TransportOf(mode string) pondtest.Transport {
	if mode == string(pondtest.SSE) {
		return pondtest.SSE
	}
	return pondtest.WebSocket
}
