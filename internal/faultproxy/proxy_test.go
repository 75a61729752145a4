package faultproxy_test

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/pondsocket/pond/internal/faultproxy"
)

// echo starts a server that answers each line with its name and the line.
func echo(t *testing.T, name string) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				for s := bufio.NewScanner(conn); s.Scan(); {
					fmt.Fprintf(conn, "%s: %s\n", name, s.Text())
				}
			}()
		}
	}()
	return l.Addr().String()
}

func start(t *testing.T, target string) *faultproxy.Proxy {
	t.Helper()
	p, err := faultproxy.Start(target)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

// A client has one connection.
type client struct {
	net.Conn
	lines *bufio.Scanner
}

func dial(t *testing.T, p *faultproxy.Proxy) *client {
	t.Helper()
	conn, err := net.Dial("tcp", p.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return &client{conn, bufio.NewScanner(conn)}
}

// ask returns the answer to a line, or the reason for none.
func (c *client) ask(line string, wait time.Duration) string {
	_ = c.SetDeadline(time.Now().Add(wait))
	fmt.Fprintln(c, line)
	if c.lines.Scan() {
		return c.lines.Text()
	}
	if err, ok := errors.AsType[net.Error](c.lines.Err()); ok && err.Timeout() {
		return "timeout"
	}
	return "broken"
}

const (
	long  = 20 * time.Second
	short = 50 * time.Millisecond
)

func want(t *testing.T, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("answer %q, want %q", got, want)
	}
}

func TestConnectionsBreak(t *testing.T) {
	p := start(t, echo(t, "one"))
	c := dial(t, p)
	want(t, c.ask("hi", long), "one: hi")
	p.Reset()
	want(t, c.ask("hi", long), "broken")
	c = dial(t, p)
	want(t, c.ask("hi", long), "one: hi")
	p.Sever()
	want(t, c.ask("hi", long), "broken")
	want(t, dial(t, p).ask("hi", long), "broken")
	p.Restore()
	want(t, dial(t, p).ask("hi", long), "one: hi")
}

func TestStall(t *testing.T) {
	p := start(t, echo(t, "one"))
	c := dial(t, p)
	want(t, c.ask("hi", long), "one: hi")
	p.Stall()
	p.Stall()
	want(t, c.ask("wait", short), "timeout")
	p.Resume()
	p.Resume()
	c.lines = bufio.NewScanner(c)
	want(t, c.ask("more", long), "one: wait")
}

// A proxy that is stalled can be closed.
func TestCloseWhileStalled(t *testing.T) {
	p := start(t, echo(t, "one"))
	c := dial(t, p)
	p.Stall()
	want(t, c.ask("hi", short), "timeout")
	p.Close()
	if _, err := net.Dial("tcp", p.Addr()); err == nil {
		t.Error("the proxy listens")
	}
}

func TestLoseResponse(t *testing.T) {
	p := start(t, echo(t, "one"))
	a, b := dial(t, p), dial(t, p)
	p.LoseResponse("secret")
	want(t, a.ask("public", long), "one: public")
	want(t, b.ask("a secret", long), "broken")
	want(t, a.ask("another secret", long), "one: another secret")
}

func TestRedirect(t *testing.T) {
	p := start(t, echo(t, "one"))
	subscriber, other := dial(t, p), dial(t, p)
	want(t, subscriber.ask("SUBSCRIBE x", long), "one: SUBSCRIBE x")
	want(t, other.ask("hi", long), "one: hi")
	p.RedirectCommands(echo(t, "two"))
	want(t, other.ask("hi", long), "broken")
	want(t, subscriber.ask("hi", long), "one: hi")
	want(t, dial(t, p).ask("hi", long), "two: hi")
	p.Redirect(echo(t, "three"))
	want(t, subscriber.ask("hi", long), "broken")
	want(t, dial(t, p).ask("hi", long), "three: hi")
	if strings.Contains(p.Addr(), "0.0.0.0") {
		t.Errorf("the proxy listens at %s", p.Addr())
	}
}
