// Scaling shows what two servers share, and how a message bus connects them. This program
// runs both servers in one process, at /one/socket and /two/socket.
package main

import (
	"context"
	"errors"
	"log"
	"net/http"
	"os"
	"os/signal"
	"sync"
	"syscall"

	"github.com/pondsocket/pond"
)

// newServer returns a server that is connected to the bus.
func newServer(bus Bus) *pond.Pond {
	p := pond.New()
	endpoint := p.Endpoint("/socket", func(ctx *pond.ConnectionContext) error { return ctx.Accept() })
	lobby := endpoint.Lobby("/chat/:room", func(ctx *pond.JoinContext) error {
		if err := ctx.Accept(); err != nil {
			return err
		}
		return ctx.Track(map[string]string{"id": ctx.User().ID})
	})
	lobby.OnMessage("say", say(bus))
	relay(bus, endpoint)
	return p
}

// A localBus is a Bus for servers in one process. It delivers in order.
type localBus struct {
	mu       sync.Mutex
	receives []func(Message)
}

// Publish implements Bus.
func (b *localBus) Publish(m Message) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, receive := range b.receives {
		receive(m)
	}
	return nil
}

// Subscribe implements Bus.
func (b *localBus) Subscribe(receive func(Message)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.receives = append(b.receives, receive)
}

// servers are two servers behind one handler.
type servers struct{ one, two *pond.Pond }

func newServers() servers {
	bus := &localBus{}
	return servers{newServer(bus), newServer(bus)}
}

func (s servers) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	mux := http.NewServeMux()
	mux.Handle("/one/", http.StripPrefix("/one", s.one))
	mux.Handle("/two/", http.StripPrefix("/two", s.two))
	mux.ServeHTTP(w, r)
}

func (s servers) Shutdown(ctx context.Context) error {
	return errors.Join(s.one.Shutdown(ctx), s.two.Shutdown(ctx))
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	s := newServers()
	srv := &http.Server{Addr: "127.0.0.1:8000", Handler: s}
	srv.RegisterOnShutdown(func() { _ = s.Shutdown(context.WithoutCancel(ctx)) })
	go func() {
		<-ctx.Done()
		_ = srv.Shutdown(context.WithoutCancel(ctx))
	}()
	if err := srv.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		log.Fatal(err)
	}
	_ = s.Shutdown(context.WithoutCancel(ctx)) // waits for WebSockets
}
