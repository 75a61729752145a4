package main

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"time"

	"github.com/pondsocket/pond/internal/load"
)

// aim points the bench at its URL.
func (b *bench) aim(ctx context.Context) error {
	u, err := benchURL(b.url)
	if err != nil {
		return err
	}
	addr, local, err := reach(ctx, net.JoinHostPort(u.Hostname(), cmp.Or(u.Port(), "80")))
	if err != nil {
		return err
	}
	b.config.Addr, b.config.Host = addr, u.Host
	b.pond.Path = u.RequestURI()
	u.RawQuery = "" // may be secret
	b.pond.Name = u.Redacted()
	b.config.Dialect = b.pond
	if len(b.config.PIDs) == 0 && local {
		b.config.PIDs, err = load.FindPIDs(addr)
	}
	return err
}

// benchURL reads the URL of an endpoint as people write it.
func benchURL(text string) (*url.URL, error) {
	u, err := parseURL(text)
	switch {
	case err != nil:
		return nil, senseless("%v", err)
	case u.Scheme == "https" || u.Scheme == "wss":
		return nil, senseless("%s needs TLS, which bench does not speak: name the server itself, behind what ends TLS for it", u.Redacted())
	case u.Scheme != "http" && u.Scheme != "ws":
		return nil, senseless("%q is no URL: write http://127.0.0.1:8000/socket", text)
	case u.Hostname() == "":
		return nil, senseless("%q names no host", text)
	}
	return u, nil
}

// reach connects once to find the IP address at which a server answers, and whether
// that is this machine.
func reach(ctx context.Context, addr string) (ip string, local bool, err error) {
	c, err := (&net.Dialer{Timeout: 5 * time.Second}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return "", false, fmt.Errorf("nobody answers: %w", err)
	}
	defer c.Close()
	there, err := netip.ParseAddrPort(c.RemoteAddr().String())
	if err != nil {
		return "", false, err
	}
	here, err := netip.ParseAddrPort(c.LocalAddr().String())
	return there.String(), there.Addr().IsLoopback() || there.Addr() == here.Addr(), err
}
