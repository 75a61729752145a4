package server_test

import (
	"bufio"
	"crypto/tls"
	"io"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/pondsocket/pond/internal/suite/kit"
)

// Over TLS, too, a message is handled as soon as it is complete, even if the first
// bytes of the next message arrived with it.
func TestTLSMessageDoesNotWaitForTheNext(t *testing.T) {
	p, _, _ := kit.NewPond()
	server := httptest.NewTLSServer(p)
	defer server.Close()
	conn, err := tls.Dial("tcp", server.Listener.Addr().String(), &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(kit.Patience))
	_, err = io.WriteString(conn, "GET /socket HTTP/1.1\r\nHost: pond\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
	if err != nil {
		t.Fatal(err)
	}
	r := bufio.NewReader(conn)
	expect := func(what string) {
		t.Helper()
		for seen := ""; !strings.Contains(seen, what); {
			part, err := r.ReadString('}')
			if err != nil {
				t.Fatalf("after %q: %v", seen, err)
			}
			seen += part
		}
	}
	expect("CONNECTION") // from now on the server reads from conn, not from the buffer of the handshake
	msg := kit.JoinMessage(1)
	whole := string([]byte{0x81, byte(0x80 | len(msg)), 0, 0, 0, 0}) + msg
	if _, err := io.WriteString(conn, whole+whole[:10]); err != nil {
		t.Fatal(err)
	}
	expect("ACKNOWLEDGE")
}
