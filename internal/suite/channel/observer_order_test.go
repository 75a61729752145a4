package channel_test

import (
	"io"
	"net"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/pondsocket/pond"
	"github.com/pondsocket/pond/internal/suite/kit"
)

// reports collects the notifications of an Observer, for each client.
type reports struct {
	mu sync.Mutex // guards the following field
	of map[string][]string
}

func (r *reports) add(id, report string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.of[id] = append(r.of[id], report)
}

// clients returns how many clients were reported.
func (r *reports) clients() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.of)
}

func (r *reports) observer() *pond.Observer {
	return &pond.Observer{
		Connected:    func(_ *pond.Endpoint, id string, _ pond.Transport) { r.add(id, "Connected") },
		Disconnected: func(_ *pond.Endpoint, id string, _ pond.Transport, _ error) { r.add(id, "Disconnected") },
		Joined:       func(_ *pond.Channel, u pond.User) { r.add(u.ID, "Joined") },
		Left:         func(_ *pond.Channel, u pond.User, _ pond.LeaveReason) { r.add(u.ID, "Left") },
	}
}

// The events of one client are reported in order, even if the client disconnects at once.
func TestFault05_OrderOfReports(t *testing.T) {
	n := 2000 / kit.Slowdown
	for name, request := range map[string]string{
		"WebSocket": "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n" +
			string([]byte{0x81, byte(0x80 | len(kit.JoinMessage(0))), 0, 0, 0, 0}) + kit.JoinMessage(0) +
			string([]byte{0x88, 0x80, 0, 0, 0, 0}),
		"SSE": "Accept: text/event-stream\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			r := &reports{of: map[string][]string{}}
			p := pond.New(pond.WithLogger(kit.Silent), pond.WithObserver(r.observer()))
			e := p.Endpoint("/socket", kit.Accept)
			e.Lobby("/chat/:room", kit.Admit)
			server := httptest.NewServer(p)
			defer server.Close()
			// On a busy machine, all clients may be gone before the server looks at them.
			for range 20 {
				var clients sync.WaitGroup
				for range 8 {
					clients.Go(func() {
						for range n / 8 {
							conn, err := net.Dial("tcp", server.Listener.Addr().String())
							if err == nil {
								_, err = io.WriteString(conn, "GET /socket HTTP/1.1\r\nHost: pond\r\n"+request)
								conn.Close()
							}
							if err != nil {
								t.Error(err)
								return
							}
						}
					})
				}
				clients.Wait()
				if r.clients() > 0 {
					break
				}
			}
			if err := p.Shutdown(t.Context()); err != nil {
				t.Fatal(err)
			}
			if r.clients() == 0 {
				t.Error("no client is reported")
			}
			joined := 0
			for _, got := range r.of {
				switch text := strings.Join(got, " "); text {
				case "Connected Joined Left Disconnected":
					joined++
				case "Connected Disconnected":
				default:
					t.Errorf("a client is reported as %s", text)
				}
			}
			t.Logf("%d clients are reported, %d of them joined", len(r.of), joined)
		})
	}
}
