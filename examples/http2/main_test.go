package main

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"testing"

	"github.com/pondsocket/pond"

	"github.com/pondsocket/pond/examples/internal/hosttest"
	"github.com/pondsocket/pond/examples/internal/selfsigned"
)

func serve(ctx context.Context, l net.Listener) error {
	p := pond.New()
	chat(p)
	return p.Serve(ctx, newServer(p), l)
}

// transport uses HTTP/2 without TLS, except for upgrades.
type transport struct{ http1, http2 http.RoundTripper }

func newTransport() transport {
	only := new(http.Protocols)
	only.SetUnencryptedHTTP2(true)
	return transport{&http.Transport{}, &http.Transport{Protocols: only}}
}

func (tr transport) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Header.Get("Upgrade") != "" {
		return tr.http1.RoundTrip(r)
	}
	return tr.http2.RoundTrip(r)
}

func TestWithoutTLS(t *testing.T) {
	addr, stop := hosttest.Serve(t, serve)
	to := hosttest.Target{URL: "http://" + addr + "/api/socket", HTTP: &http.Client{Transport: newTransport()}}
	if resp := hosttest.Dial(t, hosttest.SSE, to).Response; resp.ProtoMajor != 2 {
		t.Errorf("an event stream over %s", resp.Proto)
	}
	hosttest.Chat(t, to)
	hosttest.Prefix(t, to)
	hosttest.Goodbye(t, to, stop)
}

// Clients without HTTP/2 use the same port.
func TestHTTP1(t *testing.T) {
	hosttest.Run(t, "/api/socket", serve)
}

// Over TLS, ALPN selects the protocol. Event streams use HTTP/2. For a WebSocket, a browser
// offers only http/1.1, unless the server announced RFC 8441.
func TestOverTLS(t *testing.T) {
	cert, err := selfsigned.Certificate()
	if err != nil {
		t.Fatal(err)
	}
	addr, stop := hosttest.Serve(t, func(ctx context.Context, l net.Listener) error {
		return serve(ctx, tls.NewListener(l, &tls.Config{
			Certificates: []tls.Certificate{cert},
			MinVersion:   tls.VersionTLS12,
			NextProtos:   []string{"h2", "http/1.1"},
		}))
	})
	for _, offer := range [][]string{{"h2", "http/1.1"}, {"http/1.1"}} {
		cfg := selfsigned.Trust(cert)
		cfg.NextProtos = offer
		conn, err := tls.Dial("tcp", addr, cfg)
		if err != nil {
			t.Fatal(err)
		}
		if got := conn.ConnectionState().NegotiatedProtocol; got != offer[0] {
			t.Errorf("offer %q: got %q", offer, got)
		}
		conn.Close()
	}
	to := hosttest.Target{
		URL:  "https://" + addr + "/api/socket",
		HTTP: &http.Client{Transport: &http.Transport{TLSClientConfig: selfsigned.Trust(cert), ForceAttemptHTTP2: true}},
	}
	for tr, major := range map[hosttest.Transport]int{hosttest.WebSocket: 1, hosttest.SSE: 2} {
		s := hosttest.Dial(t, tr, to)
		if s.Response.ProtoMajor != major {
			t.Errorf("%s over %s", tr, s.Response.Proto)
		}
		s.End()
	}
	hosttest.Chat(t, to)
	hosttest.Goodbye(t, to, stop)
}
