package main

import (
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// Claims are what a token says about who has it. The subject is the name.
type Claims struct {
	Rooms []string `json:"rooms"`
	jwt.RegisteredClaims
}

// MayEnter reports whether the token opens a room.
func (c *Claims) MayEnter(room string) bool { return slices.Contains(c.Rooms, room) }

// Validate is called by the parser, after its own checks.
func (c *Claims) Validate() error {
	if c.Subject == "" {
		return errors.New("the token has no subject")
	}
	return nil
}

func sign(name string, lifetime time.Duration, rooms ...string) (string, error) {
	return jwt.NewWithClaims(jwt.SigningMethodHS256, &Claims{
		Rooms: rooms,
		RegisteredClaims: jwt.RegisteredClaims{
			Subject:   name,
			ExpiresAt: jwt.NewNumericDate(time.Now().Add(lifetime)),
		},
	}).SignedString(key)
}

// parser accepts our algorithm and no other, least of all the one that the
// token asks for, and no token that is valid for ever.
var parser = jwt.NewParser(
	jwt.WithValidMethods([]string{jwt.SigningMethodHS256.Alg()}),
	jwt.WithExpirationRequired(),
)

func verify(token string) (*Claims, error) {
	claims := &Claims{}
	_, err := parser.ParseWithClaims(token, claims, func(*jwt.Token) (any, error) { return key, nil })
	return claims, err
}

// tokenOf finds the token of a request. Programs send a header; browsers cannot
// with a WebSocket, but send cookies. The query is the last resort: it ends in
// the logs of every proxy on the way.
func tokenOf(r *http.Request) string {
	if token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); ok {
		return token
	}
	if cookie, err := r.Cookie("token"); err == nil {
		return cookie.Value
	}
	return r.URL.Query().Get("token")
}

// reason says what is wrong with a token, in words for whoever has it.
func reason(err error) string {
	switch {
	case errors.Is(err, jwt.ErrTokenExpired):
		return "the token has expired"
	case errors.Is(err, jwt.ErrTokenRequiredClaimMissing):
		return "the token does not say when it expires"
	case errors.Is(err, jwt.ErrTokenSignatureInvalid):
		return "the token's signature is not ours"
	case errors.Is(err, jwt.ErrTokenInvalidClaims):
		return "the token's claims are not valid"
	default:
		return "this is no token"
	}
}

// people are who may log in, and where they may go. Passwords are another
// example.
var people = map[string][]string{
	"Ann": {"lounge", "staff"},
	"Bob": {"lounge"},
}

// login sets a cookie that scripts cannot read, and that other sites cannot
// send along. Behind TLS it should be Secure, too.
func login(w http.ResponseWriter, r *http.Request) {
	name := r.PostFormValue("name")
	rooms, ok := people[name]
	if !ok {
		http.Error(w, "nobody of that name", http.StatusForbidden)
		return
	}
	lifetime := time.Minute // short, to see it end
	token, err := sign(name, lifetime, rooms...)
	if err != nil {
		http.Error(w, "cannot sign", http.StatusInternalServerError)
		return
	}
	http.SetCookie(w, &http.Cookie{ //nolint:gosec // Secure would keep it from a local server
		Name: "token", Value: token, Path: "/", MaxAge: int(lifetime.Seconds()),
		HttpOnly: true, SameSite: http.SameSiteStrictMode,
	})
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]any{"token": token, "expiresIn": lifetime.Seconds()})
}
