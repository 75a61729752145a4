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

// Claims are the claims of a token. The subject is the name of the user.
type Claims struct {
	Rooms []string `json:"rooms"`
	jwt.RegisteredClaims
}

// MayEnter reports whether the token allows a room.
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

// parser accepts only one algorithm, and not the one that the token names. It requires an
// expiry.
var parser = jwt.NewParser(
	jwt.WithValidMethods([]string{jwt.SigningMethodHS256.Alg()}),
	jwt.WithExpirationRequired(),
)

func verify(token string) (*Claims, error) {
	claims := &Claims{}
	_, err := parser.ParseWithClaims(token, claims, func(*jwt.Token) (any, error) { return key, nil })
	return claims, err
}

// tokenOf returns the token of a request. Programs send a header. Browsers cannot set a
// header on a WebSocket, but they send cookies. Use the query only if neither is possible,
// because proxies log it.
func tokenOf(r *http.Request) string {
	if token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); ok {
		return token
	}
	if cookie, err := r.Cookie("token"); err == nil {
		return cookie.Value
	}
	return r.URL.Query().Get("token")
}

// reason returns the reason of a rejection, for the client.
func reason(err error) string {
	switch {
	case errors.Is(err, jwt.ErrTokenExpired):
		return expired
	case errors.Is(err, jwt.ErrTokenRequiredClaimMissing):
		return "the token has no expiry"
	case errors.Is(err, jwt.ErrTokenSignatureInvalid):
		return "invalid signature of the token"
	case errors.Is(err, jwt.ErrTokenInvalidClaims):
		return "invalid claims of the token"
	default:
		return "malformed token"
	}
}

// people are the users and their rooms. This example has no passwords.
var people = map[string][]string{
	"Ann": {"lounge", "staff"},
	"Bob": {"lounge"},
}

// login sets a cookie that scripts cannot read and other sites cannot send. With TLS, it
// should also be Secure.
func login(w http.ResponseWriter, r *http.Request) {
	name := r.PostFormValue("name")
	rooms, ok := people[name]
	if !ok {
		http.Error(w, "unknown user", http.StatusForbidden)
		return
	}
	lifetime := time.Minute // short, for demonstration
	token, err := sign(name, lifetime, rooms...)
	if err != nil {
		http.Error(w, "cannot sign the token", http.StatusInternalServerError)
		return
	}
	http.SetCookie(w, &http.Cookie{ //nolint:gosec // not Secure, so that it works without TLS
		Name: "token", Value: token, Path: "/", MaxAge: int(lifetime.Seconds()),
		HttpOnly: true, SameSite: http.SameSiteStrictMode,
	})
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]any{"token": token, "expiresIn": lifetime.Seconds()})
}
