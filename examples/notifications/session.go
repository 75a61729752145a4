package main

import (
	"crypto/rand"
	"net/http"
	"sync"
)

// people are the users. This example has no passwords.
var people = []string{"Ann", "Bob", "Cleo"}

// Sessions are ordinary sessions of a web site: a cookie contains a secret, and the server
// knows its user.
type Sessions struct {
	mu    sync.Mutex
	users map[string]string // by secret
}

// Begin starts a session and sets the cookie. Scripts cannot read the cookie, and other
// sites cannot send it. With TLS, it should also be Secure.
func (s *Sessions) Begin(w http.ResponseWriter, user string) {
	secret := rand.Text()
	s.mu.Lock()
	s.users[secret] = user
	s.mu.Unlock()
	http.SetCookie(w, &http.Cookie{ //nolint:gosec // not Secure, so that it works without TLS
		Name: "session", Value: secret, Path: "/",
		HttpOnly: true, SameSite: http.SameSiteStrictMode,
	})
}

// Of returns the session of a request, and its user. The handshake of a WebSocket has
// cookies like any other request.
func (s *Sessions) Of(r *http.Request) (secret, user string, ok bool) {
	cookie, err := r.Cookie("session")
	if err != nil {
		return "", "", false
	}
	user, ok = s.User(cookie.Value)
	return cookie.Value, user, ok
}

// User returns the user of a session, unless the session ended.
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
