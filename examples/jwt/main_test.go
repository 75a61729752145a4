package main

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/pondsocket/pond"
	"github.com/pondsocket/pond/pondtest"

	"github.com/pondsocket/pond/examples/internal/client"
)

// chat runs a test with each transport.
func chat(t *testing.T, test func(t *testing.T, d *pondtest.Driver, tr pondtest.Transport)) {
	for _, tr := range pondtest.Transports {
		t.Run(string(tr), func(t *testing.T) {
			p := pond.New()
			pondtest.Run(t, handler(p), func(t *testing.T, d *pondtest.Driver) {
				defer p.Shutdown(t.Context())
				test(t, d, tr)
			})
		})
	}
}

func signed(t *testing.T, name string, lifetime time.Duration, rooms ...string) string {
	t.Helper()
	token, err := sign(name, lifetime, rooms...)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func TestTokenInHeaderCookieOrQuery(t *testing.T) {
	chat(t, func(t *testing.T, d *pondtest.Driver, tr pondtest.Transport) {
		token := signed(t, "Ann", time.Hour, "lounge")
		for name, way := range map[string]pondtest.Option{
			"header": pondtest.Header("Authorization", "Bearer "+token),
			"cookie": pondtest.Cookie("token", token),
			"query":  pondtest.Query("token", token),
		} {
			ann := d.Connect(tr, "/socket", way)
			ann.Join("/chat/lounge", nil)
			ann.Send("/chat/lounge", "say", Message{"hi"})
			if got := string(ann.Expect("said")); got != `{"from":"Ann","text":"hi"}` {
				t.Errorf("%s: %s", name, got)
			}
			ann.Close()
		}
	})
}

func TestInvalidTokenIsDeclinedWithTheReason(t *testing.T) {
	chat(t, func(t *testing.T, d *pondtest.Driver, tr pondtest.Transport) {
		good := signed(t, "Ann", time.Hour, "lounge")
		claims := jwt.MapClaims{"sub": "Ann", "exp": time.Now().Add(time.Hour).Unix()}
		for name, tt := range map[string]struct{ token, want string }{
			"none":       {"", "missing token"},
			"no token":   {"guess", "malformed token"},
			"expired":    {signed(t, "Ann", -time.Second, "lounge"), expired},
			"forged":     {good[:strings.LastIndex(good, ".")] + ".Zm9yZ2Vk", "invalid signature of the token"},
			"unsigned":   {other(t, jwt.SigningMethodNone, claims, jwt.UnsafeAllowNoneSignatureType), "invalid signature of the token"},
			"other":      {other(t, jwt.SigningMethodHS512, claims, key), "invalid signature of the token"},
			"no expiry":  {other(t, jwt.SigningMethodHS256, jwt.MapClaims{"sub": "Ann"}, key), "the token has no expiry"},
			"no subject": {signed(t, "", time.Hour, "lounge"), "invalid claims of the token"},
		} {
			resp := d.Declined(tr, "/socket", pondtest.Query("token", tt.token))
			body := make([]byte, 100)
			n, _ := resp.Body.Read(body)
			if got := strings.TrimSpace(string(body[:n])); resp.StatusCode != http.StatusUnauthorized || got != tt.want {
				t.Errorf("%s: %s, %q, want %q", name, resp.Status, got, tt.want)
			}
		}
	})
}

func other(t *testing.T, method jwt.SigningMethod, claims jwt.Claims, key any) string {
	t.Helper()
	token, err := jwt.NewWithClaims(method, claims).SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func TestTokenNamesRooms(t *testing.T) {
	chat(t, func(t *testing.T, d *pondtest.Driver, tr pondtest.Transport) {
		bob := d.Connect(tr, "/socket", pondtest.Query("token", signed(t, "Bob", time.Hour, "lounge")))
		if answer := bob.Join("/chat/lounge", nil); answer.Event != "ACKNOWLEDGE" {
			t.Error(answer)
		}
		answer := bob.Join("/chat/staff", nil)
		var refusal struct {
			Status  int
			Message string
		}
		answer.Bind(t, &refusal)
		if answer.Event != "UNAUTHORIZED" || refusal.Status != 403 || refusal.Message != "Bob may not join staff" {
			t.Error(answer)
		}
	})
}

func TestMembershipEndsWithTheToken(t *testing.T) {
	chat(t, func(t *testing.T, d *pondtest.Driver, tr pondtest.Transport) {
		ann := d.Connect(tr, "/socket", pondtest.Query("token", signed(t, "Ann", time.Hour, "lounge")))
		bob := d.Connect(tr, "/socket", pondtest.Query("token", signed(t, "Bob", time.Minute, "lounge")))
		ann.Join("/chat/lounge", nil)
		bob.Join("/chat/lounge", nil)

		time.Sleep(59 * time.Second) // of virtual time
		ann.Quiet()
		bob.Quiet()
		time.Sleep(time.Second)
		if got := string(bob.Expect("kicked_out")); !strings.Contains(got, expired) {
			t.Error(got)
		}
		ann.Expect("kicked") // Ann is notified
		if answer := bob.Join("/chat/lounge", nil); answer.Event != "UNAUTHORIZED" {
			t.Errorf("joined again with the old token: %v", answer)
		}

		bob = d.Connect(tr, "/socket", pondtest.Query("token", signed(t, "Bob", time.Minute, "lounge")))
		bob.Join("/chat/lounge", nil)
		bob.Send("/chat/lounge", "say", Message{"back"})
		ann.Expect("said")
	})
}

func TestOnLoopback(t *testing.T) {
	for _, tr := range client.Transports {
		t.Run(string(tr), func(t *testing.T) {
			server := client.Serve(t, run)
			if status, body := client.Declined(t, tr, server.URL+"/socket?token=guess", nil); status != 401 || body != "malformed token" {
				t.Error(status, body)
			}
			ann := client.Dial(t, tr, server.URL+"/socket", http.Header{"Authorization": {"Bearer " + logIn(t, server.URL)}})
			ann.Join("/chat/staff", nil)
			ann.Send("/chat/staff", "say", Message{"hi"})
			if got := string(ann.Expect("said").Payload); got != `{"from":"Ann","text":"hi"}` {
				t.Error(got)
			}
			server.Stop()
			if code := ann.Closed(); tr == client.WebSocket && code != 1001 {
				t.Error("closed with", code)
			}
		})
	}
}

func logIn(t *testing.T, server string) string {
	t.Helper()
	resp, err := http.PostForm(server+"/login", url.Values{"name": {"Ann"}})
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var answer struct{ Token string }
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		t.Fatal(err)
	}
	if cookie := resp.Cookies()[0]; cookie.Value != answer.Token || !cookie.HttpOnly {
		t.Error(cookie)
	}
	return answer.Token
}
