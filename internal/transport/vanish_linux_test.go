//go:build linux && !386

package transport_test

import (
	"errors"
	"io"
	"net"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pondsocket/pond/internal/transport"
)

// The server detects after about two heartbeats that the client of an event stream
// vanished from the network, as for a WebSocket. A client that only stops reading is
// not closed. The test takes as long as the kernel needs for three retransmissions,
// about two seconds.
func TestFault20_VanishedStreamIsNoticed(t *testing.T) {
	cfg := testConfig()
	cfg.PingInterval, cfg.WriteTimeout = 250*time.Millisecond, 250*time.Millisecond
	s := serve(t, cfg)

	paused := openStreamConn(t, s.Server)
	if err := paused.(*net.TCPConn).SetReadBuffer(4 << 10); err != nil {
		t.Fatal(err)
	}
	pausedPeer := receive(t, s.conns)
	for range 64 { // more than fits into its window; the rest is in the server's socket
		pausedPeer.Send(frame(`"` + strings.Repeat("x", 4<<10) + `"`))
	}

	vanished := openStreamConn(t, s.Server)
	peer := receive(t, s.conns)
	dropIncoming(t, vanished.(*net.TCPConn))
	if cause := receive(t, peer.closed); !errors.Is(cause, transport.ErrTimeout) {
		t.Errorf("the connection ended with %v", cause)
	}
	if len(pausedPeer.closed) > 0 {
		t.Errorf("the paused client was closed: %v", <-pausedPeer.closed)
	}
}

// openStreamConn connects to an event stream.
func openStreamConn(t *testing.T, s *httptest.Server) net.Conn {
	conn, err := net.Dial("tcp", s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	_ = conn.SetReadDeadline(time.Now().Add(20 * time.Second))
	if _, err := conn.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	return conn
}

// dropIncoming makes the client's host drop all packets for a connection, as if it had
// vanished from the network.
func dropIncoming(t *testing.T, conn *net.TCPConn) {
	raw, err := conn.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	drop := []syscall.SockFilter{*syscall.LsfStmt(syscall.BPF_RET|syscall.BPF_K, 0)} //nolint:staticcheck // tests have no other module for it
	attach := func(fd uintptr) { err = syscall.AttachLsf(int(fd), drop) }            //nolint:staticcheck // the same
	if err := errors.Join(raw.Control(attach), err); err != nil {
		t.Fatal(err)
	}
}
