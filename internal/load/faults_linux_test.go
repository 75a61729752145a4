package load_test

import (
	"errors"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pondsocket/pond"
	"github.com/pondsocket/pond/internal/load"
)

// patience is how long a test waits for what never comes.
const patience = 2 * time.Second

// Forty messages, all at once: of one client to five with itself, or of five clients
// that want an answer each.
var (
	forty       = load.Config{Scenario: load.Fanout, Clients: 5, Messages: 40, InFlight: 64}
	fortyEchoes = load.Config{Scenario: load.Echo, Clients: 5, Messages: 40, InFlight: 64}
)

// What a server does wrong is counted exactly, and nothing else is.
func TestFaultsAreCounted(t *testing.T) {
	var together sync.WaitGroup // since many wait for what is lost
	checks := make(chan func())
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
		"refused": {forty, func(_ *faulty, n int, ctx *pond.EventContext) error {
			if n == 10 {
				return pond.Errorf(http.StatusForbidden, "not that")
			}
			return broadcast(ctx)
		}, load.Faults{Refused: 1, Lost: 5, Reason: "not that"}},
		"into another room": {
			load.Config{Scenario: load.Fanout, Clients: 6, Rooms: 2, Messages: 40, InFlight: 64},
			func(f *faulty, _ int, ctx *pond.EventContext) error {
				if other, ok := f.endpoint.Channel("/chat/1"); ok && ctx.Channel() != other && f.held == nil {
					f.held = ctx.Payload()
					return errors.Join(broadcast(ctx), other.Broadcast(ctx.Event(), ctx.Payload()))
				}
				return broadcast(ctx)
			},
			load.Faults{Stray: 3, Reason: "stray: ~~p0000"},
		},
		"of nobody":         {forty, forge("p9999"), load.Faults{Stray: 5, Reason: "stray: ~~p9999"}},
		"of a silent one":   {forty, forge("p0001"), load.Faults{Stray: 5, Reason: "stray: ~~p0001"}},
		"of another kind":   {forty, forge("e"), load.Faults{Stray: 5, Reason: "stray: ~~e0000"}},
		"not sent yet":      {forty, forge("p0000zzzzz"), load.Faults{Stray: 5, Reason: "whose message"}},
		"not even a number": {forty, forge("p    "), load.Faults{Stray: 5, Reason: "stray: ~~p    "}},
		"a client is cut": {
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
		"echo for all": {fortyEchoes, func(_ *faulty, n int, ctx *pond.EventContext) error {
			if n == 10 {
				return broadcast(ctx)
			}
			return reply(ctx)
		}, load.Faults{Stray: 4, Reason: "stray: ~~e"}},
	} {
		for _, tr := range transports {
			cfg := tt.Config
			cfg.Transport, cfg.Dialect, cfg.Addr, cfg.Patience = tr, pondDialect, serveFaulty(t, tt.answer), patience
			together.Go(func() {
				res, err := load.Run(t.Context(), cfg)
				checks <- func() {
					t.Run(name+"/"+string(tr), func(t *testing.T) {
						if err != nil {
							t.Fatal(err)
						}
						checkFaults(t, res, tt.want)
						if res.Messages != 40 || tt.want.Closed == 0 && res.Deliveries != res.Faults.Expected-tt.want.Lost {
							t.Errorf("%d messages, %d of %d deliveries", res.Messages, res.Deliveries, res.Faults.Expected)
						}
					})
				}
			})
		}
	}
	go func() { together.Wait(); close(checks) }()
	for check := range checks {
		check()
	}
}

// checkFaults compares everything but what is expected; of the reason, a part.
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

// A server that forgets everything stops a closed loop, but not the load.
func TestSilenceEnds(t *testing.T) {
	for _, tr := range transports {
		t.Run(string(tr), func(t *testing.T) {
			t.Parallel()
			res := run(t, load.Config{
				Scenario: load.Fanout, Transport: tr, Clients: 5, Messages: 40, InFlight: 4,
				Dialect: pondDialect, Patience: patience,
				Addr: serveFaulty(t, func(_ *faulty, n int, ctx *pond.EventContext) error {
					if n >= 10 {
						return nil
					}
					return broadcast(ctx)
				}),
			})
			checkFaults(t, res, load.Faults{Lost: 4 * 5})
			if res.Messages != 14 || res.Deliveries != 50 {
				t.Errorf("%d messages, %d deliveries, want those that were answered and 4 in flight", res.Messages, res.Deliveries)
			}
		})
	}
}

// A pace is kept whatever the server does, and times count from when a message was
// meant to be sent. This server answers nothing until it has everything, so the first
// message has to wait for the last one; which a load that waits would never send.
func TestPaceDoesNotWait(t *testing.T) {
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
				t.Errorf("took %v, latency %+v: less than the pace of one in %v allows", res.Elapsed, res.Latency, step)
			}
			if res.Latency.Count != n*clients || res.SendLag.Count != n {
				t.Errorf("latency of %d deliveries, lag of %d messages", res.Latency.Count, res.SendLag.Count)
			}
		})
	}
}

// A tired dialect keeps its engine busy for a while, once.
type tired struct {
	load.Pond

	d    time.Duration
	once *bool
}

func (d tired) AppendPublish(dst []byte, c *load.Client, body []byte) []byte {
	if !*d.once && len(body) > 0 && strings.Contains(string(body), "~~p000000005") { // number 5
		*d.once = true
		for began := time.Now(); time.Since(began) < d.d; {
		}
	}
	return d.Pond.AppendPublish(dst, c, body)
}

// What the engine is to blame for in a latency is told, and in the latency of all
// messages that had to wait, not only of the one that held them up.
func TestLagIsTold(t *testing.T) {
	const n, step, busy = 30, time.Millisecond, 20 * time.Millisecond
	res := run(t, load.Config{
		Scenario: load.Rate, Clients: 1, Messages: n, Rate: float64(time.Second / step), Addr: servePond(t),
		Dialect: tired{pondDialect, busy, new(bool)},
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
