package kit

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"sync"
	"testing"

	"github.com/pondsocket/pond"
	"github.com/pondsocket/pond/internal/ws"
	"github.com/pondsocket/pond/pondtest"
)

// A TappedPond records the bytes that it writes to its connections. So a test can check
// the bytes without the driver's decoding.
type TappedPond struct {
	*pond.Pond

	mu   sync.Mutex // guards taps
	taps []*tap
}

// ServeHTTP implements [http.Handler].
func (p *TappedPond) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.Pond.ServeHTTP(tapWriter{w, p}, r)
}

// Run runs test with p as the server. Then it checks every message that p sent to
// any client with [CheckMessage].
func (p *TappedPond) Run(t *testing.T, test func(t *testing.T, d *pondtest.Driver)) {
	t.Helper()
	pondtest.Run(t, p, test)
	n := 0
	for i := range p.Connections() {
		for _, message := range p.Sent(t, i) {
			n++
			if err := CheckMessage(message); err != nil {
				t.Errorf("an official client does not accept %s: %v", message, err)
			}
		}
	}
	if n == 0 {
		t.Error("no message was sent")
	}
}

// Connections returns the number of connections that p had so far.
func (p *TappedPond) Connections() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.taps)
}

// Sent returns the messages that p sent over a connection, WebSocket or event
// stream. Connections are numbered from 0 in the order in which they were opened.
func (p *TappedPond) Sent(t *testing.T, connection int) (messages [][]byte) {
	t.Helper()
	p.mu.Lock()
	c := p.taps[connection]
	p.mu.Unlock()
	c.mu.Lock()
	written := bufio.NewReader(bytes.NewReader(c.written))
	c.mu.Unlock()
	resp, err := http.ReadResponse(written, nil)
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode == http.StatusSwitchingProtocols {
		rest, _ := io.ReadAll(written) // of bytes in memory
		var d ws.Decoder
		d.Init(&ws.Config{}, ws.Client, false)
		if err := d.Feed(rest, &messageSink{&messages}); err != nil {
			t.Errorf("the bytes are not WebSocket frames: %v", err)
		}
		return messages
	}
	stream, err := io.ReadAll(resp.Body)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) { // the stream continues
		t.Errorf("the bytes are not an HTTP body: %v", err)
	}
	for _, e := range ParseEventStream(string(stream)) {
		messages = append(messages, []byte(e.Data))
	}
	return messages
}

// A tap is a connection that stores the bytes that are written to it.
type tap struct {
	net.Conn

	mu      sync.Mutex // guards written
	written []byte
}

func (c *tap) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.written = append(c.written, p[:n]...)
	return n, err
}

type tapWriter struct {
	http.ResponseWriter
	pond *TappedPond
}

func (w tapWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, buf, err := http.NewResponseController(w.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	c := &tap{Conn: conn}
	w.pond.mu.Lock()
	defer w.pond.mu.Unlock()
	w.pond.taps = append(w.pond.taps, c)
	return c, buf, nil
}

// A messageSink collects text messages.
type messageSink struct{ messages *[][]byte }

func (s *messageSink) Message(op ws.Opcode, data []byte) error {
	if op != ws.Text {
		return fmt.Errorf("a message with opcode %d", op)
	}
	*s.messages = append(*s.messages, slices.Clone(data))
	return nil
}

func (*messageSink) Control(ws.Opcode, []byte) error { return nil }

func (*messageSink) PeerClosed(int, string) error { return nil }
