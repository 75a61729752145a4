package doctor

import (
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"strings"
	"sync/atomic"
	"time"

	"github.com/pondsocket/pond/internal/pipenet"
	"github.com/pondsocket/pond/internal/ws"
)

// A proxy is a proxy between the doctor and a Pond. The zero proxy works correctly.
type proxy struct {
	request  func(*http.Request)
	response func(*http.Response)
	handler  func(http.Handler) http.Handler
	timeout  time.Duration // without data from the server
	servers  int           // that get the requests in turn; default 1
}

// between returns a handler that passes requests to the servers in turn.
func (p proxy) between(servers []*pipenet.Listener) http.Handler {
	var turn atomic.Int64
	transport := &http.Transport{
		DisableCompression: true,
		DisableKeepAlives:  true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			c, err := servers[int(turn.Add(1)-1)%len(servers)].Dial(ctx)
			if err != nil || p.timeout == 0 {
				return c, err
			}
			return timeoutConn{c, p.timeout}, nil
		},
	}
	var h http.Handler = &httputil.ReverseProxy{
		Transport: transport,
		ErrorLog:  log.New(io.Discard, "", 0), // connections break in many of these tests
		Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.URL.Scheme, r.Out.URL.Host = "http", "pond"
			if p.request != nil {
				p.request(r.Out)
			}
		},
		ModifyResponse: func(r *http.Response) error {
			if p.response != nil {
				p.response(r)
			}
			return nil
		},
	}
	if p.handler != nil {
		h = p.handler(h)
	}
	return h
}

// A timeoutConn fails if no data arrives within the timeout.
type timeoutConn struct {
	net.Conn
	timeout time.Duration
}

func (c timeoutConn) Read(p []byte) (int, error) {
	_ = c.SetReadDeadline(time.Now().Add(c.timeout))
	return c.Conn.Read(p)
}

func status(code int) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		w.WriteHeader(code)
		_, _ = io.WriteString(w, "<html>")
	})
}

// hijacking responds to WebSocket handshakes itself, and closes the connection. ACCEPT in
// the response is replaced with the value that the client expects.
func hijacking(response string) func(http.Handler) http.Handler {
	return func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Upgrade") == "" {
				h.ServeHTTP(w, r)
				return
			}
			c, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				panic(err)
			}
			defer c.Close()
			fmt.Fprint(c, strings.Replace(response, "ACCEPT", ws.AcceptKey(r.Header.Get("Sec-WebSocket-Key")), 1))
		})
	}
}

// rejecting rejects a method, or its bodies of at least some size.
func rejecting(method string, above int64, code int) func(http.Handler) http.Handler {
	return func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == method && r.ContentLength >= above {
				http.Error(w, "<html>no</html>", code)
				return
			}
			h.ServeHTTP(w, r)
		})
	}
}

// buffering buffers a response, or only its body, until it is complete.
func buffering(headersPass bool) func(http.Handler) http.Handler {
	return func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Upgrade") != "" {
				h.ServeHTTP(w, r)
				return
			}
			held := &heldWriter{ResponseWriter: w, headersPass: headersPass}
			defer held.release()
			h.ServeHTTP(held, r)
		})
	}
}

type heldWriter struct {
	http.ResponseWriter
	headersPass bool
	body        []byte
}

func (w *heldWriter) WriteHeader(code int) {
	w.ResponseWriter.WriteHeader(code)
	if w.headersPass {
		_ = http.NewResponseController(w.ResponseWriter).Flush()
	}
}

func (w *heldWriter) Write(p []byte) (int, error) {
	w.body = append(w.body, p...)
	return len(p), nil
}

func (w *heldWriter) release() { _, _ = w.ResponseWriter.Write(w.body) }

// bufferingRest passes the first event and buffers the rest.
func bufferingRest(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") == "" {
			w = &lumpWriter{ResponseWriter: w}
		}
		h.ServeHTTP(w, r)
	})
}

type lumpWriter struct {
	http.ResponseWriter
	written bool
}

func (w *lumpWriter) Write(p []byte) (int, error) {
	n, err := w.ResponseWriter.Write(p)
	if !w.written {
		w.written = true
		_ = http.NewResponseController(w.ResponseWriter).Flush()
	}
	return n, err
}

// zipping compresses streams and flushes after each piece.
func zipping(r *http.Response) {
	if !strings.HasPrefix(r.Header.Get("Content-Type"), "text/event-stream") {
		return
	}
	r.Header.Set("Content-Encoding", "gzip")
	plain := r.Body
	read, write := io.Pipe()
	go func() {
		defer plain.Close()
		z := gzip.NewWriter(write)
		buf := make([]byte, 1024)
		for {
			n, err := plain.Read(buf)
			if n > 0 {
				_, err = z.Write(buf[:n])
				err = errors.Join(err, z.Flush())
			}
			if err != nil {
				write.CloseWithError(err)
				return
			}
		}
	}()
	r.Body = struct {
		io.Reader
		io.Closer
	}{read, closers{read, plain}}
}

type closers []io.Closer

func (c closers) Close() error {
	for _, closer := range c {
		_ = closer.Close()
	}
	return nil
}
