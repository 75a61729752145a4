// Jwt is a chat that requires a token. The token names the rooms that its owner may join,
// and memberships end when it expires.
package main

import (
	"context"
	"crypto/rand"
	"embed"
	"log"
	"net/http"
	"os"
	"os/signal"
	"syscall"

	"github.com/pondsocket/pond"

	"github.com/pondsocket/pond/examples/internal/page"
)

//go:embed page
var files embed.FS

// key signs the tokens. It is random, so all tokens are invalid after a restart. In
// production, read the key from the environment.
var key = []byte(rand.Text())

func handler(p *pond.Pond) http.Handler {
	chat := p.Endpoint("/socket", auth).Lobby("/chat/:room", onJoin)
	pond.On(chat, said, onMessage)
	chat.OnLeave(onLeave)

	mux := http.NewServeMux()
	mux.Handle("/socket", p)
	mux.Handle("POST /login", http.NewCrossOriginProtection().Handler(http.HandlerFunc(login)))
	mux.Handle("/", page.Handler(files))
	return mux
}

func run(ctx context.Context, srv *http.Server) error {
	p := pond.New()
	srv.Handler = handler(p)
	return p.ListenAndServe(ctx, srv)
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	log.Print("open http://127.0.0.1:8000 in two tabs")
	if err := run(ctx, &http.Server{Addr: "127.0.0.1:8000"}); err != nil {
		log.Fatal(err)
	}
}
