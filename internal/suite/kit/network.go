package kit

import (
	"context"
	"net"
	"net/http"
	"testing"
	"testing/synctest"

	"github.com/pondsocket/pond"
	"github.com/pondsocket/pond/internal/pipenet"
)

// Protocols are the versions of HTTP that [OnNetwork] can use.
var Protocols = []string{"HTTP/1.1", "HTTP/2"}

// OnNetwork serves p over a network in memory, in a synctest bubble, and runs test with
// an HTTP client. Over HTTP/2, the client makes all requests on one connection. dial
// opens another connection. When test returns, the connections of the client end.
func OnNetwork(t *testing.T, p *pond.Pond, protocol string, test func(t *testing.T, client *http.Client, dial func() net.Conn)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		var protocols http.Protocols
		protocols.SetHTTP1(protocol != "HTTP/2")
		protocols.SetUnencryptedHTTP2(protocol == "HTTP/2")
		listener := pipenet.Listen(0)
		ctx, stop := context.WithCancel(t.Context())
		served := make(chan error, 1)
		go func() { served <- p.Serve(ctx, &http.Server{Protocols: &protocols}, listener) }()
		requests, cancel := context.WithCancel(context.WithoutCancel(ctx))
		transport := &http.Transport{
			Protocols: &protocols,
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				conn, err := listener.Dial(ctx)
				if err != nil {
					return nil, err
				}
				context.AfterFunc(requests, func() { conn.Close() })
				return conn, nil
			},
		}
		test(t, &http.Client{Transport: transport}, func() net.Conn {
			conn, err := listener.Dial(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			context.AfterFunc(requests, func() { conn.Close() })
			return conn
		})
		cancel()
		transport.CloseIdleConnections()
		synctest.Wait()
		stop()
		if err := <-served; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
}
