package hosttest

import (
	"context"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
)

// A Host serves on l until ctx is done, and returns after the shutdown.
type Host func(ctx context.Context, l net.Listener) error

// Serve runs a host on a free port. stop has the effect of SIGTERM: it waits for the end, and
// fails the test if the host returns an error.
func Serve(t T, host Host) (addr string, stop func()) {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("%v", err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- host(ctx, l) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("the server ended with %v", err)
		}
	})
	t.Cleanup(stop)
	return l.Addr().String(), stop
}

// Run checks that clients of both transports can talk to each other at path, that the prefix
// of path is required, and that SIGTERM shuts the host down gracefully.
func Run(t T, path string, host Host) {
	t.Helper()
	addr, stop := Serve(t, host)
	to := Target{URL: "http://" + addr + path}
	Chat(t, to)
	Prefix(t, to)
	Goodbye(t, to, stop)
}

// Chat connects a client over each transport. They join a channel, send messages and leave.
func Chat(t T, to Target) {
	t.Helper()
	var all []*Session
	for _, tr := range Transports {
		s := Dial(t, tr, to)
		s.Join("/chat/1")
		all = append(all, s)
	}
	for i, speaker := range all {
		text := string(Transports[i]) + " says hello"
		speaker.Say("/chat/1", "message", text)
		for _, s := range all {
			if got := s.Hear("message"); got != `{"text":"`+text+`"}` {
				t.Errorf("%s arrived as %s", text, got)
			}
		}
	}
	for _, s := range all {
		s.End()
	}
}

// Prefix checks that neither the endpoint's path nor the prefix alone reaches the endpoint.
func Prefix(t T, to Target) {
	t.Helper()
	u, err := url.Parse(to.URL)
	if err != nil {
		t.Fatalf("%v", err)
	}
	prefix, path, _ := strings.Cut(strings.TrimPrefix(u.Path, "/"), "/")
	for _, wrong := range []string{"/" + path, "/" + prefix + "/other"} {
		u.Path = wrong
		elsewhere := to
		elsewhere.URL = u.String()
		for _, tr := range Transports {
			if status, body := Refused(t, tr, elsewhere); status != http.StatusNotFound {
				t.Errorf("%s at %s: %d %s", tr, wrong, status, body)
			}
		}
	}
}

// Goodbye stops a server while clients are connected. The clients must be notified, and the
// server must not accept new ones.
func Goodbye(t T, to Target, stop func()) {
	t.Helper()
	var all []*Session
	for _, tr := range Transports {
		s := Dial(t, tr, to)
		s.Join("/chat/1")
		all = append(all, s)
	}
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		stop()
	}()
	for _, s := range all {
		s.Told()
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	select {
	case <-stopped:
	case <-ctx.Done():
		t.Fatalf("the server did not stop")
	}
	if resp, err := to.do(ctx, http.MethodGet, ""); err == nil {
		resp.Body.Close()
		t.Errorf("the server still responds: %s", resp.Status)
	}
}
