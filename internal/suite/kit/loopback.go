package kit

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pondsocket/pond"
)

// JoinMessage returns the message with which client i joins /chat/1. It is shorter than
// 126 bytes, so its length fits into two bytes of a WebSocket frame.
func JoinMessage(i int) string {
	return fmt.Sprintf(`{"action":"JOIN_CHANNEL","event":"JOIN_CHANNEL","channelName":"/chat/1","requestId":"%d","payload":{}}`, i)
}

// Patience is how long tests wait for an event. Only a failing test waits this long.
const Patience = 2 * time.Minute

// NoPings is for servers whose clients do not answer heartbeats, and are connected for a long
// time on a slow machine.
func NoPings() pond.EndpointOption { return pond.WithPingInterval(time.Hour) }

// Clients connects n clients at the same time over loopback. Each joins /chat/1 of
// a server from [NewPond].
func Clients(t *testing.T, addr string, n int) []net.Conn {
	t.Helper()
	conns := make([]net.Conn, n)
	var wg sync.WaitGroup
	for i := range conns {
		wg.Go(func() {
			conn, err := Joined(addr, i)
			if err != nil {
				t.Error(err)
			}
			conns[i] = conn
		})
	}
	wg.Wait()
	if t.Failed() {
		t.FailNow()
	}
	return conns
}

// Joined connects client i, which joins /chat/1.
func Joined(addr string, i int) (net.Conn, error) {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	return conn, Join(conn, i)
}

// Join makes conn the WebSocket of client i, which joins /chat/1.
func Join(conn net.Conn, i int) error {
	_ = conn.SetDeadline(time.Now().Add(Patience))
	msg := JoinMessage(i)
	_, err := io.WriteString(conn, "GET /socket HTTP/1.1\r\nHost: pond\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"+
		string([]byte{0x81, byte(0x80 | len(msg)), 0, 0, 0, 0})+msg)
	if err != nil {
		return err
	}
	return Expect(bufio.NewReader(conn), "ACKNOWLEDGE")
}

// Expect reads until the text what arrives.
func Expect(r *bufio.Reader, what string) error {
	for seen := ""; !strings.Contains(seen, what); {
		part, err := r.ReadString('}')
		if err != nil {
			return fmt.Errorf("after %q: %w", seen, err)
		}
		seen += part
	}
	return nil
}

// Eventually waits until ok returns true.
func Eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(Patience)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not after %v", what, Patience)
		}
		runtime.Gosched()
	}
}
