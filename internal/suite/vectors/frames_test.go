package vectors_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/pondsocket/pond"
	"github.com/pondsocket/pond/internal/suite/kit"
	"github.com/pondsocket/pond/pondtest"
)

// A stage is a server with two clients. Each scene gets a new one.
type stage struct {
	t          *testing.T
	d          *pondtest.Driver
	tr         pondtest.Transport
	server     *kit.TappedPond
	endpoint   *pond.Endpoint
	alice, bob *pondtest.Session
	known      map[string]string // values of placeholders
}

// scenes has a function for each vector of the group server-frame. It returns the
// messages that the vector describes.
var scenes = map[string]func(s *stage) []pondtest.Message{
	"connection": func(s *stage) []pondtest.Message {
		return []pondtest.Message{{Raw: s.server.Sent(s.t, s.server.Connections()-2)[0]}}
	},
	"connection-reply": func(s *stage) []pondtest.Message {
		return s.d.Connect(s.tr, "/socket?welcome=1").Drain()
	},
	"ack": func(s *stage) []pondtest.Message {
		return s.send(s.alice, "JOIN_CHANNEL", "/chat/1", "", "ja", "{}")
	},
	"join-reply": func(s *stage) []pondtest.Message {
		return s.send(s.alice, "JOIN_CHANNEL", "/chat/1", "", "ja", `{"do":"reply"}`)[1:]
	},
	"join-declined": func(s *stage) []pondtest.Message {
		return s.send(s.alice, "JOIN_CHANNEL", "/chat/j", "", "j", `{"do":"decline"}`)
	},
	"join-undecided": func(s *stage) []pondtest.Message {
		return s.send(s.alice, "JOIN_CHANNEL", "/chat/j", "", "j", `{"do":"nothing"}`)
	},
	"join-error": func(s *stage) []pondtest.Message {
		return s.send(s.alice, "JOIN_CHANNEL", "/chat/j", "", "j", `{"do":"fail"}`)
	},
	"join-not-found": func(s *stage) []pondtest.Message {
		return s.send(s.alice, "JOIN_CHANNEL", "/nope/1", "", "jn", "{}")
	},
	"join-duplicate": func(s *stage) []pondtest.Message {
		s.alice.Join("/chat/1", nil)
		answers := s.send(s.alice, "JOIN_CHANNEL", "/chat/1", "", "ja2", "{}")
		if twice := s.send(s.alice, "BROADCAST", "/chat/1", "message", "m", "{}"); len(twice) != 1 {
			s.t.Errorf("a second join is answered with %v", twice)
		}
		return answers
	},
	"broadcast-from-event": func(s *stage) []pondtest.Message {
		s.join()
		s.send(s.alice, "BROADCAST", "/chat/1", "message", "m1", `{"text":"hi"}`)
		return s.bob.Drain()
	},
	"broadcast-from-server": func(s *stage) []pondtest.Message {
		s.join()
		if err := s.channel("/chat/1").Broadcast("srv", map[string]bool{"all": true}); err != nil {
			s.t.Error(err)
		}
		return s.bob.Drain()
	},
	"event-reply": func(s *stage) []pondtest.Message {
		s.join()
		answer := s.send(s.alice, "BROADCAST", "/chat/1", "echo", "m4", `{"x":1}`)
		s.bob.Quiet()
		return answer
	},
	"event-no-handler": func(s *stage) []pondtest.Message {
		s.join()
		return s.send(s.alice, "BROADCAST", "/chat/1", "nobody", "m7", "{}")
	},
	"event-handler-error": func(s *stage) []pondtest.Message {
		s.join()
		return s.send(s.alice, "BROADCAST", "/chat/1", "fail", "m", "{}")
	},
	"event-not-member": func(s *stage) []pondtest.Message {
		s.bob.Join("/chat/1", nil)
		return s.send(s.alice, "BROADCAST", "/chat/1", "message", "n1", `{"t":1}`)
	},
	"event-channel-missing": func(s *stage) []pondtest.Message {
		return s.send(s.alice, "BROADCAST", "/chat/none", "message", "n2", `{"t":1}`)
	},
	"presence-join": func(s *stage) []pondtest.Message {
		s.join()
		return s.send(s.alice, "BROADCAST", "/chat/1", "track", "", alice)
	},
	"presence-update": func(s *stage) []pondtest.Message {
		s.track()
		return s.send(s.alice, "BROADCAST", "/chat/1", "update", "", aliceAway)
	},
	"presence-leave": func(s *stage) []pondtest.Message {
		s.track()
		s.send(s.alice, "BROADCAST", "/chat/1", "update", "", aliceAway)
		s.bob.Drain()
		if left := s.send(s.alice, "BROADCAST", "/chat/1", "untrack", "", "{}"); len(left) > 0 {
			s.t.Errorf("a member that is not tracked receives %v", left)
		}
		return s.bob.Drain()
	},
	"evict-target": func(s *stage) []pondtest.Message {
		s.track()
		s.evictBob()
		return s.bob.Drain()
	},
	"evict-others": func(s *stage) []pondtest.Message {
		s.track()
		s.evictBob()
		return s.alice.Drain()
	},
	"leave-ack": func(s *stage) []pondtest.Message {
		s.alice.Join("/chat/1", nil)
		return s.send(s.alice, "LEAVE_CHANNEL", "/chat/1", "", "l1", "{}")
	},
	"oversize": func(s *stage) []pondtest.Message {
		body := []byte(`{"pad":"` + strings.Repeat("x", 1_100_098-10) + `"}`)
		if s.tr == pondtest.WebSocket {
			s.alice.SendRaw(body)
			if code, _ := s.alice.Closed(); code != 1009 {
				s.t.Errorf("closed with %d", code)
			}
		} else if status := s.d.Push(s.alice, body); status != http.StatusRequestEntityTooLarge {
			s.t.Errorf("status %d", status)
		}
		return s.alice.Drain()
	},
	"destroyed": func(s *stage) []pondtest.Message {
		s.alice.Join("c", nil)
		s.channel("c").Close("")
		return s.alice.Drain()
	},
}

const (
	alice     = `{"name":"alice","status":"online"}`
	aliceAway = `{"name":"alice","status":"away"}`
	bob       = `{"name":"bob","status":"online"}`
)

// send sends a message with all its members and returns the answers.
func (s *stage) send(from *pondtest.Session, action, channel, event, requestID, payload string) []pondtest.Message {
	s.t.Helper()
	from.Drain()
	from.SendRaw([]byte(kit.JSON(s.t, map[string]any{
		"action": action, "channelName": channel, "event": event, "requestId": requestID, "payload": json.RawMessage(payload),
	})))
	return from.Drain()
}

func (s *stage) join() {
	s.t.Helper()
	s.alice.Join("/chat/1", nil)
	s.bob.Join("/chat/1", nil)
}

func (s *stage) track() {
	s.t.Helper()
	s.join()
	s.alice.Send("/chat/1", "track", json.RawMessage(alice))
	synctest.Wait() // before bob
	s.bob.Send("/chat/1", "track", json.RawMessage(bob))
	s.alice.Drain()
	s.bob.Drain()
}

func (s *stage) evictBob() {
	s.t.Helper()
	s.known["<user-id>"] = s.bob.ID()
	if err := s.channel("/chat/1").Evict(s.bob.ID(), "spam"); err != nil {
		s.t.Error(err)
	}
}

func (s *stage) channel(name string) *pond.Channel {
	s.t.Helper()
	synctest.Wait()
	ch, ok := s.endpoint.Channel(name)
	if !ok {
		s.t.Fatalf("channel %s does not exist", name)
	}
	return ch
}

// newTheatre returns a server with the handlers that the scenes need.
func newTheatre() (*kit.TappedPond, *pond.Endpoint) {
	p := pond.New(pond.WithLogger(kit.Silent))
	e := p.Endpoint("/socket", func(ctx *pond.ConnectionContext) error {
		if ctx.Query().Has("welcome") {
			return errors.Join(ctx.Accept(), ctx.Reply("welcome", map[string]string{"hello": "world"}))
		}
		return ctx.Accept()
	})
	e.Lobby("c", kit.Admit)
	l := e.Lobby("/chat/:room", func(ctx *pond.JoinContext) error {
		var params struct {
			Do string `json:"do"`
		}
		if err := ctx.Bind(&params); err != nil {
			return err
		}
		switch params.Do {
		case "decline":
			return ctx.Decline(http.StatusForbidden, "Nope")
		case "nothing":
			return nil
		case "fail":
			return errors.New("join boom")
		case "reply":
			return errors.Join(ctx.Accept(), ctx.Reply("welcome", map[string]string{"room": ctx.Channel().Param("room")}))
		default:
			return ctx.Accept()
		}
	})
	l.OnMessage("message", func(ctx *pond.EventContext) error { return ctx.Broadcast("message", ctx.Payload()) })
	l.OnMessage("echo", func(ctx *pond.EventContext) error { return ctx.Reply("echo", ctx.Payload()) })
	l.OnMessage("fail", func(*pond.EventContext) error { return errors.New("event boom") })
	l.OnMessage("track", func(ctx *pond.EventContext) error { return ctx.Track(ctx.Payload()) })
	l.OnMessage("update", func(ctx *pond.EventContext) error { return ctx.Update(ctx.Payload()) })
	l.OnMessage("untrack", func(ctx *pond.EventContext) error { return ctx.Untrack() })
	return &kit.TappedPond{Pond: p}, e
}

func runServerFrames(t *testing.T, mode string, each eachVector) {
	server, endpoint := newTheatre()
	tr := kit.TransportOf(mode)
	server.Run(t, func(t *testing.T, d *pondtest.Driver) {
		each(func(v vector) {
			name := strings.TrimPrefix(v.Name, "server-frame/")
			scene := scenes[name]
			if scene == nil {
				t.Fatalf("%s: unknown scene", v.Name)
			}
			s := &stage{
				t: t, d: d, tr: tr, server: server, endpoint: endpoint,
				alice: d.Connect(tr, "/socket"), bob: d.Connect(tr, "/socket"),
			}
			s.known = map[string]string{"<user-id>": s.alice.ID(), "<connection-id>": s.alice.ConnectionID()}
			messages := scene(s)
			frames := wantedFrames(t, v)
			if len(messages) != len(frames) {
				t.Errorf("%s: %d messages, want %d: %v", v.Name, len(messages), len(frames), messages)
				return
			}
			for i, m := range messages {
				if err := matchFrame(m.Raw, frames[i], s.known); err != nil {
					t.Errorf("%s: %v", v.Name, err)
				}
			}
			s.alice.Close()
			s.bob.Close()
			synctest.Wait()
		})
	})
}

// wantedFrames returns the frames that a vector expects.
func wantedFrames(t *testing.T, v vector) []map[string]any {
	t.Helper()
	want := kit.Decode[struct{ JS, Recommended any }](t, v.Expected)
	switch recommended := want.Recommended.(type) {
	case []any:
		var frames []map[string]any
		for _, frame := range recommended {
			frames = append(frames, frame.(map[string]any))
		}
		return frames
	case map[string]any:
		if deviations[v.Name] != "" {
			setStatus(recommended, http.StatusUnauthorized)
		}
		return []map[string]any{recommended}
	default: // described in words: the frame of the JavaScript server, except for its text
		frame := want.JS.(map[string]any)
		payload := frame["payload"].(map[string]any)
		payload["message"] = "<any-string>"
		payload["error"].(map[string]any)["message"] = "<any-string>"
		return []map[string]any{frame}
	}
}

func setStatus(frame map[string]any, status float64) {
	payload := frame["payload"].(map[string]any)
	payload["status"], payload["statusCode"] = status, status
	payload["error"].(map[string]any)["status"] = status
}
