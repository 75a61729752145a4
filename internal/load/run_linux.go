package load

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"time"
)

const supported = true

// Run runs a scenario against a running server. It returns an error if the scenario
// could not be run; [Result.Err] reports the faults of the server.
func Run(ctx context.Context, config Config) (Result, error) {
	config = config.withDefaults()
	if err := config.check(); err != nil {
		return Result{}, err
	}
	e, err := newEngine(config)
	if err != nil {
		return Result{}, err
	}
	r := &run{engine: e, result: Result{
		Scenario: config.Scenario, Target: e.traits.Name, Transport: config.Transport,
		Clients: config.Clients, Rooms: config.Rooms, Stalled: config.Stalled,
		Size: config.Size, InFlight: config.InFlight, Rate: config.Rate,
		Resets: config.Resets, Away: config.Away,
	}}
	if len(config.PIDs) > 0 {
		r.result.Server = &Server{PIDs: config.PIDs}
	}
	e.start()
	defer e.stop()
	err = r.run(ctx)
	return r.result, err
}

// A run is the execution of one scenario.
type run struct {
	*engine
	result Result
	mark   sample // at the start of the measurement
}

// A sample holds all counters at one time.
type sample struct {
	time     time.Time
	counters counters
	server   []time.Duration // CPU time by process
	own      time.Duration
}

func (r *run) sample() (s sample, err error) {
	r.each(func(*loop) {}) // makes the loops copy their counters
	s.counters = r.totals()
	s.server, err = cpuOf(r.config.PIDs)
	s.own = ownCPU()
	s.time = time.Now()
	return s, err
}

func (r *run) run(ctx context.Context) error {
	before, err := r.memory()
	if err != nil {
		return err
	}
	err = r.scenario(ctx, before)
	if err != nil {
		return err
	}
	r.faults()
	if err := r.leave(ctx); err != nil {
		return err
	}
	after, err := r.memory()
	if s := r.result.Server; s != nil && err == nil {
		s.RSSBefore, s.RSSAfter, s.RSSMax = before, after, r.rssMax
	}
	return err
}

func (r *run) scenario(ctx context.Context, before int64) error {
	if r.config.Scenario == Churn {
		return r.churn(ctx)
	}
	if err := r.join(ctx); err != nil {
		return err
	}
	joined, err := r.memory()
	if err != nil {
		return err
	}
	if s := r.result.Server; s != nil {
		s.RSSJoined = joined
		s.RSSPerClient = (joined - before) / int64(r.config.Clients)
	}
	if r.config.Scenario == Idle || r.config.Scenario == Presence {
		return nil
	}
	return r.talk(ctx)
}

// join connects all clients. In Presence, this is the whole measurement.
func (r *run) join(ctx context.Context) (err error) {
	if r.mark, err = r.sample(); err != nil {
		return err
	}
	n := int64(r.config.Clients)
	r.connectAll()
	_, err = r.await(ctx, "connect", 0, func(c counters) bool { return c.Joins+c.Failed >= n })
	if err != nil {
		return err
	}
	c := r.totals()
	r.joins(c.Joins, time.Since(r.mark.time))
	if r.config.Scenario == Presence {
		complete, err := r.await(ctx, "presence", 0, func(c counters) bool { return c.Complete >= n })
		if complete {
			r.result.PresenceTime = time.Since(r.mark.time)
		}
		return errors.Join(err, r.measured())
	}
	if c.Joined < n {
		return fmt.Errorf("only %d of %d clients joined: %s", c.Joined, n, cmp.Or(c.Reason, "no answer"))
	}
	if r.config.Scenario == Idle {
		return r.measured()
	}
	return nil
}

func (r *run) connectAll() {
	r.each(func(l *loop) { l.waiting = append(l.waiting, l.clients...) })
}

func (r *run) joins(n int64, d time.Duration) {
	r.result.Joins, r.result.JoinTime = n, d
	r.result.JoinsPerSecond = float64(n) / d.Seconds()
}

// churn makes all clients connect and leave repeatedly.
func (r *run) churn(ctx context.Context) error {
	mark, err := r.sample()
	if err != nil {
		return err
	}
	r.churning.Store(true)
	r.connectAll()
	if r.config.Warmup > 0 {
		if _, err = r.await(ctx, "warm up", r.config.Warmup, never); err != nil {
			return err
		}
		if mark, err = r.sample(); err != nil {
			return err
		}
	}
	r.mark = mark
	enough := func(c counters) bool { return r.config.Messages > 0 && c.Joins >= r.config.Messages }
	if _, err := r.await(ctx, "churn", r.config.Duration, enough); err != nil {
		return err
	}
	if err := r.measured(); err != nil {
		return err
	}
	r.joins(r.totals().Joins-mark.counters.Joins, r.result.Elapsed)
	r.churning.Store(false)
	return nil
}

func never(counters) bool { return false }

// talk warms up, measures, and waits for messages in flight.
func (r *run) talk(ctx context.Context) error {
	if r.config.Warmup > 0 {
		r.open()
		if _, err := r.await(ctx, "warm up", r.config.Warmup, r.spent); err != nil {
			return err
		}
	}
	if r.config.Stalled > 0 {
		r.each(func(l *loop) {
			for _, c := range l.clients {
				if l.stalls(c) {
					c.stall(l)
				}
			}
		})
	}
	var err error
	if r.mark, err = r.sample(); err != nil {
		return err
	}
	r.from.Store(r.clock())
	if r.config.Warmup == 0 {
		r.open()
	}
	duration := r.config.Duration
	if r.config.Scenario == Latest {
		if _, err := r.await(ctx, "measure", r.config.Away, r.spent); err != nil {
			return err
		}
		r.each((*loop).resumeAll)
		duration = max(0, duration-r.config.Away)
	}
	if _, err := r.await(ctx, "measure", duration, r.spent); err != nil {
		return err
	}
	return r.finish(ctx)
}

// open starts the publishers.
func (r *run) open() {
	r.publishing.Store(true)
	r.each(r.begin)
}

// spent reports whether config.Messages were published.
func (r *run) spent(c counters) bool {
	return r.config.Messages > 0 && c.Messages >= r.config.Messages
}

// begin starts the publishers of a loop.
func (r *run) begin(l *loop) {
	var publishers []*publisher
	for _, c := range l.clients {
		if c.pub != nil {
			publishers = append(publishers, c.pub)
		}
	}
	switch {
	case len(publishers) == 0:
	case r.config.Rate > 0:
		l.pacer = pacer{publishers: publishers, start: r.clock(), step: r.step() / float64(len(publishers))}
	case r.config.Scenario == Echo:
		for range max(1, r.config.InFlight*len(l.clients)/r.config.Clients) {
			l.ask()
		}
	default:
		for _, p := range publishers {
			l.fill(p)
		}
	}
}

// step returns the nanoseconds between two messages of one publisher.
func (r *run) step() float64 {
	receivers, publishers := r.config.Clients/r.config.Rooms, r.config.Rooms
	if r.config.Scenario.allPublish() {
		publishers = r.config.Clients
	}
	if r.config.Scenario == Echo {
		receivers = 1
	} else if r.traits.SenderExcluded {
		receivers--
	}
	return float64(publishers) * float64(receivers) * 1e9 / r.config.Rate
}

// finish ends the measurement and waits for messages in flight. If config.Messages is
// set, all deliveries belong to the measurement.
func (r *run) finish(ctx context.Context) error {
	counted := r.config.Messages > 0
	if !counted {
		r.publishing.Store(false)
		if err := r.measured(); err != nil {
			return err
		}
	}
	r.publishing.Store(false)
	r.each(func(*loop) {}) // after this, no loop publishes
	_, err := r.await(ctx, "drain", 0, func(c counters) bool {
		return c.Deliveries >= r.expected.Load() && c.Recovering == 0 && c.Lagging == 0
	})
	if err == nil && counted {
		err = r.measured()
	}
	if err == nil {
		r.distributions()
		_, err = r.await(ctx, "drain", linger, never)
	}
	return err
}

// linger is the time to wait for deliveries that must not arrive.
const linger = 50 * time.Millisecond

// measured stores the measurements since the mark.
func (r *run) measured() error {
	now, err := r.sample()
	if err != nil {
		return err
	}
	res := &r.result
	res.Elapsed = now.time.Sub(r.mark.time)
	res.Messages = now.counters.Messages - r.mark.counters.Messages
	res.Deliveries = now.counters.Deliveries - r.mark.counters.Deliveries
	res.BytesIn = now.counters.BytesIn - r.mark.counters.BytesIn
	res.DeliveriesPerSecond = float64(res.Deliveries) / res.Elapsed.Seconds()
	res.Load = Load{
		Threads: r.config.Threads,
		CPU:     now.own - r.mark.own,
		Busy:    (now.own - r.mark.own).Seconds() / res.Elapsed.Seconds(),
	}
	if s := res.Server; s != nil {
		s.CPU, s.CPUs = 0, nil
		for i := range now.server {
			s.CPUs = append(s.CPUs, now.server[i]-r.mark.server[i])
			s.CPU += s.CPUs[i]
		}
		if res.Deliveries > 0 {
			s.CPUPerDelivery = s.CPU / time.Duration(res.Deliveries)
		}
	}
	if r.config.Scenario == Slow {
		r.each(func(l *loop) { res.LongestGap = max(res.LongestGap, l.gap()) })
	}
	return nil
}

// distributions collects the latencies and ends their recording. It is called after the
// drain, so that the slowest deliveries are included.
func (r *run) distributions() {
	var latency, sendLag, caughtUp, upToDate histogram
	r.each(func(l *loop) {
		latency.add(&l.latency)
		sendLag.add(&l.sendLag)
		caughtUp.add(&l.caughtUp)
		upToDate.add(&l.upToDate)
	})
	r.from.Store(math.MaxInt64)
	r.result.Latency, r.result.SendLag = latency.latency(), sendLag.latency()
	if r.config.Scenario == Recover {
		c, mark := r.totals(), r.mark.counters
		r.result.Recovery = &Recovery{
			Reconnects: c.Reconnects - mark.Reconnects, Replayed: c.Replayed - mark.Replayed, Holes: c.Holes - mark.Holes,
			CaughtUp: caughtUp.latency(),
		}
	}
	if r.config.Scenario == Latest {
		c := r.totals()
		r.result.Catchup = &Catchup{c.Resumed, c.Outdated, c.Skipped, upToDate.latency(), c.Behind}
	}
}

// faults collects the faults.
func (r *run) faults() {
	r.each(func(*loop) {})
	c := r.totals()
	r.result.PresenceComplete = c.Complete
	if r.config.Scenario != Presence {
		r.result.PresenceComplete = 0
	}
	f := Faults{
		Expected: r.expected.Load(), Duplicated: c.Duplicated, Reordered: c.Reordered, Misdelivered: c.Misdelivered,
		Unrecovered: c.Unrecovered + c.Recovering, Rejected: c.Rejected, Closed: c.Closed, Failed: c.Failed, StalledClosed: c.StalledClosed, Reason: c.Reason,
	}
	if c.Recovering > 0 {
		f.Reason = cmp.Or(f.Reason, fmt.Sprintf("clients that reconnected, but did not catch up: %d", c.Recovering))
	}
	if f.Lost = c.Lagging; c.Lagging > 0 {
		f.Reason = cmp.Or(f.Reason, fmt.Sprintf("clients that read again, but did not receive the newest message: %d", c.Lagging))
	}
	r.each(func(l *loop) { f.Lost += l.audit() })
	r.result.Faults = f
	if r.traits.MayLose {
		r.result.Forgiven = append(r.result.Forgiven, "lost")
	}
	if r.traits.MayReorder {
		r.result.Forgiven = append(r.result.Forgiven, "reordered")
	}
}

// leave disconnects all clients.
func (r *run) leave(ctx context.Context) error {
	r.each(func(l *loop) {
		l.waiting, l.resetter.absent = nil, nil
		for _, c := range l.clients {
			c.leave(l)
		}
	})
	_, err := r.await(ctx, "leave", 0, func(c counters) bool { return c.Present == 0 })
	return err
}
