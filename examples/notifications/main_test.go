package main

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/pondsocket/pond"
	"github.com/pondsocket/pond/pondtest"

	"github.com/pondsocket/pond/examples/internal/client"
)

// visit runs a test with each transport.
func visit(t *testing.T, test func(t *testing.T, v *visitors, tr pondtest.Transport)) {
	for _, tr := range pondtest.Transports {
		t.Run(string(tr), func(t *testing.T) {
			p := pond.New()
			pondtest.Run(t, handler(p), func(t *testing.T, d *pondtest.Driver) {
				defer p.Shutdown(t.Context())
				test(t, &visitors{t, d}, tr)
			})
		})
	}
}

// visitors use the ordinary pages of the site.
type visitors struct {
	t *testing.T
	d *pondtest.Driver
}

func (v *visitors) post(path, session string, form url.Values) *http.Response {
	req := httptest.NewRequest(http.MethodPost, path, strings.NewReader(form.Encode()))
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.AddCookie(&http.Cookie{Name: "session", Value: session})
	return v.d.Do(req)
}

func (v *visitors) logIn(name string) (session string) {
	v.t.Helper()
	for _, cookie := range v.post("/login", "", url.Values{"name": {name}}).Cookies() {
		return cookie.Value
	}
	v.t.Fatal(name, "cannot log in")
	return ""
}

// open opens a tab and returns it with its inbox.
func (v *visitors) open(tr pondtest.Transport, session, name string) (*pondtest.Session, Inbox) {
	v.t.Helper()
	tab := v.d.Connect(tr, "/socket", pondtest.Cookie("session", session))
	if answer := tab.Join("/users/"+name, nil); answer.Event != "ACKNOWLEDGE" {
		v.t.Fatal(answer)
	}
	var in Inbox
	if err := json.Unmarshal(tab.Expect("inbox"), &in); err != nil {
		v.t.Fatal(err)
	}
	return tab, in
}

// notify sends a notification and returns the number of open tabs from the response.
func (v *visitors) notify(session, to, text string) int {
	v.t.Helper()
	resp := v.post("/notify", session, url.Values{"to": {to}, "text": {text}})
	var answer struct{ Tabs int }
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		v.t.Fatal(resp.Status, err)
	}
	return answer.Tabs
}

func bind[T any](t *testing.T, raw json.RawMessage) (v T) {
	t.Helper()
	if err := json.Unmarshal(raw, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

func TestAllTabsOfAUserAreNotified(t *testing.T) {
	visit(t, func(t *testing.T, v *visitors, tr pondtest.Transport) {
		ann, bob := v.logIn("Ann"), v.logIn("Bob")
		one, _ := v.open(tr, ann, "Ann")
		other, _ := v.open(tr, v.logIn("Ann"), "Ann") // another session
		bobs, _ := v.open(tr, bob, "Bob")
		if tabs := v.notify(bob, "Ann", "lunch?"); tabs != 2 {
			t.Errorf("%d tabs were notified", tabs)
		}
		for _, tab := range []*pondtest.Session{one, other} {
			n := bind[Notification](t, tab.Expect("notification"))
			if n.From != "Bob" || n.Text != "lunch?" || n.Read {
				t.Error(n)
			}
		}
		bobs.Quiet()
	})
}

func TestAbsentUserFindsItInTheInbox(t *testing.T) {
	visit(t, func(t *testing.T, v *visitors, tr pondtest.Transport) {
		bob := v.logIn("Bob")
		if tabs := v.notify(bob, "Ann", "lunch?"); tabs != 0 {
			t.Errorf("%d tabs were notified", tabs)
		}
		ann := v.logIn("Ann")
		tab, in := v.open(tr, ann, "Ann")
		if len(in.Notifications) != 1 || in.Notifications[0].Text != "lunch?" {
			t.Error(in)
		}
		tab.Quiet() // not sent again

		tab.Reset()
		v.notify(bob, "Ann", "dinner?")
		if _, in := v.open(tr, ann, "Ann"); len(in.Notifications) != 2 || in.Notifications[1].Text != "dinner?" {
			t.Error(in)
		}
	})
}

func TestInboxesAreBounded(t *testing.T) {
	visit(t, func(t *testing.T, v *visitors, tr pondtest.Transport) {
		ann := v.logIn("Ann")
		for range kept + 5 {
			v.notify(ann, "Ann", "again")
		}
		_, in := v.open(tr, ann, "Ann")
		if all := in.Notifications; len(all) != kept || all[0].ID != 6 || all[kept-1].ID != kept+5 {
			t.Error(all)
		}
	})
}

func TestReadInOneTabIsReadInAll(t *testing.T) {
	visit(t, func(t *testing.T, v *visitors, tr pondtest.Transport) {
		ann := v.logIn("Ann")
		one, _ := v.open(tr, ann, "Ann")
		other, _ := v.open(tr, ann, "Ann")
		v.notify(ann, "Ann", "note to self")
		n := bind[Notification](t, one.Expect("notification"))
		one.Send("/users/Ann", "read", Seen{n.ID})
		one.Expect("read")
		other.Expect("notification")
		if seen := bind[Seen](t, other.Expect("read")); seen.ID != n.ID {
			t.Error(seen)
		}
		if _, in := v.open(tr, ann, "Ann"); !in.Notifications[0].Read {
			t.Error("a new tab shows it as unread")
		}
		if answer := one.Request("/users/Ann", "read", Seen{7}); answer.Action != "ERROR" {
			t.Error(answer)
		}
		other.Quiet()
	})
}

func TestOthersCannotJoin(t *testing.T) {
	visit(t, func(t *testing.T, v *visitors, tr pondtest.Transport) {
		for _, session := range []string{"", "guess"} {
			if resp := v.d.Declined(tr, "/socket", pondtest.Cookie("session", session)); resp.StatusCode != http.StatusUnauthorized {
				t.Errorf("session %q: %s", session, resp.Status)
			}
		}
		bob, _ := v.open(tr, v.logIn("Bob"), "Bob")
		answer := bob.Join("/users/Ann", nil)
		if answer.Event != "UNAUTHORIZED" || !strings.Contains(string(answer.Payload), `"status":403`) {
			t.Error(answer)
		}
		if resp := v.post("/notify", "guess", url.Values{"to": {"Bob"}, "text": {"hi"}}); resp.StatusCode != http.StatusUnauthorized {
			t.Error(resp.Status)
		}
		bob.Quiet()
	})
}

func TestLogoutClosesTheTabsOfTheSession(t *testing.T) {
	visit(t, func(t *testing.T, v *visitors, tr pondtest.Transport) {
		ann := v.logIn("Ann")
		one, _ := v.open(tr, ann, "Ann")
		other, _ := v.open(tr, ann, "Ann")
		elsewhere, _ := v.open(tr, v.logIn("Ann"), "Ann")
		idle := v.d.Connect(tr, "/socket", pondtest.Cookie("session", ann)) // did not join yet
		v.post("/logout", ann, nil)
		for _, tab := range []*pondtest.Session{one, other} {
			if code, _ := tab.Closed(); tr == pondtest.WebSocket && code != 4401 {
				t.Errorf("closed with %d", code)
			}
		}
		if answer := idle.Join("/users/Ann", nil); answer.Event != "UNAUTHORIZED" {
			t.Error(answer)
		}
		elsewhere.Quiet()
		if elsewhere.Ended() {
			t.Error("the other session also ended")
		}
		v.d.Declined(tr, "/socket", pondtest.Cookie("session", ann))
	})
}

func TestForms(t *testing.T) {
	pondtest.Run(t, handler(pond.New()), func(t *testing.T, d *pondtest.Driver) {
		v := &visitors{t, d}
		ann := v.logIn("Ann")
		for want, form := range map[int]url.Values{
			http.StatusNotFound:   {"to": {"Eve"}, "text": {"hi"}},
			http.StatusBadRequest: {"to": {"Bob"}, "text": {" "}},
		} {
			if resp := v.post("/notify", ann, form); resp.StatusCode != want {
				t.Errorf("%v: %s", form, resp.Status)
			}
		}
		if resp := v.post("/login", "", url.Values{"name": {"Eve"}}); resp.StatusCode != http.StatusForbidden {
			t.Error(resp.Status)
		}
		other := httptest.NewRequest(http.MethodPost, "/logout", nil)
		other.Header.Set("Sec-Fetch-Site", "cross-site")
		if resp := d.Do(other); resp.StatusCode != http.StatusForbidden {
			t.Error("another site can log users out:", resp.Status)
		}
	})
}

func TestOnLoopback(t *testing.T) {
	for _, tr := range client.Transports {
		t.Run(string(tr), func(t *testing.T) {
			server := client.Serve(t, run)
			header := http.Header{"Cookie": {"session=" + logIn(t, server.URL, "Ann")}}
			one := client.Dial(t, tr, server.URL+"/socket", header)
			other := client.Dial(t, tr, server.URL+"/socket", header)
			one.Join("/users/Ann", nil)
			other.Join("/users/Ann", nil)
			post(t, server.URL+"/notify", header, url.Values{"to": {"Ann"}, "text": {"hi"}})
			for _, tab := range []*client.Client{one, other} {
				if n := bind[Notification](t, tab.Expect("notification").Payload); n.Text != "hi" {
					t.Error(n)
				}
			}
			server.Stop()
			if code := one.Closed(); tr == client.WebSocket && code != 1001 {
				t.Error("closed with", code)
			}
		})
	}
}

func logIn(t *testing.T, server, name string) (session string) {
	t.Helper()
	for _, cookie := range post(t, server+"/login", nil, url.Values{"name": {name}}).Cookies() {
		if cookie.HttpOnly {
			return cookie.Value
		}
	}
	t.Fatal("no cookie")
	return ""
}

func post(t *testing.T, url string, header http.Header, form url.Values) *http.Response {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	req.Header = header.Clone()
	if req.Header == nil {
		req.Header = http.Header{}
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode >= http.StatusBadRequest {
		t.Fatal(url, resp.Status)
	}
	return resp
}
