package pipenet_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pondsocket/pond/internal/pipenet"
)

func TestDialAndAccept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := pipenet.Listen(0)
		accepted := make(chan net.Conn, 2)
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					wantErr(t, "Accept", err, net.ErrClosed)
					close(accepted)
					return
				}
				accepted <- c
			}
		}()
		seen := map[string]bool{}
		for range 2 {
			client, err := l.Dial(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			server := <-accepted
			write(t, client, "hello")
			wantRead(t, server, "hello")
			if client.RemoteAddr().String() != l.Addr().String() || server.LocalAddr().String() != l.Addr().String() {
				t.Errorf("dialed %v and reached %v, want %v", client.RemoteAddr(), server.LocalAddr(), l.Addr())
			}
			if client.LocalAddr().String() != server.RemoteAddr().String() {
				t.Errorf("client is %v and seems to be %v", client.LocalAddr(), server.RemoteAddr())
			}
			seen[client.LocalAddr().String()] = true
			if _, _, err := net.SplitHostPort(server.RemoteAddr().String()); err != nil {
				t.Error(err)
			}
		}
		if len(seen) != 2 {
			t.Errorf("two clients have %d addresses", len(seen))
		}
		l.Close()
		wantErr(t, "second Close", l.Close(), nil)
		if _, ok := <-accepted; ok {
			t.Error("accepted a connection without a client")
		}
		_, err := l.Dial(t.Context())
		wantErr(t, "Dial after Close", err, syscall.ECONNREFUSED)
	})
}

func TestDialGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := pipenet.Listen(0).Dial(ctx)
		wantErr(t, "Dial", err, context.DeadlineExceeded)
	})
}

func TestConnectionOutlivesItsListener(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := pipenet.Listen(0)
		go func() {
			c, err := l.Accept()
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			io.Copy(c, c)
		}()
		client, err := l.Dial(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		l.Close()
		write(t, client, "echo")
		wantRead(t, client, "echo")
	})
}

// net/http interrupts its own reads with deadlines when a connection is hijacked,
// and reads in the background to cancel the context of a request.
func TestServesHTTP(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := pipenet.Listen(0)
		gone := make(chan error, 1)
		mux := http.NewServeMux()
		mux.HandleFunc("/hijack", func(w http.ResponseWriter, _ *http.Request) {
			conn, rw, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			line, _ := rw.ReadString('\n')
			io.WriteString(conn, "got "+line)
		})
		mux.HandleFunc("/wait", func(_ http.ResponseWriter, r *http.Request) {
			<-r.Context().Done()
			gone <- r.Context().Err()
		})
		srv := &http.Server{Handler: mux}
		served := make(chan error, 1)
		go func() { served <- srv.Serve(l) }()

		c, err := l.Dial(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		write(t, c, "GET /hijack HTTP/1.1\r\nHost: example.com\r\n\r\n")
		synctest.Wait()
		write(t, c, "after\n")
		if line, err := bufio.NewReader(c).ReadString('\n'); line != "got after\n" {
			t.Errorf("hijacked connection: read %q, %v", line, err)
		}
		c.Close()

		c, err = l.Dial(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		write(t, c, "GET /wait HTTP/1.1\r\nHost: example.com\r\n\r\n")
		synctest.Wait()
		c.Reset()
		wantErr(t, "context of a request whose client closed", <-gone, context.Canceled)

		srv.Close()
		if err := <-served; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})
}
