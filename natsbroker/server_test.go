package natsbroker_test

import (
	"bufio"
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/pondsocket/pond/internal/testserver"
)

// startServer starts a nats-server, which ends with the test.
func startServer(t testing.TB, args ...string) *testserver.Server {
	t.Helper()
	s := testserver.NewNATS(t, args...)
	s.Start()
	return s
}

// greeting returns a server's description of itself.
func greeting(addr string) (info string, err error) {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	info, err = bufio.NewReader(conn).ReadString('\n')
	if err == nil && !strings.HasPrefix(info, "INFO ") {
		err = fmt.Errorf("greeting %q", info)
	}
	return info, err
}
