package client

import (
	"context"
	"net"
	"net/http"
	"sync"
)

// A Server is a running example.
type Server struct {
	URL string
	// Stop has the effect of SIGTERM. It waits until the program ends, and fails the test
	// if the program returns an error.
	Stop func()
}

// Serve runs an example on a free port until the test ends.
func Serve(t T, run func(ctx context.Context, srv *http.Server) error) *Server {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	listening, ended := make(chan net.Addr, 1), make(chan error, 1)
	srv := &http.Server{
		Addr: "127.0.0.1:0",
		BaseContext: func(l net.Listener) context.Context {
			listening <- l.Addr()
			return context.WithoutCancel(ctx)
		},
	}
	go func() { ended <- run(ctx, srv) }()
	stop := sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error("the program ended with", err)
		}
	})
	select {
	case addr := <-listening:
		t.Cleanup(stop)
		return &Server{URL: "http://" + addr.String(), Stop: stop}
	case err := <-ended:
		cancel()
		t.Fatal("the program did not start:", err)
		return nil
	}
}
