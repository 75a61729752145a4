package channel_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/pondsocket/pond"
	"github.com/pondsocket/pond/internal/suite/kit"
	"github.com/pondsocket/pond/pondtest"
)

func TestRefusedJoins(t *testing.T) {
	server := func() *pond.Pond {
		p := pond.New(pond.WithLogger(kit.Silent))
		e := p.Endpoint("/socket", kit.Accept, pond.WithMaxChannels(2), pond.WithMaxChannelName(20))
		e.Lobby("/declined", func(ctx *pond.JoinContext) error { return ctx.Decline(403, "Nope") })
		e.Lobby("/default", func(ctx *pond.JoinContext) error { return ctx.Decline(0, "") })
		e.Lobby("/undecided", func(*pond.JoinContext) error { return nil })
		e.Lobby("/broken", func(*pond.JoinContext) error { return errors.New("db password is hunter2") })
		e.Lobby("/typed", func(*pond.JoinContext) error { return pond.Errorf(409, "taken by %s", "bob") })
		e.Lobby("/panic", func(*pond.JoinContext) error { panic("hunter2") })
		e.Lobby("/early/:what", func(ctx *pond.JoinContext) error {
			for _, err := range []error{
				ctx.Reply("r", nil), ctx.Broadcast("b", nil), ctx.Track(nil), ctx.Others().Broadcast("o", nil),
			} {
				if !errors.Is(err, pond.ErrNotAccepted) {
					return pond.Errorf(500, "early: %v", err)
				}
			}
			return ctx.Decline(418, "as expected")
		})
		e.Lobby("/free/:n", kit.Admit)
		return p
	}
	kit.OnBoth(t, server, func(t *testing.T, d *pondtest.Driver, tr pondtest.Transport) {
		s := d.Connect(tr, "/socket")
		for _, test := range []struct {
			channel, code string
			status        int
			message       string
		}{
			{"/declined", "UNAUTHORIZED_JOIN_REQUEST", 403, "Nope"},
			{"/default", "UNAUTHORIZED_JOIN_REQUEST", 401, "Unauthorized"},
			{"/undecided", "UNAUTHORIZED_JOIN_REQUEST", 401, "the join was not accepted"},
			{"/broken", "CHANNEL_ERROR", 500, "internal error"},
			{"/typed", "UNAUTHORIZED_JOIN_REQUEST", 409, "taken by bob"},
			{"/panic", "CHANNEL_ERROR", 500, "internal error"},
			{"/early/x", "UNAUTHORIZED_JOIN_REQUEST", 418, "as expected"},
			{"/nowhere", "CHANNEL_NOT_FOUND", 404, "channel not found"},
			{"", "CHANNEL_NOT_FOUND", 404, "channel not found"},
			{"/free/" + strings.Repeat("x", 20), "CHANNEL_ERROR", 400, "invalid channel name"},
			{"/free/\u0007", "CHANNEL_ERROR", 400, "invalid channel name"},
		} {
			m := s.Join(test.channel, nil)
			want := fmt.Sprintf(`{"code":%q,"message":%q,"status":%d,"statusCode":%[3]d,"error":{"message":%[2]q,"status":%[3]d}}`,
				test.code, test.message, test.status)
			kit.Is(t, m, "SYSTEM", "UNAUTHORIZED", want)
			if m.Channel != test.channel {
				t.Fatalf("got %v for %q", m, test.channel)
			}
		}
		s.Join("/free/1", nil)
		s.Join("/free/2", nil)
		if m := s.Join("/free/3", nil); kit.Status(t, m) != http.StatusTooManyRequests {
			t.Fatalf("got %v", m)
		}
		kit.Is(t, s.Join("/free/1", nil), "SYSTEM", "ACKNOWLEDGE", "{}") // again: not a second membership
		s.Quiet()
	})
}

func TestErrorAfterAccept(t *testing.T) {
	server := func() *pond.Pond {
		p := pond.New(pond.WithLogger(kit.Silent))
		p.Endpoint("/socket", kit.Accept).Lobby("/chat", func(ctx *pond.JoinContext) error {
			return errors.Join(ctx.Accept(), ctx.Accept())
		})
		return p
	}
	kit.OnBoth(t, server, func(t *testing.T, d *pondtest.Driver, tr pondtest.Transport) {
		s := d.Connect(tr, "/socket")
		ack := s.Join("/chat", nil)
		kit.Is(t, ack, "SYSTEM", "ACKNOWLEDGE", "{}")
		m := s.Receive()
		if m.Action != "ERROR" || m.Event != "CHANNEL_ERROR" || m.RequestID != ack.RequestID || kit.Status(t, m) != 500 {
			t.Fatalf("got %v", m)
		}
	})
}

func TestHandlerErrors(t *testing.T) {
	type form struct{ Count int }
	server := func() *pond.Pond {
		p := pond.New(pond.WithLogger(kit.Silent))
		l := p.Endpoint("/socket", kit.Accept).Lobby("/chat", kit.Admit)
		l.OnMessage("typed", func(*pond.EventContext) error {
			return &pond.Error{Code: 409, Message: "conflict", Details: map[string]int{"n": 1}, Err: errors.New("hunter2")}
		})
		l.OnMessage("plain", func(*pond.EventContext) error { return errors.New("hunter2") })
		l.OnMessage("panic", func(*pond.EventContext) error { panic("hunter2") })
		l.OnMessage("array", func(ctx *pond.EventContext) error { return ctx.Broadcast("x", []int{1}) })
		l.OnMessage("ok", func(ctx *pond.EventContext) error { return ctx.Reply("ok", nil) })
		pond.On(l, pond.Event[form]("form"), func(ctx *pond.EventContext, f form) error { return ctx.Reply("form", f) })
		return p
	}
	kit.OnBoth(t, server, func(t *testing.T, d *pondtest.Driver, tr pondtest.Transport) {
		s := d.Connect(tr, "/socket")
		s.Join("/chat", nil)
		for _, test := range []struct {
			event, payload, want string
		}{
			{"typed", "{}", `{"code":409,"message":"conflict","status":409,"statusCode":409,"error":{"message":"conflict","status":409},"details":{"n":1}}`},
			{"plain", "{}", `{"code":500,"message":"internal error","status":500,"statusCode":500,"error":{"message":"internal error","status":500}}`},
			{"panic", "{}", `{"code":500,"message":"internal error","status":500,"statusCode":500,"error":{"message":"internal error","status":500}}`},
			{"array", "{}", `{"code":500,"message":"internal error","status":500,"statusCode":500,"error":{"message":"internal error","status":500}}`},
			{"none", "{}", `{"code":500,"message":"A handler did not respond to the event","status":500,"statusCode":500,"error":{"message":"A handler did not respond to the event","status":500}}`},
			{"form", `{"Count":"many"}`, `{"code":400,"message":"the payload does not have the expected form","status":400,"statusCode":400,"error":{"message":"the payload does not have the expected form","status":400}}`},
		} {
			m := s.Request("/chat", test.event, json.RawMessage(test.payload))
			kit.Is(t, m, "ERROR", "HANDLER_NOT_FOUND", test.want)
		}
		kit.Is(t, s.Request("/chat", "form", map[string]int{"Count": 2}), "SYSTEM", "form", `{"Count":2}`)
		kit.Is(t, s.Request("/chat", "ok", nil), "SYSTEM", "ok", "{}") // the errors had no other effect
		s.Quiet()
	})
}
