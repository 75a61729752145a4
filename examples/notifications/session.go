package main

import (
	"crypto/rand"
	"net/http"
	"sync"
)

// people are who may log in. Passwords are another example.
var people = []string{"Ann", "Bob", "Cleo"}

// Sessions are those of any web site: a cookie with a secret, and whose it is.
type Sessions struct {
	mu    sync.Mutex
	users map[string]string // by the secret
}

// Begin sets the cookie. Scripts cannot read it, and other sites cannot send it
// along. Behind TLS it should be Secure, too.
func (s *Sessions) Begin(w http.ResponseWriter, user string) {
	secret := rand.Text()
	s.mu.Lock()
	s.users[secret] = user
	s.mu.Unlock()
	http.SetCookie(w, &http.Cookie{ //nolint:gosec // Secure would keep it from a local server
		Name: "session", Value: secret, Path: "/",
		HttpOnly: true, SameSite: http.SameSiteStrictMode,
	})
}

// Of returns the session of a request, and whose it is. A WebSocket's handshake
// has cookies like any other request.
func (s *Sessions) Of(r *http.Request) (secret, user string, ok bool) {
	cookie, err := r.Cookie("session")
	if err != nil {
		return "", "", false
	}
	user, ok = s.User(cookie.Value)
	return cookie.Value, user, ok
}

// User returns whose session it is, unless it has ended.
func (s *Sessions) User(secret string) (user string, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	user, ok = s.users[secret]
	return user, ok
}

// End ends a session.
func (s *Sessions) End(secret string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.users, secret)
}
