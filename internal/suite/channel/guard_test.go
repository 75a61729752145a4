package channel_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pondsocket/pond"
	"github.com/pondsocket/pond/internal/suite/kit"
	"github.com/pondsocket/pond/pondtest"
)

// check is a function of an application. It should return error, but such mistakes are
// common.
func check(fails bool) *pond.Error {
	if fails {
		return &pond.Error{Code: http.StatusConflict, Message: "conflict"}
	}
	return nil
}

// A nil *pond.Error that is returned as an error means success, in all handlers and inside
// of joined errors.
func TestFault01_NilErrorIsSuccess(t *testing.T) {
	left := 0
	var seen []error
	server := func() *pond.Pond {
		left, seen = 0, nil
		p := pond.New(pond.WithLogger(kit.Silent), pond.WithObserver(&pond.Observer{
			Handled: func(_ *pond.Channel, event string, _ time.Duration, err error) {
				if event != "fail" && event != "joined-fail" {
					seen = append(seen, err)
				}
			},
		}))
		e := p.Endpoint("/socket", func(ctx *pond.ConnectionContext) error {
			if !ctx.Query().Has("undecided") {
				_ = ctx.Accept()
			}
			return check(ctx.Query().Has("fail"))
		}, pond.WithMaxConns(1))
		l := e.Lobby("/chat/:room", func(ctx *pond.JoinContext) error {
			return errors.Join(ctx.Accept(), check(false))
		})
		e.Lobby("/undecided", func(*pond.JoinContext) error { return check(false) })
		l.OnMessage("say", func(ctx *pond.EventContext) error {
			if err := ctx.Broadcast("said", ctx.Payload()); err != nil {
				return err
			}
			return check(false)
		})
		l.OnMessage("fail", func(*pond.EventContext) error { return check(true) })
		l.OnMessage("joined", func(*pond.EventContext) error {
			return errors.Join(check(false), errors.Join(check(false), nil))
		})
		l.OnMessage("joined-fail", func(*pond.EventContext) error { return errors.Join(check(false), check(true)) })
		l.OnMessage("wrapped", pond.Chain(func(*pond.EventContext) error { return check(false) },
			func(next pond.Handler[*pond.EventContext]) pond.Handler[*pond.EventContext] {
				return func(ctx *pond.EventContext) error {
					if err := next(ctx); err != nil {
						return fmt.Errorf("outer: %w", err)
					}
					return nil
				}
			}))
		l.OnOutgoing("said", func(*pond.OutgoingContext) error { return check(false) })
		l.OnLeave(func(*pond.LeaveContext) error { left++; return check(false) })
		return p
	}
	kit.OnBoth(t, server, func(t *testing.T, d *pondtest.Driver, tr pondtest.Transport) {
		for range 3 { // of one slot
			if r := d.Declined(tr, "/socket?undecided"); r.StatusCode != http.StatusUnauthorized {
				t.Fatalf("an undecided connection got %d", r.StatusCode)
			}
			if r := d.Declined(tr, "/socket?fail"); r.StatusCode != http.StatusConflict {
				t.Fatalf("a declined connection got %d", r.StatusCode)
			}
		}
		s := d.Connect(tr, "/socket")
		if got := kit.Status(t, s.Join("/undecided", nil)); got != http.StatusUnauthorized {
			t.Errorf("an undecided join got %d", got)
		}
		kit.Is(t, s.Join("/chat/1", nil), "SYSTEM", "ACKNOWLEDGE", "{}")
		for _, event := range []string{"say", "joined", "wrapped"} {
			s.Send("/chat/1", event, nil)
		}
		s.Expect("said")
		for _, event := range []string{"fail", "joined-fail"} {
			if got := kit.Status(t, s.Request("/chat/1", event, nil)); got != http.StatusConflict {
				t.Errorf("%s: %d", event, got)
			}
		}
		s.Quiet()
		s.Leave("/chat/1")
		s.Quiet()
		if left != 1 {
			t.Errorf("%d leave handlers ran", left)
		}
		for _, err := range seen {
			if err != nil {
				t.Errorf("the observer received %v", err)
			}
		}
	})
}

// Errorf finds nothing to wrap in a nil *Error, and methods of one do not panic.
func TestFault01_NilErrorInErrorf(t *testing.T) {
	err := pond.Errorf(http.StatusConflict, "no luck: %w", check(false))
	var e *pond.Error
	if !errors.As(err, &e) || e.Code != http.StatusConflict || e.Err != nil {
		t.Errorf("got %#v", err)
	}
	for _, text := range []string{err.Error(), fmt.Sprint(check(false)), fmt.Sprint(check(false).Unwrap())} {
		if text == "" || strings.Contains(text, "PANIC") {
			t.Errorf("text %q", text)
		}
	}
	both := pond.Errorf(http.StatusConflict, "%w and %w", pond.ErrClosed, pond.ErrTracked)
	if !errors.Is(both, pond.ErrClosed) || !errors.Is(both, pond.ErrTracked) {
		t.Errorf("%v does not wrap both", both)
	}
}

// hostile is a value whose methods fail in a way that a test chooses.
type hostile struct{ fail func() }

func (h hostile) MarshalJSON() ([]byte, error) { h.fail(); return nil, errors.New("no JSON") }
func (h hostile) LogValue() slog.Value         { h.fail(); return slog.StringValue("v") }

type badText struct{ hostile }

func (e badText) Error() string { e.fail(); return "text" }

type badUnwrap struct{ hostile }

func (badUnwrap) Error() string   { return "text" }
func (e badUnwrap) Unwrap() error { e.fail(); return nil }

type badAs struct{ hostile }

func (badAs) Error() string   { return "text" }
func (e badAs) As(any) bool   { e.fail(); return false }
func (e badAs) Is(error) bool { e.fail(); return false }

var failures = map[string]func(){
	"panic":  func() { panic("hostile") },
	"nil":    func() { var e *hostile; e.fail() },
	"Goexit": runtime.Goexit,
	"return": func() {},
}

// failing are errors with a hostile method, and what clients see of them.
func failing(fail func()) map[string]struct {
	err     error
	status  int
	message string
} {
	h := hostile{fail}
	internal := "internal error"
	return map[string]struct {
		err     error
		status  int
		message string
	}{
		"text":    {badText{h}, 500, internal},
		"unwrap":  {badUnwrap{h}, 500, internal},
		"as":      {badAs{h}, 500, internal},
		"joined":  {errors.Join(badUnwrap{h}), 500, internal},
		"cause":   {&pond.Error{Code: 409, Message: "m", Err: badText{h}}, 409, "m"},
		"details": {&pond.Error{Code: 409, Message: "m", Details: h}, 409, "m"},
		"channel": {&pond.Error{Code: 409, Message: "m", Details: make(chan int)}, 409, "m"},
	}
}

// Errors and details whose methods panic, end the goroutine or fail affect only their own
// event, in all five handlers. The client receives the parts of the error that can be read.
func TestFault02_HostileErrors(t *testing.T) {
	for how, fail := range failures {
		errs := failing(fail)
		server := func() *pond.Pond {
			p := pond.New(pond.WithLogger(slog.New(slog.NewTextHandler(new(bytes.Buffer), nil))))
			e := p.Endpoint("/socket", func(ctx *pond.ConnectionContext) error {
				if name := ctx.Query().Get("fail"); name != "" {
					return errs[name].err
				}
				return ctx.Accept()
			}, pond.WithMaxConns(2))
			e.Lobby("/fail/:name", func(ctx *pond.JoinContext) error { return errs[ctx.Channel().Param("name")].err })
			e.Lobby("/late/:name", func(ctx *pond.JoinContext) error {
				_ = ctx.Accept()
				return errs[ctx.Channel().Param("name")].err
			})
			l := e.Lobby("/chat/:name", kit.Admit)
			l.OnMessage("fail/:name", func(ctx *pond.EventContext) error { return errs[ctx.Param("name")].err })
			l.OnMessage("say/:name", func(ctx *pond.EventContext) error {
				return ctx.Reply("said/"+ctx.Param("name"), nil)
			})
			l.OnOutgoing("said/:name", func(ctx *pond.OutgoingContext) error { return errs[ctx.Param("name")].err })
			l.OnLeave(func(ctx *pond.LeaveContext) error { return errs[ctx.Channel().Param("name")].err })
			return p
		}
		t.Run(how, func(t *testing.T) {
			kit.OnBoth(t, server, func(t *testing.T, d *pondtest.Driver, tr pondtest.Transport) {
				s := d.Connect(tr, "/socket")
				s.Join("/chat/1", nil)
				for name, want := range errs {
					r := d.Declined(tr, "/socket?fail="+name)
					var body bytes.Buffer
					_, _ = body.ReadFrom(r.Body)
					if r.StatusCode != want.status || body.String() != want.message {
						t.Errorf("connecting with %s: %d %q", name, r.StatusCode, &body)
					}
					answers := []pondtest.Message{s.Join("/fail/"+name, nil), s.Request("/chat/1", "fail/"+name, nil)}
					s.SendJoin("/late/"+name, nil)
					s.Expect("ACKNOWLEDGE")
					answers = append(answers, s.Receive())
					for _, m := range answers {
						var payload struct {
							Message string
							Details json.RawMessage
						}
						m.Bind(t, &payload)
						if kit.Status(t, m) != want.status || payload.Message != want.message || payload.Details != nil {
							t.Errorf("%s: %v", name, m)
						}
					}
					s.Send("/chat/1", "say/"+name, nil) // blocked
					s.Send("/chat/1", "say/ok", nil)
					s.Expect("said/ok")
					s.Join("/chat/"+name, nil)
					kit.Is(t, s.Leave("/chat/"+name), "SYSTEM", "EXIT_ACKNOWLEDGE", "{}")
				}
				s.Quiet()
				d.Connect(tr, "/socket") // the slots are free
			})
		})
	}
}

// Payloads and presence that cannot be encoded are errors of the method that sends
// them, or end the handler.
func TestFault02_HostilePayloads(t *testing.T) {
	for how, fail := range failures {
		h := hostile{fail}
		server := func() *pond.Pond {
			p, _, l := kit.NewPond()
			for name, send := range map[string]func(ctx *pond.EventContext) error{
				"broadcast": func(ctx *pond.EventContext) error { return ctx.Broadcast("x", h) },
				"reply":     func(ctx *pond.EventContext) error { return ctx.Reply("x", h) },
				"to":        func(ctx *pond.EventContext) error { return ctx.Channel().To(ctx.User().ID).Broadcast("x", h) },
				"hostile":   func(ctx *pond.EventContext) error { return ctx.Track(h) },
			} {
				l.OnMessage(name, send)
			}
			return p
		}
		t.Run(how, func(t *testing.T) {
			kit.OnBoth(t, server, func(t *testing.T, d *pondtest.Driver, tr pondtest.Transport) {
				s := d.Connect(tr, "/socket")
				s.Join("/chat/1", nil)
				for _, event := range []string{"broadcast", "reply", "to", "hostile"} {
					if got := kit.Status(t, s.Request("/chat/1", event, nil)); got != 500 {
						t.Errorf("%s: %d", event, got)
					}
				}
				s.Quiet()
			})
		})
	}
}

// A handler that calls runtime.Goexit, as t.FailNow does, fails like one that panics.
// Slots, tasks and the right to write are released.
func TestFault03_HandlersThatExit(t *testing.T) {
	for how, fail := range failures {
		if how == "return" {
			continue
		}
		var log *logs
		left := 0
		server := func() *pond.Pond {
			log, left = new(logs), 0
			p := pond.New(pond.WithLogger(slog.New(log)))
			e := p.Endpoint("/socket", func(ctx *pond.ConnectionContext) error {
				if ctx.Query().Has("fail") {
					fail()
				}
				return ctx.Accept()
			}, pond.WithMaxConns(2))
			l := e.Lobby("/chat/:room", kit.Admit)
			e.Lobby("/fail/:room", func(*pond.JoinContext) error { fail(); return nil })
			e.Lobby("/late/:room", func(ctx *pond.JoinContext) error { _ = ctx.Accept(); fail(); return nil })
			l.OnMessage("fail", func(*pond.EventContext) error { fail(); return nil })
			l.OnMessage("say", func(ctx *pond.EventContext) error { return ctx.Broadcast("said", ctx.Payload()) })
			l.OnOutgoing("said", func(ctx *pond.OutgoingContext) error {
				if bytes.Contains(ctx.Payload(), []byte("fail")) {
					fail()
				}
				return nil
			})
			l.OnLeave(func(*pond.LeaveContext) error { left++; fail(); return nil })
			return p
		}
		t.Run(how, func(t *testing.T) {
			kit.OnBoth(t, server, func(t *testing.T, d *pondtest.Driver, tr pondtest.Transport) {
				for range 3 { // of two slots
					if r := d.Declined(tr, "/socket?fail"); r.StatusCode != http.StatusInternalServerError {
						t.Fatalf("connecting got %d", r.StatusCode)
					}
				}
				s, other := d.Connect(tr, "/socket"), d.Connect(tr, "/socket")
				other.Join("/chat/1", nil)
				if got := kit.Status(t, s.Join("/fail/1", nil)); got != 500 {
					t.Errorf("a join was rejected with %d", got)
				}
				s.Join("/late/1", nil)
				if got := kit.Status(t, s.ReceiveEvent("CHANNEL_ERROR")); got != 500 {
					t.Errorf("a join that was accepted before failed with %d", got)
				}
				s.Join("/chat/1", nil)
				if got := kit.Status(t, s.Request("/chat/1", "fail", nil)); got != 500 {
					t.Errorf("an event failed with %d", got)
				}
				for _, text := range []string{"one", "fail", "two", "fail", "fail", "three"} {
					s.Send("/chat/1", "say", map[string]string{"text": text})
				}
				for _, client := range []*pondtest.Session{s, other} {
					for _, text := range []string{"one", "two", "three"} {
						kit.Is(t, client.Receive(), "BROADCAST", "said", `{"text":"`+text+`"}`)
					}
				}
				kit.Is(t, s.Leave("/chat/1"), "SYSTEM", "EXIT_ACKNOWLEDGE", "{}")
				s.Quiet()
				s.Join("/chat/1", nil)
				s.Join("/chat/2", nil)
				s.Close()
				synctest.Wait()
				if left != 3 {
					t.Errorf("%d leave handlers ran, want 3", left)
				}
				d.Connect(tr, "/socket") // the slot is free
				want := 3 + 1 + 1 + 1 + 6 + 3
				if how != "Goexit" {
					want = 6 // one for each handler in a second
				}
				if got := log.count("handler failed"); got != want {
					t.Errorf("%d failures are logged:\n%s", got, log.text())
				}
			})
		})
	}
}

// A queue of frames that is combined into one write loses only the frame whose
// handler ended the goroutine.
func TestFault03_CombinedFrames(t *testing.T) {
	server := func() *pond.Pond {
		p, _, l := kit.NewPond()
		l.OnMessage("burst", func(ctx *pond.EventContext) error {
			for i := range 200 {
				if err := ctx.Reply("n", map[string]int{"n": i}); err != nil {
					return err
				}
			}
			return nil
		})
		l.OnOutgoing("n", func(ctx *pond.OutgoingContext) error {
			var m struct {
				N int `json:"n"`
			}
			if err := ctx.Bind(&m); err != nil || m.N%3 == 0 {
				runtime.Goexit()
			}
			return nil
		})
		return p
	}
	kit.OnBoth(t, server, func(t *testing.T, d *pondtest.Driver, tr pondtest.Transport) {
		s := d.Connect(tr, "/socket")
		s.Join("/chat/1", nil)
		s.Send("/chat/1", "burst", nil)
		for i := range 200 {
			if i%3 != 0 {
				kit.Is(t, s.Receive(), "SYSTEM", "n", fmt.Sprintf(`{"n":%d}`, i))
			}
		}
		s.Quiet()
	})
}

// logs is a handler of a logger that keeps the messages.
type logs struct {
	mu      sync.Mutex // guards the following field
	records []string
}

func (l *logs) Enabled(context.Context, slog.Level) bool { return true }
func (l *logs) WithAttrs([]slog.Attr) slog.Handler       { return l }
func (l *logs) WithGroup(string) slog.Handler            { return l }

func (l *logs) Handle(_ context.Context, r slog.Record) error {
	var b strings.Builder
	b.WriteString(r.Message)
	r.Attrs(func(a slog.Attr) bool {
		fmt.Fprintf(&b, " %s=%v", a.Key, a.Value.Resolve())
		return true
	})
	l.mu.Lock()
	defer l.mu.Unlock()
	l.records = append(l.records, b.String())
	return nil
}

// count returns the number of records that contain a text.
func (l *logs) count(text string) (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, r := range l.records {
		if strings.Contains(r, text) {
			n++
		}
	}
	return n
}

func (l *logs) text() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Join(l.records, "\n")
}
