package channel_test

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pondsocket/pond"
	"github.com/pondsocket/pond/internal/suite/kit"
	"github.com/pondsocket/pond/pondtest"
)

// calls counts the calls of the functions of an Observer.
type calls struct {
	mu sync.Mutex // guards the following field
	n  map[string]int
}

func (c *calls) called(function string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n[function]++
}

// failingObserver returns an Observer whose functions all fail after they counted the
// call.
func failingObserver(c *calls, fail func()) *pond.Observer {
	called := func(function string) { c.called(function); fail() }
	return &pond.Observer{
		Connected:    func(*pond.Endpoint, string, pond.Transport) { called("Connected") },
		Disconnected: func(*pond.Endpoint, string, pond.Transport, error) { called("Disconnected") },
		Rejected:     func(*pond.Endpoint, int) { called("Rejected") },
		Joined:       func(*pond.Channel, pond.User) { called("Joined") },
		Left:         func(*pond.Channel, pond.User, pond.LeaveReason) { called("Left") },
		Handled:      func(*pond.Channel, string, time.Duration, error) { called("Handled") },
		Sent:         func(*pond.Channel, string, int) { called("Sent") },
		Recovered:    func(*pond.Channel, pond.User, pond.GapReason) { called("Recovered") },
		Degraded:     func(*pond.Pond, error) { called("Degraded") },
		Lost:         func(*pond.Pond, int, error) { called("Lost") },
		Forwarded:    func(*pond.Endpoint, int, time.Duration) { called("Forwarded") },
		Missed:       func(*pond.Pond, int) { called("Missed") },
		Dropped:      func(*pond.Channel, pond.User, int) { called("Dropped") },
		Limited:      func(*pond.Endpoint, pond.Limit) { called("Limited") },
	}
}

// An Observer whose functions panic, or end their goroutine, changes nothing for
// clients, handlers and a second Observer. It is logged, once a second for each function.
func TestFault02_ObserversThatFail(t *testing.T) {
	for _, how := range []string{"panic", "Goexit"} {
		var log *logs
		var c, second *calls
		var returned int
		var board *pond.Endpoint
		server := func() *pond.Pond {
			log, c, second, returned = new(logs), &calls{n: map[string]int{}}, &calls{n: map[string]int{}}, 0
			p := pond.New(pond.WithLogger(slog.New(log)), pond.WithObserver(failingObserver(c, failures[how])),
				pond.WithObserver(nil), pond.WithObserver(failingObserver(second, func() {})))
			e := p.Endpoint("/socket", func(ctx *pond.ConnectionContext) error {
				if ctx.Query().Has("no") {
					return ctx.Decline(403, "")
				}
				return ctx.Accept()
			}, pond.WithMaxPresence(10))
			l := e.Lobby("/chat/:room", func(ctx *pond.JoinContext) error {
				defer func() { returned++ }()
				return errors.Join(ctx.Accept(), ctx.Track(nil), ctx.Reply("welcome", nil))
			}, pond.WithHistory(pond.History{}))
			l.OnMessage("say", func(ctx *pond.EventContext) error {
				err := errors.Join(ctx.Broadcast("said", nil), ctx.Reply("ok", nil))
				if large := ctx.Update(map[string]string{"too": "large for the limit"}); large == nil {
					err = errors.New("presence is not limited")
				}
				returned++
				return err
			})
			l.OnMessage("fail", func(*pond.EventContext) error { return errors.New("no") })
			l.OnLeave(func(*pond.LeaveContext) error { returned++; return nil })
			board = e.Lobby("/board/:id", kit.Admit, pond.WithSlowClients(pond.KeepLatest(nil))).Endpoint()
			return p
		}
		t.Run(how, func(t *testing.T) {
			kit.OnBoth(t, server, func(t *testing.T, d *pondtest.Driver, tr pondtest.Transport) {
				d.Declined(tr, "/socket?no")
				s := d.Connect(tr, "/socket")
				s.Join("/chat/1", nil, pondtest.Want("recover"), pondtest.Last(1))
				s.Expect("RECOVERED")
				s.Expect("JOIN")
				s.Expect("welcome")
				for range 3 {
					s.Send("/chat/1", "say", nil)
					s.Expect("said")
					s.Expect("ok")
				}
				if got := kit.Status(t, s.Request("/chat/1", "fail", nil)); got != 500 {
					t.Errorf("an event failed with %d", got)
				}
				s.Quiet()
				s.Join("/board/1", nil)
				s.Stall()
				prices, _ := board.Channel("/board/1")
				for range 4 {
					if err := prices.Broadcast("prices", map[string]string{"list": strings.Repeat("x", 100<<10)}); err != nil {
						t.Error(err)
					}
					synctest.Wait()
				}
				s.Resume()
				if got := len(s.Drain()); got != 3 { // one in the network, and two that did not fill the queue
					t.Errorf("received %d messages of 4", got)
				}
				s.Leave("/chat/1")
				s.Join("/chat/1", nil)
				s.Close()
				synctest.Wait()
				if returned != 2+3+2 {
					t.Errorf("%d handlers returned", returned)
				}
				calls := map[string]int{
					"Connected": 1, "Disconnected": 1, "Rejected": 1, "Joined": 3, "Left": 3, "Handled": 7, "Sent": 12, "Limited": 3, "Recovered": 1,
					"Dropped": 1,
				}
				for field := range reflect.TypeFor[pond.Observer]().Fields() {
					if slices.Contains([]string{"Degraded", "Lost", "Missed", "Forwarded"}, field.Name) {
						continue // of clusters; see internal/suite/cluster
					}
					function, want := field.Name, calls[field.Name]
					if want == 0 || c.n[function] != want || second.n[function] != want {
						t.Errorf("%s was called %d times, and %d times of the second observer, want %d", function, c.n[function], second.n[function], want)
					}
					if got := log.count("observer failed function=" + function); got != 1 {
						t.Errorf("%s is logged %d times", function, got)
					}
				}
				time.Sleep(time.Second)
				d.Declined(tr, "/socket?no")
				d.Declined(tr, "/socket?no")
				time.Sleep(time.Second)
				d.Declined(tr, "/socket?no")
				if got := log.count("observer failed function=Rejected"); got != 3 {
					t.Errorf("Rejected is logged %d times in two seconds", got)
				}
				if got := log.count("suppressed=1"); got != 1 {
					t.Errorf("what was not logged is not counted:\n%s", log.text())
				}
			})
		})
	}
}

// failingLog is a handler of a logger that fails, always or for one kind of values.
type failingLog struct {
	logs
	values bool // it fails only for values of application types
	fail   func()
}

func (l *failingLog) WithAttrs([]slog.Attr) slog.Handler { return l }
func (l *failingLog) WithGroup(string) slog.Handler      { return l }

func (l *failingLog) Handle(ctx context.Context, r slog.Record) error {
	failing := !l.values
	r.Attrs(func(a slog.Attr) bool {
		failing = failing || a.Value.Kind() == slog.KindAny
		return true
	})
	if failing {
		l.fail()
	}
	return l.logs.Handle(ctx, r)
}

// A logger that fails has no other effect. If it fails because of a value, it gets the
// record again without that value.
func TestFault02_LoggersThatFail(t *testing.T) {
	for _, how := range []string{"panic", "Goexit"} {
		for _, values := range []bool{false, true} {
			var log *failingLog
			server := func() *pond.Pond {
				log = &failingLog{values: values, fail: failures[how]}
				p := pond.New(pond.WithLogger(slog.New(log)), pond.WithObserver(&pond.Observer{
					Joined: func(*pond.Channel, pond.User) { runtime.Goexit() },
				}))
				e := p.Endpoint("/socket", func(ctx *pond.ConnectionContext) error {
					if ctx.Query().Has("fail") {
						return errors.New("no")
					}
					return ctx.Accept()
				})
				l := e.Lobby("/chat/:room", kit.Admit)
				e.Lobby("/fail/:room", func(*pond.JoinContext) error { return errors.New("no") })
				l.OnMessage("fail", func(*pond.EventContext) error { return errors.New("no") })
				l.OnMessage("say", func(ctx *pond.EventContext) error { return errors.Join(ctx.Reply("no", nil), ctx.Reply("yes", nil)) })
				l.OnOutgoing("no", func(*pond.OutgoingContext) error { return errors.New("no") })
				l.OnLeave(func(*pond.LeaveContext) error { return errors.New("no") })
				return p
			}
			t.Run(how+map[bool]string{true: " values"}[values], func(t *testing.T) {
				kit.OnBoth(t, server, func(t *testing.T, d *pondtest.Driver, tr pondtest.Transport) {
					if r := d.Declined(tr, "/socket?fail"); r.StatusCode != http.StatusInternalServerError {
						t.Errorf("connecting got %d", r.StatusCode)
					}
					s := d.Connect(tr, "/socket")
					if got := kit.Status(t, s.Join("/fail/1", nil)); got != 500 {
						t.Errorf("a join got %d", got)
					}
					s.Join("/chat/1", nil)
					if got := kit.Status(t, s.Request("/chat/1", "fail", nil)); got != 500 {
						t.Errorf("an event got %d", got)
					}
					s.Send("/chat/1", "say", nil)
					s.Expect("yes")
					kit.Is(t, s.Leave("/chat/1"), "SYSTEM", "EXIT_ACKNOWLEDGE", "{}")
					s.Quiet()
					want := map[bool]int{true: 6}[values] // with the Observer's
					if got := log.count("failed"); got != want || log.count("a value of type") != want {
						t.Errorf("%d records, want %d:\n%s", got, want, log.text())
					}
					if values && !strings.Contains(log.text(), "channel=/chat/1") {
						t.Errorf("plain values are missing:\n%s", log.text())
					}
				})
			})
		}
	}
}
