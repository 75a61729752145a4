package attack_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/pondsocket/pond"
	"github.com/pondsocket/pond/internal/suite/kit"
	"github.com/pondsocket/pond/pondtest"
)

// U3: names of channels, events and users that a client sends are never used as
// patterns.
func TestProbeU3EavesdropWithPatterns(t *testing.T) {
	patterns := []string{
		"*", ".*", "s?", "secre?", "[s]ecret", "[a-z]*", "s*", "secret*", "*secret", "%", "_", "#", "+", ">", "$",
		"^secret$", "(secret)", "secret|x", ":room", "{secret}", "\\secret", "sec\\x72et", "%73ecret", "secret%00", "secret ",
		" secret", "SECRET", "secret?x", "secret#x", "secret;x",
	}
	build := func() *pond.Pond {
		p, _, l := kit.NewPond()
		l.OnMessage("to-all/*", func(ctx *pond.EventContext) error {
			return ctx.Channel().To(patterns...).Broadcast("said", nil)
		})
		return p
	}
	kit.OnBoth(t, build, func(t *testing.T, d *pondtest.Driver, tr pondtest.Transport) {
		victim, spy := d.Connect(tr, "/socket"), d.Connect(tr, "/socket")
		victim.Join("/chat/secret", nil)
		for _, name := range patterns {
			channel := "/chat/" + name
			kit.Is(t, spy.Join(channel, nil), "SYSTEM", "ACKNOWLEDGE", "{}")
			victim.Send("/chat/secret", "say", map[string]string{"pin": "1234"})
			victim.Expect("said")
			spy.Quiet()
			spy.Send(channel, "say", nil)
			spy.Expect("said")
			victim.Quiet()
			spy.Leave(channel)
		}
		spy.Join("/chat/secret", nil)
		for _, name := range patterns {
			// The name as a user's ID, and as the name of an event.
			spy.Send("/chat/secret", "tell/"+name, nil)
			victim.Quiet()
			spy.Drain()
			if m := spy.Request("/chat/secret", name, nil); m.Event != "HANDLER_NOT_FOUND" {
				t.Errorf("event %q: got %v", name, m)
			}
		}
		spy.Send("/chat/secret", "to-all/x", nil)
		victim.Quiet()
		spy.Quiet()
	})
}

// U8: names that look alike are different channels everywhere. A join handler sees
// exactly the name that the channel has.
func TestProbeU8AliasesOfAName(t *testing.T) {
	names := []string{
		"/chat/1", "/chat/%31", "/chat/1?x=1", "/chat/1?", "/chat/1?x=2", "/chat/1#", "/chat/1%20", "/chat/1%2F", "/chat/01", "/chat/+1",
		"/chat/\uff11", // a wide digit
	}
	refused := []string{"/chat//1", "/chat/1/", "//chat/1", "chat/1", "/chat/./1", "/chat/x/../1", "/CHAT/1", "/chat"}
	var decided []string
	build := func() *pond.Pond {
		decided = nil
		p := pond.New()
		l := p.Endpoint("/socket", kit.Accept).Lobby("/chat/:room", func(ctx *pond.JoinContext) error {
			decided = append(decided, ctx.Channel().Name())
			return ctx.Accept()
		})
		l.OnMessage("say", func(ctx *pond.EventContext) error { return ctx.Broadcast("said", ctx.Payload()) })
		return p
	}
	kit.OnBoth(t, build, func(t *testing.T, d *pondtest.Driver, tr pondtest.Transport) {
		sessions := map[string]*pondtest.Session{}
		for _, name := range names {
			sessions[name] = d.Connect(tr, "/socket")
			if m := sessions[name].Join(name, nil); m.Event != "ACKNOWLEDGE" || m.Channel != name {
				t.Errorf("%s: got %v", name, m)
			}
		}
		if kit.JSON(t, decided) != kit.JSON(t, names) {
			t.Errorf("decided about %q", decided)
		}
		for _, name := range names {
			sessions[name].Send(name, "say", nil)
			for other, s := range sessions {
				if got := s.Drain(); len(got) != map[bool]int{true: 1}[other == name] {
					t.Errorf("%s got %v of %s", other, got, name)
				}
			}
		}
		for _, name := range refused {
			if m := sessions["/chat/1"].Join(name, nil); kit.Status(t, m) != http.StatusNotFound {
				t.Errorf("%s: got %v", name, m)
			}
		}
	})
}

// Any text can be a name, unchanged, except for control characters and within the
// length limit.
func TestAttackChannelNames(t *testing.T) {
	long := strings.Repeat("x", 256)
	accepted := []string{
		"*", ".*", "?", "[", "\\", "..", "../../etc/passwd", "%2F", "%00", "%0d%0a", "/", "//", " ", "  ", "\u00e9", "e\u0301", // NFC and NFD
		"\u202eesrever", "\u200b", "\ufeff", "\u2028", "\U0001F600", "__proto__", "constructor", "toString", "ENDPOINT", "{{.}}", "'; --",
		"<script>", "\ufffd", long,
	}
	refused := []string{"\x00", "a\x00", "\r\n", "a\nb", "\t", "\x1b[31m", "\x7f", "\u0080", "\u0085", "\u009f", long + "x", strings.Repeat("x", 64<<10)}
	for _, tr := range pondtest.Transports {
		var met kit.Limits
		p := pond.New(met.Observer(), pond.WithLogger(kit.Silent))
		e := p.Endpoint("/socket", kit.Accept)
		l := e.Lobby("*", kit.Admit)
		l.OnMessage("say", func(ctx *pond.EventContext) error { return ctx.Broadcast("said", nil) })
		(&kit.TappedPond{Pond: p}).Run(t, func(t *testing.T, d *pondtest.Driver) {
			s := d.Connect(tr, "/socket")
			for _, name := range accepted {
				if m := s.Join(name, nil); m.Event != "ACKNOWLEDGE" || m.Channel != name {
					t.Errorf("%q: got %v", name, m)
				}
			}
			live := map[string]bool{}
			for ch := range e.Channels() {
				live[ch.Name()] = true
			}
			for _, name := range accepted {
				s.Send(name, "say", nil)
				if m := s.Receive(); m.Channel != name || !live[name] {
					t.Errorf("%q: got %v", name, m)
				}
			}
			for i, name := range refused {
				if m := s.Join(name, nil); kit.Status(t, m) != http.StatusBadRequest || m.Channel != name {
					t.Errorf("%q: got %v", name, m)
				}
				if n := met.Of(pond.LimitChannelName); n != i+1 {
					t.Errorf("%q: observed %d times", name, n)
				}
			}
			if len(live) != len(accepted) {
				t.Errorf("%d channels of %d names", len(live), len(accepted))
			}
			s.Quiet()
		})
	}
}

// A client that is not allowed to join a channel cannot find out whether the channel
// exists: the answers are the same in both cases.
func TestAttackForbiddenChannelsLookEmpty(t *testing.T) {
	build := func() *pond.Pond {
		p := pond.New(pond.WithLogger(kit.Silent))
		e := p.Endpoint("/socket", func(ctx *pond.ConnectionContext) error {
			ctx.Assign("owner", ctx.Query().Has("owner"))
			return ctx.Accept()
		})
		l := e.Lobby("/private/:room", func(ctx *pond.JoinContext) error {
			if owner, _ := ctx.Get("owner").(bool); owner {
				return ctx.Accept()
			}
			return ctx.Decline(http.StatusForbidden, "")
		})
		l.OnMessage("say", func(ctx *pond.EventContext) error { return ctx.Broadcast("said", nil) })
		return p
	}
	kit.OnBoth(t, build, func(t *testing.T, d *pondtest.Driver, tr pondtest.Transport) {
		owner, spy := d.Connect(tr, "/socket?owner"), d.Connect(tr, "/socket")
		owner.Join("/private/in-use", nil)
		for _, action := range []string{"JOIN_CHANNEL", "BROADCAST", "LEAVE_CHANNEL"} {
			var answers []string
			for _, room := range []string{"in-use", "absent"} {
				spy.SendRaw(json.RawMessage(`{"action":"` + action + `","event":"say","channelName":"/private/` + room + `","requestId":"r","payload":{}}`))
				answers = append(answers, strings.ReplaceAll(string(spy.Receive().Raw), room, "ROOM"))
			}
			if answers[0] != answers[1] {
				t.Errorf("%s: %s for a channel in use, %s for one that is not", action, answers[0], answers[1])
			}
		}
		spy.Quiet()
		owner.Quiet()
		synctest.Wait()
	})
}

// Two names with different lone surrogates would become the same name, which no client
// sent. They are rejected in all places, and the answer does not repeat them.
func TestFault26_LoneSurrogates(t *testing.T) {
	build := func() *pond.Pond {
		p := pond.New(pond.WithLogger(kit.Silent))
		l := p.Endpoint("/socket", kit.Accept).Lobby("*", kit.Admit)
		l.OnMessage("*", func(ctx *pond.EventContext) error { return ctx.Broadcast(ctx.Event(), ctx.Payload()) })
		return p
	}
	kit.OnBoth(t, build, func(t *testing.T, d *pondtest.Driver, tr pondtest.Transport) {
		s, other := d.Connect(tr, "/socket"), d.Connect(tr, "/socket")
		s.Join("/chat/1", nil)
		other.Join("/chat/1", nil)
		other.Join("/chat/\ufffd", nil) // the name that all of them used to become
		for _, lone := range []string{`\ud83d`, `\ud83e`, `\ude00`, `\ud83d\ud83d`} {
			for _, action := range []string{"JOIN_CHANNEL", "LEAVE_CHANNEL", "BROADCAST"} {
				for _, names := range [][3]string{{"/chat/" + lone, "e", "r"}, {"/chat/1", lone, "r"}, {"/chat/1", "e", lone}} {
					s.SendRaw([]byte(`{"action":"` + action + `","channelName":"` + names[0] + `","event":"` + names[1] +
						`","requestId":"` + names[2] + `","payload":{}}`))
					m := s.Receive()
					if m.Event != "INVALID_MESSAGE" || kit.Status(t, m) != http.StatusBadRequest || strings.Contains(string(m.Raw), "\ufffd") {
						t.Errorf("%s %q: got %v", action, names, m)
					}
					if want := map[bool]string{true: "ENDPOINT", false: "/chat/1"}[names[0] != "/chat/1"]; m.Channel != want {
						t.Errorf("%s %q: answered for channel %q", action, names, m.Channel)
					}
				}
			}
		}
		s.Quiet()
		other.Quiet()

		// In a payload, the application decides. Two escapes that form one character are
		// valid.
		s.SendRaw([]byte(`{"action":"BROADCAST","event":"\ud83d\ude00","channelName":"/chat/1","requestId":"r","payload":{"s":"\ud83d"}}`))
		kit.Is(t, other.Receive(), "BROADCAST", "\U0001F600", `{"s":"\ud83d"}`)
	})
}

// A name in a URL can contain bytes that are not UTF-8. It is rejected, because the client
// would receive another name.
func TestFault26_URLsWithoutUTF8(t *testing.T) {
	p := pond.New(pond.WithLogger(kit.Silent))
	e := p.Endpoint("/socket", kit.Accept, pond.WithJoinByURL())
	e.Lobby("*", kit.Admit)
	pondtest.Run(t, p, func(t *testing.T, d *pondtest.Driver) {
		for _, name := range []string{"/chat/%FF", "/chat/%fe", "/chat/%ED%A0%80", "%C3"} {
			if resp := d.Declined(pondtest.SSE, "/socket?join="+name); resp.StatusCode != http.StatusBadRequest {
				t.Errorf("%s: status %d", name, resp.StatusCode)
			}
			s := d.Connect(pondtest.WebSocket, "/socket?join="+name)
			if m := s.Receive(); m.Event != "UNAUTHORIZED" || kit.Status(t, m) != http.StatusBadRequest {
				t.Errorf("%s: got %v", name, m)
			}
			s.Close()
		}
		d.Connect(pondtest.SSE, "/socket?join=/chat/%C3%A9").Expect("ACKNOWLEDGE")
	})
	if err := e.Publish(t.Context(), "/chat/\xff", "said", nil); err == nil {
		t.Error("published to a name that no client can join")
	}
}

// Arrays and null are not objects, although typeof in JavaScript says so.
func TestFault26_TopLevelKinds(t *testing.T) {
	kit.OnBothPlain(t, func(t *testing.T, d *pondtest.Driver, tr pondtest.Transport) {
		s := d.Connect(tr, "/socket")
		for text, kind := range map[string]string{"[]": "array", " null": "null", `"{}"`: "string", "1": "number", "true": "boolean"} {
			s.SendRaw([]byte(text))
			m := s.Receive()
			var payload struct{ Message string }
			m.Bind(t, &payload)
			if want := "clientMessage: Expected object, got " + kind; payload.Message != want || kit.Status(t, m) != http.StatusBadRequest {
				t.Errorf("%s: got %v, want %q", text, m, want)
			}
		}
	})
}

// Other members can receive the event names and request IDs of a client, even if no handler
// checks them. So their length is limited.
func TestFault18_LongNames(t *testing.T) {
	var met kit.Limits
	build := func() *pond.Pond {
		met = kit.Limits{}
		p := pond.New(met.Observer(), pond.WithLogger(kit.Silent))
		e := p.Endpoint("/socket", kit.Accept)
		p.Endpoint("/short", kit.Accept, pond.WithMaxEventName(8), pond.WithMaxRequestID(36)).Lobby("*", kit.Admit).
			OnMessage("*", func(ctx *pond.EventContext) error { return ctx.Reply("ok", nil) })
		l := e.Lobby("*", kit.Admit)
		l.OnMessage("*", func(ctx *pond.EventContext) error {
			return ctx.Broadcast(ctx.Event(), map[string]string{"text": "hi"})
		})
		return p
	}
	long := strings.Repeat("x", 256)
	kit.OnBoth(t, build, func(t *testing.T, d *pondtest.Driver, tr pondtest.Transport) {
		s, other := d.Connect(tr, "/socket"), d.Connect(tr, "/socket")
		s.Join(long, nil)
		other.Join(long, nil)
		send := func(s *pondtest.Session, channel, event, request string) {
			s.SendRaw([]byte(`{"action":"BROADCAST","channelName":"` + channel + `","event":"` + event +
				`","requestId":"` + request + `","payload":{"pad":"` + strings.Repeat("x", 10_000) + `"}}`))
		}
		rejected := func(s *pondtest.Session, text string, limit pond.Limit, times int) {
			t.Helper()
			m := s.Receive()
			var payload struct{ Message string }
			m.Bind(t, &payload)
			if m.Event != "INVALID_MESSAGE" || kit.Status(t, m) != http.StatusBadRequest || payload.Message != text {
				t.Errorf("got %v", m)
			}
			if n := met.Of(limit); n != times {
				t.Errorf("%s: observed %d times, want %d", limit, n, times)
			}
		}
		send(s, long, long+"x", "r")
		rejected(s, "event: Expected at most 256 bytes", pond.LimitEventName, 1)
		send(s, long, "e?"+long, "r")
		rejected(s, "event: Expected at most 256 bytes", pond.LimitEventName, 2)
		send(s, long, "e", long+"x")
		rejected(s, "requestId: Expected at most 256 bytes", pond.LimitRequestID, 1)
		send(s, long, "e", strings.Repeat("x", 900_000))
		rejected(s, "requestId: Expected at most 256 bytes", pond.LimitRequestID, 2)
		other.Quiet()

		// What other members receive if all names have the largest allowed length.
		send(s, long, long, long)
		if m := other.Receive(); m.Event != long || m.RequestID != long || len(m.Raw) > 3*256+200 {
			t.Errorf("got %d bytes: %v", len(m.Raw), m)
		}

		short := d.Connect(tr, "/short")
		short.Join("c", nil) // with a UUID
		send(short, "c", "12345678", long[:36])
		kit.Is(t, short.Receive(), "SYSTEM", "ok", "{}")
		send(short, "c", "123456789", "1")
		rejected(short, "event: Expected at most 8 bytes", pond.LimitEventName, 3)
		send(short, "c", "1", long[:37])
		rejected(short, "requestId: Expected at most 36 bytes", pond.LimitRequestID, 3)
	})
}
