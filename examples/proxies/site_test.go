package proxies_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/pondsocket/pond/examples/internal/hosttest"
	"github.com/pondsocket/pond/examples/internal/selfsigned"
)

// A site is a running proxy in front of one or more servers.
type site struct {
	addr     string // of the proxy
	dir      string // of its files
	backends []string
	cert     tls.Certificate
	t        *testing.T // with which the proxy ends
	command  []string   // that runs the proxy
	stop     func()     // stops the proxy, and waits
}

// newSite runs a proxy until the test ends.
func newSite(t *testing.T, p proxy, backends ...string) *site {
	t.Helper()
	if _, err := exec.LookPath(p.name); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skipf("%v (in Debian it is the package %s)", err, p.name)
	}
	cert, err := selfsigned.Certificate()
	if err != nil {
		t.Fatal(err)
	}
	s := &site{dir: t.TempDir(), backends: backends, cert: cert, t: t}
	s.writeCertificate(t)
	for range 3 { // another program may take the port first
		s.addr = freeAddress(t)
		s.write(t, "config", p.render(t, s))
		s.command = p.command(s.dir)
		if s.stop = run(t, s.command, s.addr); s.stop != nil {
			return s
		}
	}
	t.Fatalf("%s did not start", p.name)
	return nil
}

// restart stops the proxy, which closes all connections, and starts it again.
func (s *site) restart(t *testing.T) {
	t.Helper()
	s.stop()
	if s.stop = run(s.t, s.command, s.addr); s.stop == nil {
		t.Fatal("the proxy did not start again")
	}
}

// A way is a way for a client to connect through a proxy.
type way struct {
	name      string
	transport hosttest.Transport
	http      *http.Client
}

func (s *site) ways(t *testing.T) []way {
	t.Helper()
	return []way{
		{"websocket", hosttest.WebSocket, s.client(t, false)},
		{"stream-http1", hosttest.SSE, s.client(t, false)},
		{"stream-http2", hosttest.SSE, s.client(t, true)},
	}
}

// client returns a client that trusts the site. With http2, it uses HTTP/2, except for
// WebSockets.
func (s *site) client(t *testing.T, http2 bool) *http.Client {
	t.Helper()
	transport := &http.Transport{TLSClientConfig: selfsigned.Trust(s.cert), Protocols: new(http.Protocols)}
	transport.Protocols.SetHTTP1(true)
	transport.Protocols.SetHTTP2(http2)
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

func (s *site) dial(t *testing.T, w way, path, channel string) *hosttest.Session {
	t.Helper()
	session := hosttest.Dial(t, w.transport, s.target(w.http, path))
	session.Join(channel)
	return session
}

func (s *site) target(client *http.Client, path string) hosttest.Target {
	return hosttest.Target{URL: "https://" + s.addr + path, HTTP: client}
}

func (s *site) writeCertificate(t *testing.T) {
	t.Helper()
	key, err := x509.MarshalPKCS8PrivateKey(s.cert.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	public := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.cert.Certificate[0]}))
	private := string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}))
	s.write(t, "cert.pem", public)
	s.write(t, "key.pem", private)
	s.write(t, "both.pem", public+private)
}

func (s *site) write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(s.dir, name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// run starts a program that listens at addr, and stops it at the end of the test. It returns
// a function that stops it earlier, or nil if the program did not start.
func run(t *testing.T, command []string, addr string) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second // after this time, it is killed
	cmd.Dir = t.TempDir()
	cmd.Env = append(os.Environ(), "HOME="+cmd.Dir, "XDG_DATA_HOME="+cmd.Dir, "XDG_CONFIG_HOME="+cmd.Dir)
	cmd.Stdout, cmd.Stderr = t.Output(), t.Output()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	var wait sync.WaitGroup
	wait.Go(func() {
		_ = cmd.Wait() // errors are in the output of the test
		close(ended)
	})
	t.Cleanup(func() {
		cancel()
		wait.Wait()
	})
	stop = func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)                                     // if nginx were killed, its workers would remain
		impatient := time.AfterFunc(time.Second, func() { _ = cmd.Process.Kill() }) // Caddy waits for the streams
		defer impatient.Stop()
		<-ended
	}
	if !listens(t, addr, ended) {
		return nil
	}
	return stop
}

// listens waits until the program listens at addr or exits. There is no notification, so it
// tries repeatedly.
func listens(t *testing.T, addr string, ended <-chan struct{}) bool {
	t.Helper()
	again := time.NewTicker(10 * time.Millisecond)
	defer again.Stop()
	for {
		conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", addr)
		if err == nil {
			conn.Close()
			return true
		}
		select {
		case <-again.C:
		case <-ended:
			return false
		}
	}
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l := listen(t, "127.0.0.1:0")
	defer l.Close()
	return l.Addr().String()
}

func listen(t *testing.T, addr string) net.Listener {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	return l
}
