// Notifications pushes notifications from ordinary HTTP handlers to all open tabs of a user.
package main

import (
	"context"
	"embed"
	"encoding/json"
	"log"
	"net/http"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"github.com/pondsocket/pond"

	"github.com/pondsocket/pond/examples/internal/page"
)

//go:embed page
var files embed.FS

// A site is a web site with sessions, and the inboxes.
type site struct {
	sessions *Sessions
	inboxes  *Inboxes
}

func handler(p *pond.Pond) http.Handler {
	sessions := &Sessions{users: map[string]string{}}
	s := &site{sessions, newInboxes(p, sessions)}
	own := http.NewServeMux()
	own.HandleFunc("GET /me", s.me)
	own.HandleFunc("POST /login", s.login)
	own.HandleFunc("POST /logout", s.logout)
	own.HandleFunc("POST /notify", s.notify)
	own.Handle("/", page.Handler(files))

	mux := http.NewServeMux()
	mux.Handle("/socket", p) // checks origins itself
	mux.Handle("/", http.NewCrossOriginProtection().Handler(own))
	return mux
}

// notify is an ordinary handler, which does not deal with connections.
func (s *site) notify(w http.ResponseWriter, r *http.Request) {
	_, from, ok := s.sessions.Of(r)
	if !ok {
		http.Error(w, "log in first", http.StatusUnauthorized)
		return
	}
	r.Body = http.MaxBytesReader(w, r.Body, 4<<10)
	to, text := r.PostFormValue("to"), strings.TrimSpace(r.PostFormValue("text"))
	switch {
	case !slices.Contains(people, to):
		http.Error(w, "unknown user", http.StatusNotFound)
	case text == "":
		http.Error(w, "the text is empty", http.StatusBadRequest)
	default:
		answer(w, map[string]int{"tabs": s.inboxes.Notify(to, from, text)})
	}
}

func (s *site) me(w http.ResponseWriter, r *http.Request) {
	_, user, _ := s.sessions.Of(r)
	answer(w, map[string]string{"name": user}) // empty without a session
}

func (s *site) login(w http.ResponseWriter, r *http.Request) {
	user := r.PostFormValue("name")
	if !slices.Contains(people, user) {
		http.Error(w, "unknown user", http.StatusForbidden)
		return
	}
	s.sessions.Begin(w, user)
	w.WriteHeader(http.StatusNoContent)
}

// logout ends the session first, so that no tab can join again.
func (s *site) logout(w http.ResponseWriter, r *http.Request) {
	if secret, user, ok := s.sessions.Of(r); ok {
		s.sessions.End(secret)
		s.inboxes.CloseTabs(secret, user)
	}
	w.WriteHeader(http.StatusNoContent)
}

func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v) // fails if the client disconnected
}

func run(ctx context.Context, srv *http.Server) error {
	p := pond.New()
	srv.Handler = handler(p)
	return p.ListenAndServe(ctx, srv)
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	log.Print("open http://127.0.0.1:8000 in two tabs, and in a private window")
	if err := run(ctx, &http.Server{Addr: "127.0.0.1:8000"}); err != nil {
		log.Fatal(err)
	}
}
