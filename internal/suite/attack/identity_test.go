package attack_test

import (
	"net/http"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/pondsocket/pond"
	"github.com/pondsocket/pond/internal/suite/kit"
	"github.com/pondsocket/pond/pondtest"
)

// words matches all parts of a message that could be an ID.
var words = regexp.MustCompile(`[A-Za-z0-9_-]{6,}`)

// overheard returns the strings that spy could try as IDs. The victims are members
// of the same channel and make the server send messages about them. Strings that
// belong to spy itself are not included.
func overheard(t *testing.T, d *pondtest.Driver, e *pond.Endpoint, spy *pondtest.Session, victims ...*pondtest.Session) map[string]bool {
	t.Helper()
	ch, _ := e.Channel("/chat/1")
	for i, victim := range victims {
		victim.Send("/chat/1", "say", nil)
		victim.Send("/chat/1", "tell-others", nil)
		victim.Send("/chat/1", "tell/"+spy.ID(), nil)
		spy.Send("/chat/1", "tell/"+victim.ID(), nil)
		victim.Send("/chat/1", "track", map[string]int{"n": i})
		spy.Send("/chat/1", "nobody", nil)
	}
	spy.Send("/chat/1", "track", nil)
	synctest.Wait()
	extra := d.Connect(pondtest.SSE, "/socket")
	extra.Join("/chat/1", nil)
	if err := ch.Evict(extra.ID(), "so that others are told a user ID"); err != nil {
		t.Error(err)
	}
	found := map[string]bool{extra.ID(): true}
	for _, word := range words.FindAllString(string(spy.Bytes()), -1) {
		found[word] = true
	}
	for _, victim := range victims {
		found[victim.ID()] = true // applications publish user IDs
	}
	delete(found, spy.ConnectionID())
	return found
}

// U1 and U2: a client does not receive anything about other clients that allows it to
// send messages as them, or to disconnect them. Only event streams can be addressed in
// this way, not WebSockets.
func TestProbeU1SpeakAsAnotherUser(t *testing.T) {
	probeOthers(t, http.MethodPost)
}

func TestProbeU2DisconnectAnotherUser(t *testing.T) {
	probeOthers(t, http.MethodDelete)
}

func probeOthers(t *testing.T, method string) {
	p, e, _ := kit.NewPond()
	p.Endpoint("/other", kit.Accept)
	pondtest.Run(t, p, func(t *testing.T, d *pondtest.Driver) {
		spy := d.Connect(pondtest.SSE, "/socket")
		stream, socket := d.Connect(pondtest.SSE, "/socket"), d.Connect(pondtest.WebSocket, "/socket")
		for _, s := range []*pondtest.Session{spy, stream, socket} {
			s.Join("/chat/1", nil)
		}
		found := overheard(t, d, e, spy, stream, socket)
		if found[stream.ConnectionID()] || found[socket.ConnectionID()] {
			t.Error("another client knows a connection ID")
		}
		found[socket.ConnectionID()] = true // useless, even for its owner
		if len(found) < 20 {
			t.Fatalf("the spy received almost nothing: %v", found)
		}
		for _, s := range []*pondtest.Session{spy, stream, socket} {
			s.Drain()
		}
		for word := range found {
			for _, id := range []string{word, strings.ToUpper(word), word + "\t"} {
				resp := d.Do(kit.Request(method, "/socket", say(`"say"`, `"r"`, `{}`), "X-Connection-ID: "+id))
				if resp.StatusCode != http.StatusNotFound {
					t.Errorf("%s with %q: %s", method, id, resp.Status)
				}
			}
		}
		if resp := d.Do(kit.Request(method, "/other", say(`"say"`, `"r"`, `{}`), "X-Connection-ID: "+stream.ConnectionID())); resp.StatusCode != http.StatusNotFound {
			t.Errorf("%s at another endpoint: %s", method, resp.Status)
		}
		for _, s := range []*pondtest.Session{spy, stream, socket} {
			s.Quiet()
			s.Request("/chat/1", "ask", nil)
		}
	})
}

// Connection IDs are long and random, and no two are the same.
func TestAttackGuessConnectionIDs(t *testing.T) {
	p, _, _ := kit.NewPond()
	pondtest.Run(t, p, func(t *testing.T, d *pondtest.Driver) {
		const n = 200
		seen := map[string]bool{}
		count := map[rune]int{}
		for range n {
			s := d.Connect(pondtest.SSE, "/socket")
			id := s.ConnectionID()
			if len(id) < 26 || seen[id] || strings.Contains(id, s.ID()) || strings.Contains(s.ID(), id) {
				t.Errorf("connection ID %q", id)
			}
			seen[id] = true
			for _, c := range id {
				count[c]++
			}
			s.Close()
		}
		// 26 of 32 letters are 130 bits if all letters are equally likely.
		for c, times := range count {
			if mean := n * 26 / 32; times < mean/2 || times > 2*mean {
				t.Errorf("%q occurs %d times", c, times)
			}
		}
		if len(count) != 32 {
			t.Errorf("%d different letters", len(count))
		}
	})
}

// Two endpoints of one server do not share their allowed origins (Phoenix did,
// 2026-07). A host that only resembles an allowed origin is rejected.
func TestAttackOriginsOfTwoEndpoints(t *testing.T) {
	p := pond.New()
	p.Endpoint("/a", kit.Accept, pond.WithOrigins("https://a.example", "https://xn--bcher-kva.example"))
	p.Endpoint("/b", kit.Accept, pond.WithOrigins("https://*.b.example"))
	pondtest.Run(t, p, func(t *testing.T, d *pondtest.Driver) {
		for range 2 {
			for _, test := range []struct {
				path, origin string
				ok           bool
			}{
				{"/a", "https://a.example", true},
				{"/b", "https://a.example", false},
				{"/b", "https://x.b.example", true},
				{"/a", "https://x.b.example", false},
				{"/a", "https://xn--bcher-kva.example", true},
				{"/a", "https://b\u00fccher.example", false}, // browsers send Punycode
				{"/a", "https://xn--bcher-kva.example.", false},
				{"/a", "https://\u0430.example", false}, // a Cyrillic letter
				{"/a", "https://a.example\\.evil.example", false},
				{"/a", "https://a.example:0443", false},
				{"/a", "//a.example", false},
				{"/a", "file://", false},
				{"/a", "chrome-extension://a.example", false},
				{"/b", "https://x.b.example.evil.example", false},
			} {
				for _, tr := range pondtest.Transports {
					origin := func(r *http.Request) { r.Header["Origin"] = []string{test.origin} }
					if !test.ok {
						if resp := d.Declined(tr, test.path, origin); resp.StatusCode != http.StatusForbidden || resp.Header.Get("Access-Control-Allow-Origin") != "" {
							t.Errorf("%s %s %q: %s", tr, test.path, test.origin, resp.Status)
						}
						continue
					}
					d.Connect(tr, test.path, origin).Close()
				}
			}
		}
	})
}
