package doctor

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptrace"
	"strings"
	"time"
)

// checkAddress checks that there is an HTTP server.
func (x *checker) checkAddress(ctx context.Context) {
	var peer string
	trace := &httptrace.ClientTrace{GotConn: func(c httptrace.GotConnInfo) { peer = c.Conn.RemoteAddr().String() }}
	limited, cancel := x.limit(httptrace.WithClientTrace(ctx, trace))
	defer cancel()
	req, err := x.request(limited, http.MethodGet, "")
	if err != nil {
		x.unreachable(err)
		return
	}
	start := time.Now()
	resp, err := x.client.Do(req)
	if err != nil {
		x.unreachable(err)
		return
	}
	defer resp.Body.Close()
	a := newAnswer(resp)
	x.checkAnswer(a, peer, since(start))
	x.checkTLS(resp.TLS)
}

// checkAnswer checks the response to a plain request, without a transport.
func (x *checker) checkAnswer(a answer, peer string, took time.Duration) {
	var text, fix string
	switch {
	case a.status/100 == 3:
		text, fix = fmt.Sprintf("redirected to %s, but clients do not follow redirects", a.header.Get("Location")), "use that URL"
	case a.ofProxy():
		text = "a proxy responds, but the server behind it does not: " + a.String()
		fix = "check that the server runs, and that the proxy has its address"
	case a.status == http.StatusNotFound && strings.Contains(a.text, "no endpoint at this path"):
		text = a.String()
		fix = "check the path that the server receives: remove a prefix with http.StripPrefix, or make the proxy pass the path unchanged"
	case a.status == http.StatusBadRequest && strings.Contains(a.text, "HTTPS"):
		text, fix = "the server requires HTTPS: "+a.String(), "use https"
	default:
		x.ok(address, "%s at %s, first response after %v%s", a.proto, peer, took, a.server())
		return
	}
	x.noTransport = true
	x.problem(address, text, fix)
}

// unreachable reports why there is no response.
func (x *checker) unreachable(err error) {
	x.noTransport = true
	check, fix := address, "check the address, the firewalls, and that the server runs"
	if _, ok := errors.AsType[*net.DNSError](err); ok {
		fix = "check the host name"
	}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		check = encryption
		fix = "use a certificate for this name from an authority that clients trust, and send its whole chain; -insecure ignores this"
	}
	if errors.Is(err, http.ErrSchemeMismatch) {
		check, fix = encryption, "use http, or enable TLS in the server or in a proxy"
	}
	x.problem(check, x.withoutURL(err).Error(), fix)
}

// checkTLS checks the encryption.
func (x *checker) checkTLS(state *tls.ConnectionState) {
	switch {
	case state == nil && !local(x.URL.Hostname()):
		x.warn(encryption, "not encrypted", "use https: without it, others can read the messages, and proxies can break the connections")
		return
	case state == nil:
		x.ok(encryption, "not encrypted, on this machine")
		return
	case x.Insecure:
		x.warn(encryption, tls.VersionName(state.Version)+", the certificate is not checked", "omit -insecure")
		return
	}
	const soon = 14 * 24 * time.Hour
	end := state.PeerCertificates[0].NotAfter
	if left := time.Until(end); left < soon {
		x.warn(encryption, fmt.Sprintf("the certificate expires in %d hours", int(left.Hours())), "renew it")
		return
	}
	x.ok(encryption, "%s, certificate valid until %s", tls.VersionName(state.Version), end.Format(time.DateOnly))
}

func local(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
