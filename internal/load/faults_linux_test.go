package load_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pondsocket/pond"
	"github.com/pondsocket/pond/internal/load"
	"github.com/pondsocket/pond/internal/suite/kit"
)

// lostAfter is the time that a test waits for a delivery that never arrives. If a machine is
// so slow that nothing happens for that long, a test fails, so it is longer with the race detector.
var lostAfter = 2 * time.Second

func init() {
	if kit.Race {
		lostAfter = 5 * time.Second
	}
}

// Forty messages at once: from one client to five including itself, or forty requests of
// five clients.
var (
	forty       = load.Config{Scenario: load.Fanout, Clients: 5, Messages: 40, InFlight: 64}
	fortyEchoes = load.Config{Scenario: load.Echo, Clients: 5, Messages: 40, InFlight: 64}
)

// Exactly the faults of the server are counted.
func TestFaultsAreCounted(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		load.Config
		answer
		want load.Faults
	}{
		"none": {forty, func(_ *faulty, _ int, ctx *pond.EventContext) error {
			return broadcast(ctx)
		}, load.Faults{}},
		"one lost": {forty, func(_ *faulty, n int, ctx *pond.EventContext) error {
			if n == 10 {
				return nil
			}
			return broadcast(ctx)
		}, load.Faults{Lost: 5}},
		"the last lost": {forty, func(_ *faulty, n int, ctx *pond.EventContext) error {
			if n >= 38 {
				return nil
			}
			return broadcast(ctx)
		}, load.Faults{Lost: 10}},
		"lost for one": {forty, func(_ *faulty, n int, ctx *pond.EventContext) error {
			if n%10 == 0 {
				return ctx.Others().Broadcast(ctx.Event(), ctx.Payload())
			}
			return broadcast(ctx)
		}, load.Faults{Lost: 4}},
		"duplicated": {forty, func(_ *faulty, n int, ctx *pond.EventContext) error {
			if n == 10 || n == 20 {
				return errors.Join(broadcast(ctx), broadcast(ctx))
			}
			return broadcast(ctx)
		}, load.Faults{Duplicated: 10}},
		"duplicated later": {forty, func(f *faulty, n int, ctx *pond.EventContext) error {
			switch n {
			case 10:
				f.held = ctx.Payload()
			case 20:
				return errors.Join(broadcast(ctx), ctx.Broadcast(ctx.Event(), f.held))
			}
			return broadcast(ctx)
		}, load.Faults{Duplicated: 5}},
		"swapped": {forty, func(f *faulty, n int, ctx *pond.EventContext) error {
			switch n {
			case 10:
				f.held = ctx.Payload()
				return nil
			case 11:
				return errors.Join(broadcast(ctx), ctx.Broadcast(ctx.Event(), f.held))
			}
			return broadcast(ctx)
		}, load.Faults{Reordered: 5}},
		"rejected": {forty, func(_ *faulty, n int, ctx *pond.EventContext) error {
			if n == 10 {
				return errRejected
			}
			return broadcast(ctx)
		}, load.Faults{Rejected: 1, Reason: "rejected: HANDLER_NOT_FOUND 403 on /chat/0: not that"}},
		"all rejected": {forty, func(*faulty, int, *pond.EventContext) error {
			return errRejected
		}, load.Faults{Rejected: 40, Reason: "not that"}},
		"rejected by threads": {
			load.Config{Scenario: load.Fanout, Clients: 9, Messages: 40, Threads: 3},
			func(_ *faulty, n int, ctx *pond.EventContext) error {
				if n%2 == 0 {
					return errRejected
				}
				return broadcast(ctx)
			},
			load.Faults{Rejected: 20, Reason: "not that"},
		},
		"rejected at a rate": {
			load.Config{Scenario: load.Rate, Rate: 4000, Clients: 5, Messages: 40},
			func(_ *faulty, n int, ctx *pond.EventContext) error {
				if n%3 == 0 {
					return errRejected
				}
				return broadcast(ctx)
			},
			load.Faults{Rejected: 14, Reason: "not that"},
		},
		"rejected, but delivered": {forty, func(_ *faulty, n int, ctx *pond.EventContext) error {
			if n%10 == 0 {
				return errors.Join(broadcast(ctx), errRejected)
			}
			return broadcast(ctx)
		}, load.Faults{Rejected: 4, Reason: "rejected"}},
		"one rejected, another lost": {forty, func(_ *faulty, n int, ctx *pond.EventContext) error {
			switch n {
			case 10:
				return errRejected
			case 20:
				return nil
			}
			return broadcast(ctx)
		}, load.Faults{Rejected: 1, Lost: 5, Reason: "not that"}},
		"one lost, then all rejected": {forty, func(_ *faulty, n int, ctx *pond.EventContext) error {
			switch {
			case n < 10:
				return broadcast(ctx)
			case n == 10:
				return nil
			}
			return errRejected
		}, load.Faults{Rejected: 29, Lost: 5, Reason: "not that"}},
		"echo rejected": {fortyEchoes, func(_ *faulty, n int, ctx *pond.EventContext) error {
			if n%4 == 0 {
				return errRejected
			}
			return reply(ctx)
		}, load.Faults{Rejected: 10, Reason: "not that"}},
		"into another room": {
			load.Config{Scenario: load.Fanout, Clients: 6, Rooms: 2, Messages: 40, InFlight: 64},
			func(f *faulty, _ int, ctx *pond.EventContext) error {
				if other, ok := f.endpoint.Channel("/chat/1"); ok && ctx.Channel() != other && f.held == nil {
					f.held = ctx.Payload()
					return errors.Join(broadcast(ctx), other.Broadcast(ctx.Event(), ctx.Payload()))
				}
				return broadcast(ctx)
			},
			load.Faults{Misdelivered: 3, Reason: "misdelivered: ~~p0000"},
		},
		"of no client":      {forty, forge("p9999"), load.Faults{Misdelivered: 5, Reason: "misdelivered: ~~p9999"}},
		"of a non-sender":   {forty, forge("p0001"), load.Faults{Misdelivered: 5, Reason: "misdelivered: ~~p0001"}},
		"of another kind":   {forty, forge("e"), load.Faults{Misdelivered: 5, Reason: "misdelivered: ~~e0000"}},
		"not sent yet":      {forty, forge("p0000zzzzz"), load.Faults{Misdelivered: 5, Reason: "whose next message"}},
		"not even a number": {forty, forge("p    "), load.Faults{Misdelivered: 5, Reason: "misdelivered: ~~p    "}},
		"a client is reset": {
			load.Config{Scenario: load.Rate, Rate: 4000, Clients: 5, Messages: 40},
			func(f *faulty, n int, ctx *pond.EventContext) error {
				if n == 10 {
					return errors.Join(broadcast(ctx), f.cut())
				}
				return broadcast(ctx)
			},
			load.Faults{Closed: 1, Reason: "client 2 was closed"},
		},
		"echo lost": {fortyEchoes, func(_ *faulty, n int, ctx *pond.EventContext) error {
			if n == 10 {
				return nil
			}
			return reply(ctx)
		}, load.Faults{Lost: 1}},
		"echo duplicated": {fortyEchoes, func(_ *faulty, n int, ctx *pond.EventContext) error {
			if n == 10 {
				return errors.Join(reply(ctx), reply(ctx))
			}
			return reply(ctx)
		}, load.Faults{Duplicated: 1}},
		"of an earlier run": {forty, func(f *faulty, n int, ctx *pond.EventContext) error {
			if n != 10 {
				return broadcast(ctx)
			}
			old := bytes.Clone(ctx.Payload())
			run := old[bytes.Index(old, []byte("~~"))+2+1+4+5+8:]
			run[0] = map[bool]byte{true: 'b', false: 'a'}[run[0] == 'a']
			return errors.Join(broadcast(ctx), ctx.Broadcast(ctx.Event(), json.RawMessage(old)))
		}, load.Faults{}},
		"echo for all": {fortyEchoes, func(_ *faulty, n int, ctx *pond.EventContext) error {
			if n == 10 {
				return broadcast(ctx)
			}
			return reply(ctx)
		}, load.Faults{Misdelivered: 4, Reason: "misdelivered: ~~e"}},
	} {
		for _, tr := range transports {
			t.Run(name+"/"+string(tr), func(t *testing.T) {
				t.Parallel()
				cfg := tt.Config
				cfg.Transport, cfg.Dialect, cfg.Addr, cfg.LostAfter = tr, pondDialect, serveFaulty(t, tt.answer), lostAfter
				res := run(t, cfg)
				checkFaults(t, res, tt.want)
				if res.Messages != 40 || tt.want.Closed == 0 && res.Deliveries != res.Faults.Expected-tt.want.Lost {
					t.Errorf("%d messages, %d of %d deliveries", res.Messages, res.Deliveries, res.Faults.Expected)
				}
			})
		}
	}
}

// errRejected is the error of handlers that reject a message.
var errRejected = pond.Errorf(http.StatusForbidden, "not that")

// A POST that the server rejects is a rejected message.
func TestRejectedPosts(t *testing.T) {
	addr := servePond(t)
	var posts atomic.Int32
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// Join requests come first.
		if r.Method == http.MethodPost && posts.Add(1) > 5 && posts.Load()%4 == 0 {
			http.Error(w, "slow down", http.StatusTooManyRequests)
			return
		}
		(&httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(&url.URL{Scheme: "http", Host: addr})
		}, FlushInterval: -1}).ServeHTTP(w, r)
	}))
	defer proxy.Close()
	res := run(t, load.Config{
		Scenario: load.Fanout, Transport: load.SSE, Clients: 5, Messages: 40, Dialect: pondDialect,
		Addr: strings.TrimPrefix(proxy.URL, "http://"), LostAfter: time.Minute,
	})
	checkFaults(t, res, load.Faults{Rejected: 10, Reason: `"HTTP/1.1 429 Too Many Requests"`})
}

// checkFaults compares all faults except the expected deliveries. The reason must contain
// the wanted one.
func checkFaults(t *testing.T, res load.Result, want load.Faults) {
	t.Helper()
	got := res.Faults
	if !strings.Contains(got.Reason, want.Reason) || (got.Reason == "") != (want.Reason == "") {
		t.Errorf("reason %q, want %q in it", got.Reason, want.Reason)
	}
	got.Reason, want.Reason, got.Expected = "", "", 0
	if got != want {
		t.Errorf("faults %+v, want %+v", got, want)
	}
	if (res.Err() == nil) != (want == load.Faults{}) {
		t.Errorf("error %v", res.Err())
	}
}

// The run ends even if the server stops delivering.
func TestRunEndsWithoutDeliveries(t *testing.T) {
	t.Parallel()
	for _, tr := range transports {
		t.Run(string(tr), func(t *testing.T) {
			t.Parallel()
			res := run(t, load.Config{
				Scenario: load.Fanout, Transport: tr, Clients: 5, Messages: 40, InFlight: 4,
				Dialect: pondDialect, LostAfter: lostAfter,
				Addr: serveFaulty(t, func(_ *faulty, n int, ctx *pond.EventContext) error {
					if n >= 10 {
						return nil
					}
					return broadcast(ctx)
				}),
			})
			checkFaults(t, res, load.Faults{Lost: 4 * 5})
			if res.Messages != 14 || res.Deliveries != 50 {
				t.Errorf("%d messages, %d deliveries, want the delivered ones and 4 in flight", res.Messages, res.Deliveries)
			}
		})
	}
}

// At a fixed rate, the load generator does not wait for the server, and latency counts
// from when a message was scheduled. This server delivers nothing until it has all
// messages, which a load generator that waits would never send.
func TestRateDoesNotWait(t *testing.T) {
	t.Parallel()
	const n, rate, clients = 30, 1000, 2
	step := clients * time.Second / rate
	for _, tr := range transports {
		t.Run(string(tr), func(t *testing.T) {
			t.Parallel()
			var held []func() error
			res := run(t, load.Config{
				Scenario: load.Rate, Transport: tr, Clients: clients, Messages: n, Rate: rate, Dialect: pondDialect,
				Addr: serveFaulty(t, func(_ *faulty, i int, ctx *pond.EventContext) error {
					payload := ctx.Payload()
					held = append(held, func() error { return ctx.Broadcast("message", payload) })
					if i < n-1 {
						return nil
					}
					var err error
					for _, f := range held {
						err = errors.Join(err, f())
					}
					return err
				}),
			})
			checkFaults(t, res, load.Faults{})
			if least := (n - 1) * step; res.Elapsed < least || res.Latency.Max < least || res.Latency.P50 < least/2-step {
				t.Errorf("took %v, latency %+v: less than one message every %v allows", res.Elapsed, res.Latency, step)
			}
			if res.Latency.Count != n*clients || res.SendLag.Count != n {
				t.Errorf("latency of %d deliveries, lag of %d messages", res.Latency.Count, res.SendLag.Count)
			}
		})
	}
}

// A slowDialect blocks the load generator once for some time.
type slowDialect struct {
	load.Pond

	d    time.Duration
	once *bool
}

func (d slowDialect) AppendPublish(dst []byte, c *load.Client, body []byte) []byte {
	if !*d.once && len(body) > 0 && strings.Contains(string(body), "~~p000000005") { // number 5
		*d.once = true
		for began := time.Now(); time.Since(began) < d.d; {
		}
	}
	return d.Pond.AppendPublish(dst, c, body)
}

// The delay that the load generator causes is reported, for all messages that were sent
// late, and is part of their latency.
func TestSendLagIsReported(t *testing.T) {
	const n, step, busy = 30, time.Millisecond, 20 * time.Millisecond
	res := run(t, load.Config{
		Scenario: load.Rate, Clients: 1, Messages: n, Rate: float64(time.Second / step), Addr: servePond(t),
		Dialect: slowDialect{pondDialect, busy, new(bool)},
	})
	checkFaults(t, res, load.Faults{})
	var waited time.Duration
	for d := busy - step; d > 0; d -= step {
		waited += d
	}
	if res.SendLag.Max < busy-step || res.SendLag.Mean < waited/n || res.Latency.Mean < (waited+busy)/n {
		t.Errorf("lag %+v, latency %+v, want at least %v, and %v in the mean", res.SendLag, res.Latency, busy-step, waited/n)
	}
}
