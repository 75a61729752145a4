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
	"time"

	"github.com/pondsocket/pond/internal/pipenet"
	"github.com/pondsocket/pond/internal/ws"
)

// A proxy is what stands between the doctor and a Pond. The zero proxy is a good one.
type proxy struct {
	request  func(*http.Request)
	response func(*http.Response)
	handler  func(http.Handler) http.Handler
	cut      time.Duration // of silence of the server
}

func (p proxy) between(server *pipenet.Listener) http.Handler {
	transport := &http.Transport{
		DisableCompression: true,
		DisableKeepAlives:  true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			c, err := server.Dial(ctx)
			if err != nil || p.cut == 0 {
				return c, err
			}
			return impatient{c, p.cut}, nil
		},
	}
	var h http.Handler = &httputil.ReverseProxy{
		Transport: transport,
		ErrorLog:  log.New(io.Discard, "", 0), // many of these tests break connections
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

// An impatient connection ends when nothing comes for a while.
type impatient struct {
	net.Conn
	patience time.Duration
}

func (c impatient) Read(p []byte) (int, error) {
	_ = c.SetReadDeadline(time.Now().Add(c.patience))
	return c.Conn.Read(p)
}

func status(code int) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		w.WriteHeader(code)
		_, _ = io.WriteString(w, "<html>")
	})
}

// hijacking answers WebSocket handshakes itself, and hangs up. ACCEPT in the
// response becomes what the client wants to see.
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

// refusing refuses a method, or its bodies above some size.
func refusing(method string, above int64, code int) func(http.Handler) http.Handler {
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

// holding holds the answer back until it is complete, or the body of it.
func holding(headersPass bool) func(http.Handler) http.Handler {
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

// lumping passes the first event and then waits for the end.
func lumping(h http.Handler) http.Handler {
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

// zipping compresses streams, and flushes whatever comes.
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
