package attack_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pondsocket/pond"
	"github.com/pondsocket/pond/internal/suite/kit"
	"github.com/pondsocket/pond/pondtest"
)

// A transcript records the log and the calls of an observer.
type transcript struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (t *transcript) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.buf.Write(p)
}

func (t *transcript) note(args ...any) { fmt.Fprintln(t, args...) }

// observer returns an observer that writes all its arguments to the transcript.
func (t *transcript) observer() *pond.Observer {
	return &pond.Observer{
		Connected: func(e *pond.Endpoint, id string, tr pond.Transport) { t.note("connected", e.Path(), id, tr) },
		Disconnected: func(e *pond.Endpoint, id string, tr pond.Transport, cause error) {
			t.note("disconnected", e.Path(), id, tr, cause)
		},
		Rejected: func(e *pond.Endpoint, status int) { t.note("refused", e.Path(), status) },
		Joined:   func(ch *pond.Channel, u pond.User) { t.note("joined", ch.Name(), u.ID) },
		Left:     func(ch *pond.Channel, u pond.User, why pond.LeaveReason) { t.note("left", ch.Name(), u.ID, why) },
		Handled: func(ch *pond.Channel, event string, _ time.Duration, err error) {
			t.note("handled", ch.Name(), event, err)
		},
		Sent:    func(ch *pond.Channel, event string, n int) { t.note("sent", ch.Name(), event, n) },
		Limited: func(e *pond.Endpoint, l pond.Limit) { t.note("limited", e.Path(), l) },
	}
}

// Secrets of a client (cookies, parameters, payloads, assigns) do not appear in the
// log at any level, in the calls of an observer, in errors, or in messages to other
// clients, even when something fails.
func TestAttackSecretsStaySecret(t *testing.T) {
	secrets := []string{"cookie-s3cret", "query-s3cret", "header-s3cret", "params-s3cret", "assign-s3cret", "payload-s3cret", "garbage-s3cret"}
	const burst = 40
	var log transcript
	p := pond.New(
		pond.WithLogger(slog.New(slog.NewJSONHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug - 10, AddSource: true}))),
		pond.WithObserver(log.observer()),
	)
	e := p.Endpoint("/socket", func(ctx *pond.ConnectionContext) error {
		ctx.Assign("token", "assign-s3cret")
		switch ctx.Query().Get("do") {
		case "fail":
			return errors.New("database is down")
		case "panic":
			panic("connection handler")
		case "decline":
			return ctx.Decline(403, "")
		default:
			return ctx.Accept()
		}
	}, pond.WithRateLimit(10, burst), pond.WithMaxMessageSize(10_000), pond.WithOutboxSize(10_000))
	l := e.Lobby("/chat/:room", func(ctx *pond.JoinContext) error {
		switch ctx.Channel().Param("room") {
		case "fail":
			return errors.New("database is down")
		case "panic":
			panic("join handler")
		default:
			return ctx.Accept()
		}
	})
	l.OnMessage("fail", func(*pond.EventContext) error { return errors.New("database is down") })
	l.OnMessage("panic", func(*pond.EventContext) error { panic("message handler") })
	l.OnMessage("bind", func(ctx *pond.EventContext) error {
		return ctx.Bind(new(struct {
			Text int `json:"text"`
		}))
	})
	l.OnMessage("say", func(ctx *pond.EventContext) error { return ctx.Broadcast("said", nil) })
	l.OnMessage("out", func(ctx *pond.EventContext) error { return ctx.Broadcast("out", nil) })
	l.OnMessage("flood", func(ctx *pond.EventContext) error {
		return ctx.Broadcast("flood", map[string]string{"x": strings.Repeat("x", 8000)})
	})
	l.OnOutgoing("out", func(*pond.OutgoingContext) error { panic("outgoing handler") })
	l.OnLeave(func(*pond.LeaveContext) error { return errors.New("leave handler") })

	server := &kit.TappedPond{Pond: p}
	var own []*pondtest.Session
	server.Run(t, func(t *testing.T, d *pondtest.Driver) {
		spy := d.Connect(pondtest.SSE, "/socket")
		for _, tr := range pondtest.Transports {
			confide := func(r *http.Request) {
				r.AddCookie(&http.Cookie{Name: "session", Value: "cookie-s3cret"})
				r.Header.Set("Authorization", "Bearer header-s3cret")
				pondtest.Query("token", "query-s3cret")(r)
			}
			for _, target := range []string{"/socket?do=fail", "/socket?do=panic", "/socket?do=decline", "/nowhere"} {
				text := kit.ReadAll(t, d.Declined(tr, target, confide))
				log.note("answer", text)
			}
			connect := func() *pondtest.Session {
				s := d.Connect(tr, "/socket", confide)
				own = append(own, s)
				return s
			}
			spy.Join("/chat/1", nil)

			s := connect()
			for _, room := range []string{"1", "fail", "panic"} {
				s.Join("/chat/"+room, map[string]string{"password": "params-s3cret"})
			}
			for _, event := range []string{"fail", "panic", "bind", "say", "out", "nobody"} {
				s.Send("/chat/1", event, map[string]string{"text": "payload-s3cret"})
			}
			for _, garbage := range []string{"garbage-s3cret", `{"action":"garbage-s3cret"}`, `{"payload":{"x":garbage-s3cret}}`} {
				s.SendRaw([]byte(garbage))
			}
			synctest.Wait()
			for range 2 * burst { // until the rate limit is exceeded
				s.SendRaw([]byte("garbage-s3cret"))
			}
			s.Closed()

			connect().SendRaw([]byte("garbage-s3cret" + strings.Repeat("x", 10_000)))

			s = connect()
			s.Join("/chat/1", map[string]string{"password": "params-s3cret"})
			s.Stall()
			for range 20 { // until the client is too slow
				spy.Send("/chat/1", "flood", nil)
				time.Sleep(time.Second)
				synctest.Wait()
			}
		}
		log.note("spy", string(spy.Bytes()))
		for _, s := range own {
			secrets = append(secrets, s.ConnectionID())
		}
		secrets = append(secrets, spy.ConnectionID())
		text := strings.Replace(log.buf.String(), spy.ConnectionID(), "", 1) // its own stream contained it
		for _, must := range []string{
			"connection handler", "join handler", "message handler", "outgoing handler", "leave handler", "database is down",
			string(pond.LimitRate), string(pond.LimitOutbox), string(pond.LimitMessage), "refused", "said",
		} {
			if !strings.Contains(text, must) {
				t.Errorf("the transcript does not mention %q", must)
			}
		}
		for _, secret := range secrets {
			if at := strings.Index(text, secret); at >= 0 {
				t.Errorf("%s is in %q", secret, text[max(0, at-200):at+len(secret)])
			}
		}
	})
}
