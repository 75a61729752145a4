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

// checkAddress checks whether there is an HTTP server, and how it is reached.
func (x *exam) checkAddress(ctx context.Context) {
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

// checkAnswer judges the answer to a request that is for no transport.
func (x *exam) checkAnswer(a answer, peer string, took time.Duration) {
	var text, remedy string
	switch {
	case a.status/100 == 3:
		text, remedy = fmt.Sprintf("redirected to %s: clients do not follow", a.header.Get("Location")), "use that URL"
	case a.status >= 502 && a.status <= 504:
		text = "a proxy answers, the server behind it does not: " + a.String()
		remedy = "check that the server runs, and its address in the proxy"
	case a.status == http.StatusNotFound && strings.Contains(a.text, "no endpoint at this path"):
		text = a.String()
		remedy = "check the path that the server sees: either it has a prefix to take off (http.StripPrefix), or a proxy changes it"
	case a.status == http.StatusBadRequest && strings.Contains(a.text, "HTTPS"):
		text, remedy = "the server speaks HTTPS: "+a.String(), "use https"
	default:
		x.ok(address, "%s at %s, first answer after %v%s", a.proto, peer, took, a.server())
		return
	}
	x.hopeless = true
	x.problem(address, text, remedy)
}

// unreachable says why nothing answers.
func (x *exam) unreachable(err error) {
	x.hopeless = true
	check, remedy := address, "check the address, that the server runs, and the firewalls"
	if _, ok := errors.AsType[*net.DNSError](err); ok {
		remedy = "check the name"
	}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		check = encryption
		remedy = "get a certificate for this name from an authority that clients know, and send its whole chain; -insecure goes on regardless"
	}
	if errors.Is(err, http.ErrSchemeMismatch) {
		check, remedy = encryption, "use http, or let the server or a proxy speak TLS here"
	}
	x.problem(check, x.plain(err).Error(), remedy)
}

// checkTLS judges the encryption.
func (x *exam) checkTLS(state *tls.ConnectionState) {
	switch {
	case state == nil && !local(x.URL.Hostname()):
		x.warn(encryption, "not encrypted", "use https: what is not encrypted can be read, and proxies on the way break it")
		return
	case state == nil:
		x.ok(encryption, "not encrypted, on this machine")
		return
	case x.Insecure:
		x.warn(encryption, tls.VersionName(state.Version)+", the certificate is not checked", "leave -insecure out")
		return
	}
	const soon = 14 * 24 * time.Hour
	end := state.PeerCertificates[0].NotAfter
	if left := time.Until(end); left < soon {
		x.warn(encryption, fmt.Sprintf("the certificate ends in %d hours", int(left.Hours())), "renew it")
		return
	}
	x.ok(encryption, "%s, certificate until %s", tls.VersionName(state.Version), end.Format(time.DateOnly))
}

func local(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
