package attack_test

import (
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/pondsocket/pond"
	"github.com/pondsocket/pond/internal/suite/kit"
	"github.com/pondsocket/pond/pondtest"
)

// A note is what the handlers of these tests decode.
type note struct {
	Text   string `json:"text"`
	Kind   string `json:"kind,omitempty"`
	Secret bool   `json:"secret,omitempty"`
	Quoted *note  `json:"quoted,omitempty"`
}

// strictPond is a server whose handlers decide by the decoded payload, and send the
// original payload: in a join handler, a typed handler and an outgoing filter.
func strictPond(seen *[]note) *pond.Pond {
	p := pond.New(pond.WithLogger(kit.Silent))
	l := p.Endpoint("/socket", kit.Accept).Lobby("/chat/:room", func(ctx *pond.JoinContext) error {
		var who note
		if err := ctx.Bind(&who); err != nil {
			return err
		}
		*seen = append(*seen, who)
		if err := ctx.Accept(); err != nil {
			return err
		}
		return ctx.Track(ctx.Payload())
	})
	pond.On(l, pond.Event[note]("post"), func(ctx *pond.EventContext, m note) error {
		*seen = append(*seen, m)
		return ctx.Broadcast("posted", ctx.Payload())
	})
	l.OnMessage("raw", func(ctx *pond.EventContext) error { return ctx.Broadcast("filtered", ctx.Payload()) })
	l.OnOutgoing("filtered", func(ctx *pond.OutgoingContext) error {
		var m note
		if err := ctx.Bind(&m); err != nil {
			return err
		}
		if m.Secret {
			ctx.Block()
		}
		return nil
	})
	return p
}

// ambiguousPosts are payloads that readers understand differently.
var ambiguousPosts = map[string]string{
	"case":                    `{"text":"<script>","TEXT":"hi"}`,
	"case alone":              `{"TEXT":"hi"}`,
	"escaped case":            `{"\u0054EXT":"hi"}`,
	"Kelvin sign":             `{"kind":"admin","\u212aind":"user"}`,
	"long s":                  `{"text":"x","secret":true,"\u017fecret":false}`,
	"capital":                 `{"text":"x","secret":true,"Secret":false}`,
	"duplicate":               `{"text":"<script>","text":"hi"}`,
	"escaped duplicate":       `{"text":"<script>","te\u0078t":"hi"}`,
	"unknown duplicate":       `{"text":"hi","html":"a","html":"b"}`,
	"nested":                  `{"text":"hi","quoted":{"text":"hi","quoted":{"text":"a","Text":"b"}}}`,
	"nested duplicate":        `{"text":"hi","quoted":{"text":"a","text":"b"}}`,
	"duplicate in an unknown": `{"text":"hi","x":[{"y":{"z":1,"z":2}}]}`,
	"lone surrogate":          `{"text":"\ud83d"}`,
}

// A handler decodes the same values that members receive. A payload that they could
// understand differently is rejected in all handlers that decode it.
func TestFault25_AmbiguousPayloads(t *testing.T) {
	var seen []note
	kit.OnBoth(t, func() *pond.Pond { seen = nil; return strictPond(&seen) }, func(t *testing.T, d *pondtest.Driver, tr pondtest.Transport) {
		s, other := d.Connect(tr, "/socket"), d.Connect(tr, "/socket")
		s.Join("/chat/1", nil)
		other.Join("/chat/1", nil)
		s.Drain()
		other.Drain()
		for _, name := range slices.Sorted(maps.Keys(ambiguousPosts)) {
			payload := json.RawMessage(ambiguousPosts[name])
			seen = nil
			joined := s.Join("/chat/2", payload)
			posted := s.Request("/chat/1", "post", payload)
			for _, m := range []pondtest.Message{joined, posted} {
				var answer struct{ Message string }
				m.Bind(t, &answer)
				if kit.Status(t, m) != http.StatusBadRequest || !strings.HasPrefix(answer.Message, "the payload is ambiguous: ") {
					t.Errorf("%s: got %v", name, m)
				}
			}
			if joined.Event != "UNAUTHORIZED" || posted.Event != "HANDLER_NOT_FOUND" {
				t.Errorf("%s: got %v, %v", name, joined, posted)
			}
			s.Send("/chat/1", "raw", payload)
			s.Quiet() // the filter blocks events that it cannot decode
			other.Quiet()
			if seen != nil {
				t.Errorf("%s: handlers saw %+v", name, seen)
			}
		}
	})
}

// A payload with only one meaning is handled, and sent unchanged.
func TestFault25_UnambiguousPayloads(t *testing.T) {
	var seen []note
	kit.OnBoth(t, func() *pond.Pond { seen = nil; return strictPond(&seen) }, func(t *testing.T, d *pondtest.Driver, tr pondtest.Transport) {
		s := d.Connect(tr, "/socket")
		s.Join("/chat/1", nil)
		s.Drain()
		for _, payload := range []string{
			`{}`, `{"text":"hi"}`, `{"te\u0078t":"h\u0069"}`, `{"text":"\ud83d\ude00"}`, `{"text":null,"quoted":null}`,
			`{"text":"a","quoted":{"text":"b"},"x":{"text":1,"TEXT":2},"X":3}`, `{"x":"\ud83d"}`,
		} {
			var want note
			if err := json.Unmarshal([]byte(payload), &want); err != nil {
				t.Fatal(err)
			}
			seen = nil
			s.Send("/chat/1", "post", json.RawMessage(payload))
			kit.Is(t, s.Receive(), "BROADCAST", "posted", payload)
			s.Send("/chat/1", "raw", json.RawMessage(payload))
			kit.Is(t, s.Receive(), "BROADCAST", "filtered", payload)
			if kit.JSON(t, seen) != kit.JSON(t, []note{want}) {
				t.Errorf("%s: the handler saw %+v", payload, seen)
			}
		}
	})
}

// PresenceAs rejects an ambiguous presence that a handler tracked without decoding it.
func TestFault25_AmbiguousPresence(t *testing.T) {
	var failure error
	var decoded []pond.Tracked[note]
	build := func() *pond.Pond {
		p, _, l := kit.NewPond()
		l.OnMessage("read", func(ctx *pond.EventContext) error {
			decoded, failure = pond.PresenceAs[note](ctx.Channel())
			return ctx.Reply("read", nil)
		})
		return p
	}
	kit.OnBoth(t, build, func(t *testing.T, d *pondtest.Driver, tr pondtest.Transport) {
		for payload, ok := range map[string]bool{`{"text":"a","TEXT":"b"}`: false, `{"text":"a","text":"b"}`: false, `{"text":"a","x":"b"}`: true} {
			s := d.Connect(tr, "/socket")
			s.Join("/chat/1", nil)
			s.Send("/chat/1", "track", json.RawMessage(payload))
			s.Drain()
			s.Request("/chat/1", "read", nil)
			if (failure == nil) != ok || ok && len(decoded) != 1 {
				t.Errorf("%s: %v, %v", payload, decoded, failure)
			}
			s.Close()
		}
	})
}

// A target that is not a pointer is a mistake in the handler. The error does not blame the
// client's payload.
func TestBindIntoNothing(t *testing.T) {
	build := func() *pond.Pond {
		p, _, l := kit.NewPond()
		l.OnMessage("bind", func(ctx *pond.EventContext) error { return ctx.Bind(note{}) })
		return p
	}
	kit.OnBoth(t, build, func(t *testing.T, d *pondtest.Driver, tr pondtest.Transport) {
		s := d.Connect(tr, "/socket")
		s.Join("/chat/1", nil)
		if m := s.Request("/chat/1", "bind", nil); kit.Status(t, m) != http.StatusInternalServerError {
			t.Errorf("got %v", m)
		}
	})
}
