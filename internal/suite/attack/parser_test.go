package attack_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/pondsocket/pond"
	"github.com/pondsocket/pond/internal/suite/kit"
	"github.com/pondsocket/pond/internal/ws"
	"github.com/pondsocket/pond/pondtest"
)

// newRepeater returns a server that broadcasts every event to the other members.
func newRepeater(opts ...pond.EndpointOption) *pond.Pond {
	p := pond.New(pond.WithLogger(kit.Silent))
	l := p.Endpoint("/socket", kit.Accept, opts...).Lobby("/chat/:room", kit.Admit)
	l.OnMessage("*", func(ctx *pond.EventContext) error { return ctx.Broadcast(ctx.Event(), ctx.Payload()) })
	return p
}

// say returns a message with the given members as raw JSON.
func say(event, requestID, payload string) string {
	return `{"action":"BROADCAST","channelName":"/chat/1","event":` + event + `,"requestId":` + requestID + `,"payload":` + payload + `}`
}

// The server reads megabytes of useless JSON once, and rejects the message. It handles the
// next message of the same client.
func TestAttackHugeNonsense(t *testing.T) {
	const size = 10 << 20 / kit.Slowdown
	for name, text := range map[string]string{
		"brackets":         strings.Repeat("[", size),
		"pairs of them":    strings.Repeat("[]", size/2),
		"line feeds":       strings.Repeat("\n", size),
		"quotes":           strings.Repeat(`"`, size),
		"backslashes":      `{"event":"` + strings.Repeat(`\`, size),
		"digits":           strings.Repeat("9", size),
		"objects":          strings.Repeat(`{"a":`, size/100),
		"balanced objects": say(`"e"`, `"r"`, strings.Repeat(`{"a":`, size/100)+"1"+strings.Repeat("}", size/100)),
		"members":          "{" + strings.Repeat(`"a":1,`, size/6),
		"elements":         `{"payload":[` + strings.Repeat(`{},`, size/3),
	} {
		t.Run(name, func(t *testing.T) {
			build := func() *pond.Pond { return newRepeater(pond.WithMaxMessageSize(size + 1000)) }
			kit.OnBoth(t, build, func(t *testing.T, d *pondtest.Driver, tr pondtest.Transport) {
				s := d.Connect(tr, "/socket")
				s.Join("/chat/1", nil)
				before := kit.Heap()
				s.SendRaw([]byte(text))
				m := s.Receive()
				if m.Event != "INVALID_MESSAGE" || kit.Status(t, m) != 400 || len(m.Raw) > 1000 {
					t.Errorf("got %v", m)
				}
				s.Request("/chat/1", "well", nil)
				if grown := kit.Heap() - before; grown > 1<<20 {
					t.Errorf("%d bytes are kept", grown)
				}
			})
		})
	}
}

// With the default limit, such messages are rejected for their size.
func TestAttackHugeMessage(t *testing.T) {
	kit.OnBoth(t, func() *pond.Pond { return newRepeater() }, func(t *testing.T, d *pondtest.Driver, tr pondtest.Transport) {
		s := d.Connect(tr, "/socket")
		s.SendRaw([]byte(strings.Repeat("[", 10<<20)))
		if m := s.Receive(); kit.Status(t, m) != 413 {
			t.Errorf("got %v", m)
		}
	})
}

// Unusual but valid messages reach the other members unchanged, and cannot affect
// the envelope around the payload.
func TestAttackOddMessages(t *testing.T) {
	type row struct{ name, sent, event, requestID, payload string }
	rows := []row{
		{"prototype", `{"__proto__":{"admin":true},"constructor":{"prototype":{"admin":true}}}`, "e", "r", ""},
		{"duplicates", `{"a":1,"a":2,"a":3}`, "e", "r", ""},
		{"lone surrogates", `{"\ud800":"\udc00\ud800"}`, "e", "r", ""},
		{"NUL", `{"\u0000":"\u0000"}`, "e", "r", ""},
		{"line ends", `{"a":"\u2028\u2029\r\n"}`, "e", "r", ""},
		{"numbers", `{"n":[1e999,-0,12345678901234567890123456789,1E-400]}`, "e", "r", ""},
		{"names of ours", `{"action":"SYSTEM","recipients":["x"],"channelName":"/chat/2","requestId":"s"}`, "e", "r", ""},
		{"markup", `{"a":"</script><!--&\u003c"}`, "e", "r", ""},
	}
	for i := range rows {
		rows[i].payload = rows[i].sent
		rows[i].sent = say(`"e"`, `"r"`, rows[i].sent)
	}
	rows = append(
		rows,
		row{"many duplicates", "{" + strings.Repeat(`"event":"x","payload":{"x":1},`, 20_000) + say(`"e"`, `"r"`, `{"y":2}`)[1:], "e", "r", `{"y":2}`},
		row{"names around", `{"__proto__":{"action":"SYSTEM"},"recipients":["x"],"nodeId":"n",` + say(`"e"`, `"r"`, `{}`)[1:], "e", "r", `{}`},
		row{"NUL in names", say(`"e\u0000"`, `"\u0000"`, `{}`), "e\x00", "\x00", `{}`},
		row{"long names", say(`"`+strings.Repeat("e", 256)+`"`, `"`+strings.Repeat("r", 256)+`"`, `{}`), strings.Repeat("e", 256), strings.Repeat("r", 256), `{}`},
	)
	for _, tr := range pondtest.Transports {
		server := &kit.TappedPond{Pond: newRepeater()}
		server.Run(t, func(t *testing.T, d *pondtest.Driver) {
			s, other := d.Connect(tr, "/socket"), d.Connect(pondtest.SSE, "/socket?sse=named")
			s.Join("/chat/1", nil)
			other.Join("/chat/1", nil)
			for _, r := range rows {
				s.SendRaw([]byte(r.sent))
				for _, receiver := range []*pondtest.Session{s, other} {
					m := receiver.Receive()
					if m.Action != "BROADCAST" || m.Event != r.event || m.RequestID != r.requestID || string(m.Payload) != r.payload || m.Channel != "/chat/1" {
						t.Errorf("%s, %s: got %v", tr, r.name, m)
					}
				}
			}
			s.Quiet()
			other.Quiet()
		})
	}
}

// Messages with invalid UTF-8 anywhere are rejected and reach no other client.
func TestAttackInvalidUTF8(t *testing.T) {
	for _, bad := range []string{"\xff", "\xc3", "\xc0\xaf", "\xed\xa0\x80", "\xf4\x90\x80\x80"} {
		rows := map[string]string{"nowhere": bad}
		for _, field := range []string{"action", "event", "channelName", "requestId", "payload", "unknown"} {
			for _, where := range []string{"name", "value"} {
				text := `{"action":"BROADCAST","channelName":"/chat/1","event":"e","requestId":"r","payload":{"a":"p"},"unknown":"u"}`
				name, value, _ := strings.Cut(text[strings.Index(text, `"`+field+`":`):], ":")
				if where == "name" {
					text = strings.Replace(text, name, name[:len(name)-1]+bad+`"`, 1)
				} else {
					at := strings.Index(text, name) + len(name) + 1 + strings.Index(value[1:], `"`) + 1
					text = text[:at] + bad + text[at:]
				}
				rows[field+", "+where] = text
			}
		}
		for _, mode := range []string{string(pondtest.WebSocket), kit.BinaryMessages, string(pondtest.SSE)} {
			pondtest.Run(t, newRepeater(), func(t *testing.T, d *pondtest.Driver) {
				other := d.Connect(pondtest.WebSocket, "/socket")
				other.Join("/chat/1", nil)
				for name, text := range rows {
					s := d.Connect(kit.TransportOf(mode), "/socket")
					s.Join("/chat/1", nil)
					kit.SendAs(t, d, mode, s, text)
					if mode == string(pondtest.WebSocket) {
						if code, _ := s.Closed(); code != ws.CloseInvalidPayload {
							t.Errorf("%s, %q in %s: closed with %d", mode, bad, name, code)
						}
						continue
					}
					if m := s.Receive(); m.Event != "INVALID_MESSAGE" || kit.Status(t, m) != 400 {
						t.Errorf("%s, %q in %s: got %v", mode, bad, name, m)
					}
				}
				other.Quiet()
			})
		}
	}
}

// U10: the name of an event cannot end its line in an event stream and start another
// field or event.
func TestProbeU10EventInjection(t *testing.T) {
	names := []string{
		"a\ndata: {}", "a\rdata: {}", "a\r\n\r\ndata: {}\n\n", "\n", "\r", "\n\n", "a\x00b", "a\nid: 1", "a\nretry: 1",
		": comment", "data: {}", " a", "a\u2028data: {}", "a\u0085data: {}", "\ufeff", "",
	}
	p, e, _ := kit.NewPond()
	pondtest.Run(t, p, func(t *testing.T, d *pondtest.Driver) {
		named, unnamed := d.Connect(pondtest.SSE, "/socket?sse=named"), d.Connect(pondtest.SSE, "/socket?sse=unnamed")
		named.Join("/chat/1", nil)
		unnamed.Join("/chat/1", nil)
		ch, _ := e.Channel("/chat/1")
		const before = 2
		for _, name := range names {
			if err := ch.Broadcast(name, map[string]string{"n": name}); err != nil {
				t.Fatal(err)
			}
		}
		for _, s := range []*pondtest.Session{named, unnamed} {
			events := kit.ParseEventStream(string(s.Bytes()))[before:]
			if len(events) != len(names) || len(s.Drain()) != len(names) {
				t.Fatalf("%d events of %d: %q", len(events), len(names), events)
			}
			for i, event := range events {
				want := strings.NewReplacer("\n", " ", "\r", " ", "\x00", " ").Replace(names[i])
				if s == unnamed {
					want = ""
				} else if want == "" {
					want = "message"
				}
				m := kit.Decode[pondtest.Message](t, []byte(event.Data))
				if event.Name != want || m.Event != names[i] || string(m.Payload) != kit.JSON(t, map[string]string{"n": names[i]}) {
					t.Errorf("%q was received as %q: %s", names[i], event.Name, event.Data)
				}
			}
			if raw := string(s.Bytes()); strings.Contains(raw, "\nid:") || strings.Contains(raw, "\nretry:") {
				t.Errorf("a field of another message in %q", raw)
			}
		}
	})
}

// The limit of depth is exact, and nesting does not use the reader's stack.
func TestAttackDepth(t *testing.T) {
	kit.OnBoth(t, func() *pond.Pond { return newRepeater() }, func(t *testing.T, d *pondtest.Driver, tr pondtest.Transport) {
		s := d.Connect(tr, "/socket")
		s.Join("/chat/1", nil)
		for depth, ok := range map[int]bool{64: true, 65: false} { // the message and its payload are the first two levels
			array := strings.Repeat("[", depth-2) + strings.Repeat("]", depth-2)
			s.SendRaw([]byte(say(`"e"`, fmt.Sprintf(`"%d"`, depth), `{"a":`+array+`}`)))
			if m := s.Receive(); (m.Action == "BROADCAST") != ok {
				t.Errorf("depth %d: got %v", depth, m)
			}
		}
	})
}
